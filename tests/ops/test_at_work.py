"""Who is at work in a run: every verb says the same of the same real processes, each of them once."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import LockHeld
from ckptkit.ops.at_work import at_work
from ckptkit.ops.monitor import Watch
from ckptkit.render import monitor
from ckptkit.system import lock
from ckptkit.system.processes import started_at
from tests.support.claiming import SINCE, WORDS, claiming
from tests.support.runs import CHECKOUT, names
from tests.support.typed import Called, Ckptkit, RunOf, present
from tests.support.waiting import wait_for

TWO = {100: "intact", 200: "intact"}
WAIT = "wait for its end, or use another output_dir"
WIDE = {"COLUMNS": "400"}  # no cell of a table is folded
# A real Trainer that trains until a line comes. It says where it is, once a checkpoint is there.
TRAINS = """
import os, sys
sys.path.insert(0, "tests/guard")
import ckptkit, tiny
from ckptkit.system import lock

run, how = sys.argv[1:]

def halt():
    os.write(1, b"\\nat work\\n")  # at once, whatever else is being said
    sys.stdin.readline()

def act():
    if how == "raises":
        raise ZeroDivisionError
    if how == "saves":
        with lock.hold(run, 30):
            halt()
    else:
        halt()

trainer = tiny.trainer(run, callbacks=[tiny.At(25, act)])
ckptkit.guard(trainer)
try:
    trainer.train()
except ZeroDivisionError:  # as a notebook's cell: the kernel lives on, and the Trainer too
    halt()
