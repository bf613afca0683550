"""Which training may write in a run: real processes, each asked about by its own pid, whoever else lives here."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.calling import command
from ckptkit.ops.prune import prune
from ckptkit.runs import discover
from ckptkit.system import lock
from ckptkit.system.lock import claimant, claims
from ckptkit.system.processes import writer_in, writers_in
from tests.conftest import CHECKOUT
from tests.support.runs import names
from tests.support.typed import Ckptkit, RunOf, present
from tests.support.waiting import wait_for

MINUTE = 60
# It says that it is there once torch is.
TORCH = "import torch, os, sys, time; open(os.environ['READY'], 'w').close(); time.sleep(120)"
PLAIN = TORCH.replace("torch, ", "")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """start(code, *words) is the pid of a live process that nobody here started: its parent has gone."""
    started: list[int] = []

    def go(code: Any, *words: Any, cwd: str = "/", env: Any = None, python: Any = sys.executable) -> int:
        ready = tmp_path / f"ready{len(started)}"
        command = ["sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", python, "-c", code, *map(str, words)]
        own = {**os.environ, "READY": str(ready), "PYTHONPATH": str(CHECKOUT), **(env or {})}
        done = subprocess.run(command, cwd=cwd, env=own, stdout=subprocess.PIPE, text=True, check=True)
        started.append(int(done.stdout))
        wait_for(ready.exists)
        return started[-1]

    yield go
    for pid in started:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / "run" / "checkpoint-100").mkdir(parents=True)
    return str(tmp_path / "run")


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    (tmp_path / "other" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "other" / "logs").mkdir()
    return str(tmp_path / "other")


def said(run: str, pid: int, claimed: bool = False) -> bool | None:
    """What is said of that process alone: True for sure, False perhaps, None not at all."""
    found = writers_in(run, claimant(run), claimed, discover.is_checkpoint_name)
    return next((writer.certain for writer in found if writer.pid == pid), None)


# --- it shows that it works there ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["{run}", "--output_dir={run}", "--resume={run}/checkpoint-100"])
def test_training_that_is_called_with_the_run_may_write_there(start: Callable[..., int], run: str, word: str) -> None:
    assert said(run, start(TORCH, word.format(run=run))) is True


def test_training_whose_working_directory_it_is_may_write_there(start: Callable[..., int], run: str) -> None:
    assert said(run, start(TORCH, cwd=f"{run}/checkpoint-100")) is True


def test_training_that_has_the_run_open_may_write_there(start: Callable[..., int], run: str) -> None:
    assert said(run, start(f"import os; fd = os.open({run!r}, os.O_RDONLY); {TORCH}")) is True


def test_whoever_has_a_file_there_open_for_writing_is_a_writer_with_or_without_torch(
    start: Callable[..., int], run: str
) -> None:
    pid = start(f"file = open({run!r} + '/checkpoint-100/model.safetensors', 'wb'); {PLAIN}")
    assert said(run, pid) is True


def test_process_without_torch_that_only_reads_works_or_is_called_with_it_is_a_bystander(
    start: Callable[..., int], run: str
) -> None:
    (open(f"{run}/train.log", "w")).close()
    assert said(run, start(f"file = open({run!r} + '/train.log'); {PLAIN}", run, cwd=run)) is None


def test_name_that_begins_like_the_runs_is_another_directory(
    start: Callable[..., int], run: str, elsewhere: str
) -> None:
    assert said(run, start(TORCH, f"{run}-2", elsewhere)) is None


def test_who_says_so_is_named_for_a_person(start: Callable[..., int], run: str) -> None:
    pid = start(f"file = open({run!r} + '/train.log', 'w'); {PLAIN}")
    writer = present(writer_in(run, None, False, discover.is_checkpoint_name))
    assert (writer.pid, writer.certain) == (pid, True)
    assert writer.who.startswith("python") and writer.who.endswith(f" (pid {pid})")


# --- it can't be shown to train elsewhere ----------------------------------------------------------------------------


def test_training_that_shows_nothing_may_write_anywhere_but_not_where_we_have_the_claim(
    start: Callable[..., int], run: str
) -> None:
    pid = start(TORCH)
    assert said(run, pid) is False
    assert said(run, pid, claimed=True) is None


def test_training_under_a_name_of_its_own_is_known_by_its_program(start: Callable[..., int], run: str) -> None:
    title = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'ray::worker', 0, 0, 0)"
    assert said(run, start(f"{title}; {TORCH}")) is False


@pytest.mark.parametrize("how", ["argument", "cwd", "writes", "directory"])
def test_training_that_shows_another_run_trains_there(
    start: Callable[..., int], run: str, elsewhere: str, how: str
) -> None:
    code = {
        "writes": f"file = open({elsewhere!r} + '/logs/events', 'w'); {TORCH}",
        "directory": f"import os; fd = os.open({elsewhere!r} + '/checkpoint-5', os.O_RDONLY | os.O_DIRECTORY); {TORCH}",
    }.get(how, TORCH)
    words = [f"--output_dir={elsewhere}"] if how == "argument" else []
    assert said(run, start(code, *words, cwd=f"{elsewhere}/logs" if how == "cwd" else "/")) is None


def test_training_that_starts_from_another_runs_checkpoint_may_write_here(
    start: Callable[..., int], run: str, elsewhere: str
) -> None:
    weights = f"{elsewhere}/checkpoint-5/model.safetensors"
    (open(weights, "w")).close()
    assert said(run, start(f"file = open({weights!r}); {TORCH}", f"--model={elsewhere}/checkpoint-5")) is False


def test_directory_above_the_run_is_no_other_run_though_a_checkpoint_lies_there(
    start: Callable[..., int], run: str, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint-7").mkdir()
    assert said(run, start(TORCH, cwd=str(tmp_path))) is False


# --- the caller's own ------------------------------------------------------------------------------------------------


def test_own_process_and_those_that_it_started_are_no_other_training(run: str) -> None:
    code = "import time; file = open('log', 'w'); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, run], stdout=subprocess.PIPE, cwd=run)
    present(child.stdout).readline()
    with open(f"{run}/file", "w"):
        assert said(run, child.pid) is None and said(run, os.getpid()) is None
    child.kill()
    child.wait()


def test_those_that_started_the_caller_are_no_other_training(run: str) -> None:
    code = """
