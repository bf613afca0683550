"""A save that writes nothing for 110 s, as a gather of shards does, while a sweep passes every ten: it survives, whole.

The run stands in the script alone: no argument, working directory or open file shows it. The sample dates the written
half back before each sweep, which asks prune the same; `--exhaustive` waits.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.ops.read import verify
from tests.faults.conftest import Tally
from tests.support.runs import CHECKOUT, make_run, names, set_age, tree
from tests.support.typed import Called, Ckptkit, present

SILENT_SECONDS, EVERY_SECONDS = 110, 10

ANY_SCRIPT = """
import os, shutil, sys
import torch
template, path = {template!r}, {path!r}
files = sorted(os.listdir(template), key=lambda name: name == "trainer_state.json")
os.mkdir(path)
for name in files[: len(files) // 2]:
    shutil.copyfile(os.path.join(template, name), os.path.join(path, name))
print("half", flush=True)
sys.stdin.readline()
for name in files[len(files) // 2 :]:
    shutil.copyfile(os.path.join(template, name), os.path.join(path, name))
"""

GUARDED = """
import sys
sys.path.insert(0, {guard_tests!r})
import tiny
import ckptkit

class Gathers(tiny.Trainer):
    def _save_optimizer_and_scheduler(self, folder):
        if self.state.global_step == 200:
            print("half", flush=True)
            sys.stdin.readline()
        super()._save_optimizer_and_scheduler(folder)

sys.stdout, out = sys.stderr, sys.stdout
print = __import__("functools").partial(print, file=out)
trainer = tiny.trainer({run!r}, kind=Gathers, max_steps=200, save_steps=100, logging_steps=100)
ckptkit.guard(trainer, 2)
trainer.train()
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[[Any], subprocess.Popen[bytes]]]:
    """script(code) runs it up to the middle of its save; it goes on once a line comes on stdin."""
    started = []

    def start(code: str) -> subprocess.Popen[bytes]:
        (tmp_path / "finetune.py").write_text(code)
        command = [sys.executable, str(tmp_path / "finetune.py")]
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
        with open(tmp_path / "log", "w") as log:
            started.append(
                subprocess.Popen(
                    command, cwd="/", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
                )
            )
        assert present(started[-1].stdout).readline() == b"half\n", (tmp_path / "log").read_text()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def sweep_through_the_silence(ckptkit: Ckptkit, path: str, exhaustive: bool, tally: Tally, code: int = 0) -> Called:
    """Sweep every ten seconds for 110 s, or as if each sweep came at their end. code: with which it exits."""
    run = os.path.dirname(path)
    before = tree(path).keys()
    for _ in range(SILENT_SECONDS // EVERY_SECONDS):
        if exhaustive:
            time.sleep(EVERY_SECONDS)
        else:
            set_age(path, time.time(), SILENT_SECONDS)
        done = ckptkit("prune", run, "-y", "--keep-last", "2")
        assert done.code == code, done.err
        assert tree(path).keys() == before, done.out
        tally.ran("a sweep in the silence of a save")
    return done


def goes_on(process: subprocess.Popen[bytes]) -> int:
    present(process.stdin).write(b"\n")
    present(process.stdin).close()
    return process.wait(timeout=120)


def test_silent_save_of_110_s_survives_the_sweeps_without_the_guard(
    script: Callable[[Any], subprocess.Popen[bytes]],
    ckptkit: Ckptkit,
    real: str,
    tmp_path: Path,
    exhaustive: bool,
    tally: Tally,
) -> None:
    make_run(real, str(tmp_path / "template"), {200: "intact"})
    run = make_run(real, str(tmp_path / "run"), {100: "intact"})
    path = f"{run}/checkpoint-200"
    process = script(ANY_SCRIPT.format(template=str(tmp_path / "template" / "checkpoint-200"), path=path))
    done = sweep_through_the_silence(ckptkit, path, exhaustive, tally)
    assert "may still be writing it" in done.out
    assert goes_on(process) == 0
    assert all(j.verdict.resumable for j in verify(run, level="full"))
    assert names(run) == ["checkpoint-100", "checkpoint-200"]


def test_silent_save_of_110_s_survives_the_sweeps_with_the_guard(
    script: Callable[[Any], subprocess.Popen[bytes]], ckptkit: Ckptkit, tmp_path: Path, exhaustive: bool, tally: Tally
) -> None:
    run = str(tmp_path / "run")
    process = script(GUARDED.format(guard_tests=str(CHECKOUT / "tests" / "guard"), run=run))
    done = sweep_through_the_silence(ckptkit, f"{run}/checkpoint-200", exhaustive, tally, code=11)
    assert f"locked by process {process.pid}, which trains here under a guard: a save is running" in done.err
    assert goes_on(process) == 0, (tmp_path / "log").read_text()
    assert all(j.verdict.resumable for j in verify(run, level="full"))
    assert [name for name in names(run) if name.startswith("checkpoint")] == ["checkpoint-100", "checkpoint-200"]


def test_half_a_save_whose_process_died_goes_after_half_an_hour_at_the_latest(
    script: Callable[[Any], subprocess.Popen[bytes]], ckptkit: Ckptkit, real: str, tmp_path: Path
) -> None:
    make_run(real, str(tmp_path / "template"), {200: "intact"})
    run = make_run(real, str(tmp_path / "run"), {100: "intact"})
    path = f"{run}/checkpoint-200"
    process = script(ANY_SCRIPT.format(template=str(tmp_path / "template" / "checkpoint-200"), path=path))
    process.kill()
    process.wait()
    set_age(path, time.time(), 1801)
    assert ckptkit("prune", run).code == 0
    assert names(run) == ["checkpoint-100"]