"""
# No Trainer, but what writers of it look like from outside: torch is there, a file of the run is open for writing.
WRITES = "import sys, torch; file = open(sys.argv[1] + '/events.log', 'a'); print('at work', flush=True); input()"


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """start(*words) is a live Python process that has said that it is at work, ended with the test."""
    started = []

    def go(*words: Any) -> subprocess.Popen[Any]:
        command = [sys.executable, *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True, **pipes)
        started.append(process)
        assert any(line == "at work\n" for line in present(process.stdout))
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def second_training(called: Called) -> tuple[Any, Any]:
    """The check of that name, in a document of preflight or recover."""
    (check,) = [check for check in called.json["checks"] if check["code"] == "second-training"]
    return check["state"], check["message"]


# --- real Trainers --------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_preflight_and_recover_call_a_live_guarded_run_taken_and_say_since_when(
    start: Callable[..., Any], ckptkit: Ckptkit, calm: str
) -> None:
    run, began = f"{calm}/run", time.time()
    process = start("-c", TRAINS, run, "trains")
    since = present(present(lock.claim_of(run)).since)
    assert int(began) <= since <= time.time()
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(since))
    sentence = f"process {process.pid} has been training here since {when} (under a guard): {WAIT}"
    for words in (("preflight", run, "--json"), ("recover", run, "-y", "--json")):
        called = ckptkit(*words)
        assert called.code == 4 and second_training(called) == ("no-go", sentence)
    assert ckptkit("preflight", run, "-q").out.splitlines()[0] == f"no-go  second-training  {sentence}"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(60) == 0
    for words in (("preflight", run, "--json"), ("recover", run, "-y", "--json")):
        called = ckptkit(*words)
        assert called.code == 0 and second_training(called)[0] != "no-go"


def test_quiet_sweep_beside_a_guarded_save_says_nothing_and_exits_11(
    start: Callable[..., Any], ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start("-c", TRAINS, run, "saves")
    for verb in ("prune", "strip", "recover"):
        assert ckptkit(verb, run, "-q") == (11, "", "")
    log = tmp_path / "log"
    assert ckptkit("prune", run, "-q", "--log-to", log).code == 11
    who = f"{run} is locked by process {process.pid}, which trains here under a guard: a save is running"
    line = f"{who}; wait for it; fix: {CHECKOUT}/bin/"
    assert line in log.read_text(), "who asks the log learns it"
    assert ckptkit("prune", run) == (11, "", f"prune: {line}prune {run} --lock-timeout 60\n")
    error = ckptkit("prune", run, "-q", "--json").json["runs"][0]["error"]
    assert error["exit_code"] == 11 and error["message"].startswith(line)
    error = ckptkit("recover", run, "-q", "--json").json["error"]
    assert error["exit_code"] == 11 and error["message"].startswith(line)
    assert names(str(run)) == ["checkpoint-10", "checkpoint-20"]


def test_a_training_that_raised_claims_nothing_although_its_process_lives_on(
    start: Callable[..., Any], ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start("-c", TRAINS, run, "raises")
    assert process.poll() is None and lock.claim_of(str(run)) is None
    assert "(under a guard)" not in second_training(ckptkit("preflight", run, "--json"))[1]
    assert "guarded" not in ckptkit("diskreport", run, "--no-eaters", env=WIDE).out
    fd = os.open(run, os.O_RDONLY)
    lock.claim(fd, str(run), time.time())
    os.close(fd)


@pytest.mark.mounts
def test_a_training_without_a_guard_that_has_a_file_open_for_writing_stands_against_a_start(
    start: Callable[..., Any], ckptkit: Ckptkit, run_of: RunOf, calm: str
) -> None:
    run = run_of(TWO, at=f"{calm}/run")
    process = start("-c", WRITES, run)
    comm = Path(f"/proc/{process.pid}/comm").read_text().strip()
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started_at(str(process.pid))))
    sentence = f"{comm} (pid {process.pid}) may be training here (without a guard), since {since}"
    for words in (("preflight", run, "--json"), ("recover", run, "-y", "--json")):
        called = ckptkit(*words)
        assert called.code == 4 and second_training(called) == ("no-go", f"{sentence}: {WAIT}")
    assert f" {run}: {sentence}\n" in ckptkit("monitor", "--once", run).out
    process.kill()
    process.wait()
    assert ckptkit("preflight", run).code == 0


# --- every verb -----------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_all_verbs_say_the_same_of_a_run_in_which_a_training_is_at_work(
    run_of: RunOf, ckptkit: Ckptkit, calm: str
) -> None:
    run = run_of(TWO, at=f"{calm}/run")
    with claiming(run) as pid:
        sentence = f"process {pid} has been training here {WORDS} (under a guard)"
        assert at_work(run) == (sentence,)
        for verb in ("preflight", "recover"):
            assert second_training(ckptkit(verb, run, "--json")) == ("no-go", f"{sentence}: {WAIT}")
            assert f"second-training  {sentence}: {WAIT}\n" in ckptkit(verb, run).out
        assert ckptkit("recover", run, "-q").out.startswith(f"no-go  second-training  {sentence}: {WAIT}\n")
        monitored = [line.split(" ", 1)[1] for line in ckptkit("monitor", "--once", run).out.splitlines()]
        assert f"{run}: {sentence}" in monitored
        assert ckptkit("monitor", "--once", "--json", run).json["runs"][0]["at_work"] == [sentence]
        report = ckptkit("diskreport", run, "--no-eaters", env=WIDE).out
        assert re.search(rf"\(pid {pid}\) is training in {run}, guarded {WORDS}\n", report)
        assert re.search(rf"\(pid {pid}\) +{run} +guarded {WORDS} ", report)
        with lock.open_directory(run) as fd, pytest.raises(LockHeld, match=re.escape(f"{sentence}: {WAIT}")):
            lock.claim(fd, run)
    assert at_work(run) == ()


def test_monitors_page_shows_who_trains_there(run_of: RunOf) -> None:
    run = run_of(TWO)
    with claiming(run):
        tick = Watch(run, 600.0).tick(time.time())
        (sentence,) = at_work(run)
    page = monitor.page(tick.sight, {}, tick.trail, [], colour=False, width=40)
    assert f"{run}: {sentence}" in " ".join(re.sub(r"(?<=\w/)\n", "", page).split())


# What a training looks like from outside: the script's name. A worker that it forked has all open that it has.
SCRIPT = """
import os, subprocess, sys, time
from ckptkit.system import lock
run, how = sys.argv[1:]
if how == "launches":
    ranks = [subprocess.Popen([sys.executable, __file__, run, each]) for each in ("guarded", "plain")]
    sys.exit([rank.wait() for rank in ranks])
file = open(f"{run}/events.{how}", "a")
if how == "guarded":
    fd = os.open(run, os.O_RDONLY)
    lock.claim(fd, run, time.time())
if os.fork():
    os.write(1, b"at work\\n")  # at once: two ranks say it
sys.stdin.read()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path / "train.py"