import sys
from ckptkit.runs import discover
from ckptkit.system.processes import writers_in
print([w.pid for w in writers_in(sys.argv[1], None, False, discover.is_checkpoint_name)])
"""
    with open(f"{run}/held", "w"):
        done = subprocess.run(
            [sys.executable, "-c", code, run], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
    assert str(os.getpid()) not in done.stdout.strip("[]\n").split(", ")


LAUNCHES = {
    "same_torchrun": ({"TORCHELASTIC_RUN_ID": "7f3"}, {"TORCHELASTIC_RUN_ID": "7f3"}, None),
    "another_torchrun": ({"TORCHELASTIC_RUN_ID": "7f3"}, {"TORCHELASTIC_RUN_ID": "8e1"}, True),
    "torchruns_that_nobody_named": ({"TORCHELASTIC_RUN_ID": "none"}, {"TORCHELASTIC_RUN_ID": "none"}, True),
    "same_meeting_point": (
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2"},
        None,
    ),
    "another_port": (
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501", "WORLD_SIZE": "2"},
        True,
    ),
    "one_rank_alone_each": (
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "1"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "1"},
        True,
    ),
}


@pytest.mark.parametrize("mine, theirs, expected", LAUNCHES.values(), ids=LAUNCHES)
def test_ranks_of_one_launch_are_one_training(
    start: Callable[..., int],
    run: str,
    monkeypatch: pytest.MonkeyPatch,
    mine: dict[str, str],
    theirs: dict[str, str],
    expected: bool | None,
) -> None:
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    pid = start(f"file = open({run!r} + '/train.log', 'w'); {PLAIN}", env=theirs)
    assert said(run, pid) is expected


def test_our_own_verbs_are_no_trainings(start: Callable[..., int], run: str) -> None:
    (open(f"{run}/pins", "w")).close()
    code = f"import runpy, sys; file = open({run!r} + '/pins', 'w'); {PLAIN}"
    assert said(run, start(code, "-m", "ckptkit", "prune", run)) is None


# --- claims ----------------------------------------------------------------------------------------------------------

CLAIM = "import os, sys; from ckptkit.system import lock; "
CLAIM += f"fd = os.open(sys.argv[1], os.O_RDONLY); lock.claim(fd, ''); {PLAIN}"


def test_process_that_claimed_the_run_is_a_writer_wherever_it_came_from(start: Callable[..., int], run: str) -> None:
    pid = start(CLAIM, run)
    assert claimant(run) == pid
    assert said(run, pid) is True
    writer = present(writer_in(run, pid, False, discover.is_checkpoint_name))
    assert writer.who == f"a training under a guard (pid {pid})"


def test_own_claim_is_nobody_elses(run: str, elsewhere: str) -> None:
    fd = os.open(run, os.O_RDONLY)
    lock.claim(fd, run)
    assert (claimant(run), claims(run), claims(elsewhere)) == (None, True, False)
    os.close(fd)
    assert (claimant(run), claims(run)) == (None, False)


def test_claim_of_the_process_that_started_the_caller_is_the_callers_own(start: Callable[..., int], run: str) -> None:
    """A training that calls `ckptkit prune` itself: elsewhere on the machine others may train."""
    other = start(TORCH)
    fd = os.open(run, os.O_RDONLY)
    lock.claim(fd, run)
    code = f"""
import sys
from ckptkit.runs import discover; from ckptkit.system import lock
from ckptkit.system.processes import writers_in
found = [w.pid for w in writers_in(sys.argv[1], lock.claimant(sys.argv[1]), False, discover.is_checkpoint_name)]
print(lock.claimant(sys.argv[1]) == {os.getpid()}, {os.getpid()} in found, {other} in found)
"""
    done = subprocess.run([sys.executable, "-c", code, run], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    os.close(fd)
    assert done.stdout == "True False False\n"


# --- and prune -------------------------------------------------------------------------------------------------------


def test_prune_leaves_a_torn_one_to_a_training_that_works_in_its_run_and_says_who(
    start: Callable[..., int], ckptkit: Ckptkit, run_of: RunOf
) -> None:
    run = run_of({100: "intact", 200: "torn"})
    pid = start(TORCH, run)
    done = ckptkit("prune", run)
    assert done.code == 0 and names(run) == ["checkpoint-100", "checkpoint-200"]
    assert "incomplete, but python" in done.out and f"(pid {pid}) may still be writing it" in done.out


def test_prune_leaves_a_torn_one_for_half_an_hour_where_any_training_may_write(
    start: Callable[..., int], run_of: RunOf
) -> None:
    run = run_of({100: "intact", 200: "torn"})
    start(TORCH)
    now = os.stat(f"{run}/checkpoint-200").st_mtime
    (decision,) = [d for d in prune(run, now=now + 29 * MINUTE).plan.decisions if d.verdict.damaged]
    assert decision.action == "leave"
    assert decision.reasons[0].command == command("discard", f"{run}/checkpoint-200")
    assert decision.codes == {"maybe-written"}
    assert present(prune(run, now=now + 30 * MINUTE).outcome).deleted == (f"{run}/checkpoint-200",)
