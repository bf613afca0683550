"""A live training is seen however it was started, also before its first save: a Trainer opens files only to save."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import CHECKOUT
from tests.support.typed import Called, Ckptkit
from tests.support.waiting import wait_for

LAUNCHED = """
import os, sys
from pathlib import Path
import torch
Path(f"at-work-{os.environ.get('RANK', 0)}").touch()
sys.stdin.read() if os.environ.get("RANK") is None else __import__("time").sleep(60)
"""
TRAINER = """
import sys
sys.path.insert(0, "CHECKOUT/tests/guard")
import tiny
from pathlib import Path
from transformers import TrainingArguments
tiny.trainer("out/mine", callbacks=[tiny.At(25, lambda: (Path("at-work-0").touch(), sys.stdin.read()))]).train()
"""
UNTOLD = """
import os, sys
import torch
os.chdir("/")
print("at work", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a person stands, with a script that trains until the test ends."""
    made = tmp_path / "project"
    made.mkdir()
    (made / "finetune.py").write_text(LAUNCHED)
    return made


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Any]]:
    """start(*words) is a live process that was started in the folder and is at work."""
    started = []

    def go(*words: Any, ranks: int = 1, **environment: Any) -> subprocess.Popen[Any]:
        command = list(map(str, words))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        variables = {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"} | environment
        process = subprocess.Popen(command, cwd=folder, env=os.environ | variables, start_new_session=True, **pipes)
        started.append(process)
        wait_for_ranks(folder, ranks, process)
        return process

    yield go
    for process in started:
        process.terminate()
        process.communicate()


def wait_for_ranks(folder: Path, ranks: int, process: subprocess.Popen[Any] | None = None) -> bool:
    for _ in range(12):  # importing torch takes its time beside others
        try:
            return wait_for(lambda: all((folder / f"at-work-{rank}").exists() for rank in range(ranks)))
        except AssertionError:
            assert process is None or process.poll() is None, "it ended"
    raise AssertionError("it did not come")


def second(called: Called) -> list[tuple[Any, Any, Any]]:
    """What preflight says of other trainings: (state, message, command) of each."""
    checks = called.json["checks"]
    return [(c["state"], c["message"], c["command"]) for c in checks if c["code"] == "second-training"]


def stands_against(ckptkit: Ckptkit, run: Path, pid: str, *words: str) -> tuple[Any, Any]:
    """That training alone stands against a start; what mends it runs as it is."""
    called = ckptkit("preflight", run, "--json")
    ((state, message, command),) = second(called)
    assert (called.code, state) == (4, "no-go"), message
    since = r"since 20\d\d-\d\d-\d\d \d\d:\d\d UTC"
    assert re.search(rf"\(pid {pid}\) may be training here \(without a guard\), {since}", message)
    assert all(word in message for word in words), message
    assert message.endswith(": wait for its end, or use another output_dir")
    return message, command


def test_relative_output_dir_is_seen_before_the_first_save(
    start: Callable[..., Any], folder: Path, ckptkit: Ckptkit
) -> None:
    process = start(sys.executable, "finetune.py", "--output_dir", "out/mine")
    assert not (folder / "out").exists()
    _, command = stands_against(ckptkit, folder / "out" / "mine", process.pid)
    shown = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    assert "finetune.py --output_dir out/mine" in shown


def test_plain_trainer_whose_script_alone_names_the_run_is_seen_between_its_saves(
    start: Callable[..., Any], folder: Path, ckptkit: Ckptkit
) -> None:
    (folder / "plain.py").write_text(TRAINER.replace("CHECKOUT", str(CHECKOUT)))
    process = start(sys.executable, "plain.py")
    run = folder / "out" / "mine"
    assert (run / "checkpoint-20").exists()
    stands_against(ckptkit, run, process.pid, "plain.py names this run")
    assert second(ckptkit("preflight", folder / "out" / "other", "--json"))[0][0] != "no-go"


NAMED = {
    "a settings file": (("mine.yaml",), {}, "mine.yaml names this run"),
    "a variable": ((), {"OUTPUT_DIR": "./out/mine/"}, "$OUTPUT_DIR names this run"),
    "a name of its own": (("training.output_dir=out/mine",), {}, ""),
}


@pytest.mark.parametrize("how", NAMED)
def test_run_that_is_named_elsewhere_is_seen(
    start: Callable[..., Any], folder: Path, ckptkit: Ckptkit, how: str
) -> None:
    (folder / "mine.yaml").write_text("model: tiny\noutput_dir: ./out/mine\n")
    words, environment, told = NAMED[how]
    process = start(sys.executable, "finetune.py", *words, **environment)
    stands_against(ckptkit, folder / "out" / "mine", process.pid, told)


LAUNCHERS = {
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launcher_and_its_ranks_are_one_training(
    start: Callable[..., Any], folder: Path, ckptkit: Ckptkit, launcher: str
) -> None:
    words = (*LAUNCHERS[launcher], "finetune.py", "--output_dir", "out/mine")
    process = start(sys.executable, *words, ranks=2 if launcher == "torchrun" else 1)
    stands_against(ckptkit, folder / "out" / "mine", process.pid)


def test_session_is_told_and_what_shows_it(folder: Path, tmp_path: Path, ckptkit: Ckptkit) -> None:
    socket = tmp_path / "socket"
    typed = f"{sys.executable} finetune.py --output_dir out/mine"
    tmux = ("tmux", "-S", socket, "-f", "/dev/null")
    environment = {k: v for k, v in os.environ.items() if k not in ("TMUX", "STY")} | {"TERM": "xterm"}
    subprocess.run([*tmux, "new-session", "-d", typed], cwd=folder, env=environment, check=True)
    try:
        wait_for_ranks(folder, 1)
        pane = subprocess.run([*tmux, "display", "-p", "#{pane_pid}"], capture_output=True, text=True, check=True)
        pids = subprocess.run(["pgrep", "-f", "out/mine"], capture_output=True, text=True, check=True).stdout.split()
        message, command = stands_against(ckptkit, folder / "out" / "mine", pane.stdout.strip(), ", in tmux session $0")
        assert pane.stdout.strip() in pids and command == f"tmux -S {socket} attach -t '$0'", message
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def test_training_of_another_output_dir_stands_against_nothing(
    start: Callable[..., Any], folder: Path, ckptkit: Ckptkit
) -> None:
    (folder / "both.py").write_text(LAUNCHED + "\n# the default is out/mine\n")
    process = start(sys.executable, "both.py", "--output_dir=out/other")
    for _, message, command in second(ckptkit("preflight", folder / "out" / "mine", "--json")):
        assert str(process.pid) not in message + command


# In a box of its own: no process of this machine is seen there.
BOX = """
mkfifo "$HERE/said"
"$PYTHON" "$HERE/untold.py" <"$HERE/wait" >"$HERE/said" &
read -r line <"$HERE/said"
"$PYTHON" -m ckptkit preflight "$RUN" --json
echo "$?" >&2
kill $!
"""


@pytest.mark.mounts
def test_torch_process_of_which_nothing_shows_where_it_writes_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "untold.py").write_text(UNTOLD)
    os.mkfifo(tmp_path / "wait")
    holder = os.open(tmp_path / "wait", os.O_RDWR)
    command = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOX)
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable, "HERE": str(tmp_path)}
    environment |= {"RUN": str(tmp_path / "run")}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, cwd=tmp_path)
    os.close(holder)
    checks = [c for c in json.loads(done.stdout)["checks"] if c["code"] == "second-training"]
    ((state, message, command),) = [(c["state"], c["message"], c["command"]) for c in checks]
    assert state == "warn" and re.match(r"\S+ \(pid \d+\) may train here: torch is loaded", message)
    assert command.startswith("ps -ww -o pid,lstart,tty,args -p ")