def test_diskreport_says_of_each_training_whether_it_runs_under_a_guard(
    run_of: RunOf, start: Callable[..., Any], script: Path, tmp_path: Path, ckptkit: Ckptkit
) -> None:
    runs = {how: run_of(TWO, at=tmp_path / how) for how in ("guarded", "plain")}
    pids = {how: start(script, run, how).pid for how, run in runs.items()}
    found = ckptkit("diskreport", *runs.values(), "--no-eaters", "--json").json["processes"]
    rows = {row["pid"]: (row["run"], row["guard"], row["guarded_since"]) for row in found if row["run"]}
    since = time.gmtime(present(lock.claim_of(runs["guarded"])).since)
    words = time.strftime("guarded since %Y-%m-%d %H:%M UTC", since)
    assert rows == {
        pids["guarded"]: (runs["guarded"], words, time.strftime("%Y-%m-%dT%H:%M:%SZ", since)),
        pids["plain"]: (runs["plain"], "", None),
    }
    page = ckptkit("diskreport", *runs.values(), "--no-eaters", env=WIDE).out
    assert re.search(rf"{runs['guarded']} +{words} ", page) and re.search(rf"{runs['plain']} +none ", page)


# --- each process once ----------------------------------------------------------------------------------------------


def test_training_and_its_data_loaders_are_told_once(run_of: RunOf, start: Callable[..., Any], script: Path) -> None:
    run = run_of(TWO)
    plain = start(script, run, "plain")
    (told,) = at_work(run)
    assert f" (pid {plain.pid}) may be training here (without a guard), since " in told
    guarded = start(script, run, "guarded")
    assert at_work(run) == (present(lock.claim_of(run)).sentence, told) and f"process {guarded.pid} " in at_work(run)[0]


def test_launcher_and_its_ranks_are_told_once_by_the_guard_of_one(
    run_of: RunOf, start: Callable[..., Any], script: Path, ckptkit: Ckptkit
) -> None:
    run = run_of(TWO)
    launcher = start(script, run, "launches")
    wait_for(lambda: lock.claim_of(run) and os.path.exists(f"{run}/events.plain"))
    assert at_work(run) == (present(lock.claim_of(run)).sentence,)
    (row,) = [row for row in ckptkit("diskreport", run, "--no-eaters", "--json").json["processes"] if row["run"]]
    assert row["pid"] == launcher.pid and row["guard"].startswith("guarded since ")


def test_whoever_only_reads_a_file_is_told_by_it_but_no_verb_of_ours_and_no_holder_of_the_directory(
    run_of: RunOf, start: Callable[..., Any]
) -> None:
    run = run_of(TWO)
    waits = "print('at work', flush=True); input()"
    start("-c", f"import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); {waits}", run)
    reads = f"import sys; file = open(sys.argv[-1] + '/checkpoint-200/optimizer.pt', 'rb'); {waits}"
    start("-c", reads, "-m", "ckptkit", "verify", run)
    assert at_work(run) == ()
    reader = start("-c", reads, run)
    (told,) = at_work(run)
    assert told.endswith(f" (pid {reader.pid}) has checkpoint-200/optimizer.pt open")


def test_own_training_and_the_one_that_started_us_are_never_told_to_themselves(run_of: RunOf) -> None:
    run = run_of(TWO)
    code = f"import sys; from ckptkit.ops.at_work import at_work; print(at_work({run!r}))"
    with lock.open_directory(run) as fd, open(f"{run}/events.log", "w"):
        lock.claim(fd, run, SINCE)
        assert at_work(run) == ()
        done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "()\n"


@pytest.mark.mounts
def test_training_in_a_container_is_told_once_by_its_own_number(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(TWO)
    with claiming(run, before=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")):
        assert at_work(run) == (f"process 1 has been training here {WORDS} (under a guard)",)
        (row,) = [row for row in ckptkit("diskreport", run, "--no-eaters", "--json").json["processes"] if row["run"]]
    assert row["pid"] != 1 and row["guard"] == f"guarded {WORDS}", "diskreport names it as kill(1) would"


@pytest.mark.mounts
def test_claim_of_a_process_that_is_not_seen_from_here_is_a_training_all_the_same(run_of: RunOf) -> None:
    run = run_of(TWO)
    look = f"{sys.executable} -m ckptkit diskreport {run} --no-eaters --json"
    with claiming(run) as pid:
        command = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", look)
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        (row,) = json.loads(done.stdout)["processes"]
    assert (row["process"], row["pid"], row["guard"]) == ("another container", pid, f"guarded {WORDS}")
    assert row["session"] == row["log"] == "", "that is not known from here"
