"""Everybody at once: a real Trainer that saves after each step, two cron sweeps, verify, du, an uploader, a person."""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ckptkit.ops.read import verify
from tests.faults.conftest import Tally
from tests.faults.mutants import broken
from tests.faults.racers import LONGEST, Race, step
from tests.support.runs import make_run, names

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TRAINING = [sys.executable, "-m", "tests.faults.saving_fast"]


class Train:
    """A training in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()

    def __call__(self, run: str) -> subprocess.Popen[bytes]:
        out, told = self.folder / "stdout", self.folder / "stderr"  # no pipe holds so much
        with open(out, "w") as stdout, open(told, "w") as stderr:
            words = [*TRAINING, run, str(self.folder / "stop")]
            self.started.append(subprocess.Popen(words, cwd=CHECKOUT, stdout=stdout, stderr=stderr))
        wait_for_minutes(lambda: self.started[0].poll() is not None or len(written(run)) > 0)
        return self.started[0]

    def end(self) -> tuple[int, str, str]:
        (self.folder / "stop").touch()
        code = self.started[0].wait(timeout=LONGEST)
        return code, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text()


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """train(run) starts it; train.end() asks it to stop, and returns its exit code, stdout, stderr."""
    train = Train(tmp_path)
    yield train
    for process in train.started:
        process.kill()
        process.wait()


def written(run: str) -> list[str]:
    return [name for name in os.listdir(run) if name.startswith("checkpoint-")] if os.path.isdir(run) else []


def wait_for_minutes(condition: Callable[[], bool]) -> None:
    """transformers takes its time to load beside all the others."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def everybody(race: Race, seed: int, elsewhere: str, any_of_them: bool) -> None:
    race.start("sweeps", lambda: race.prune("-q"))
    race.start("sweeps", lambda: race.prune("--lock-timeout", "5"), pause=0.3)
    race.start("verifications", lambda: race.verify("quick"), pause=0.2)
    race.start("verifications", lambda: race.verify("full"), pause=0.5)
    race.start("du", race.du, pause=0.1)
    race.start("uploads", partial(race.upload, random.Random(f"{seed} up")))
    race.start(
        "mv and rm by a person",
        partial(race.tidy, random.Random(f"{seed} person"), elsewhere, any_of_them),
        pause=0.3,
    )


def newest_never_goes_back(race: Race, known: list[str]) -> None:
    """The floor and the policy both keep the newest intact one: it is followed by a newer one, or still there."""
    name = race.newest()
    if step(name) < step(known[-1]):
        race.faults.append(f"{known[-1]} was the newest intact one, now it is {name or 'none'}")
    known.append(name)


def race(run: str, elsewhere: str, seconds: int, any_of_them: bool) -> Race:
    """So many seconds of it, and until each has done something; returns what went wrong and what was done."""
    race, known = Race(run), [""]
    everybody(race, seconds, elsewhere, any_of_them)
    if not any_of_them:  # a person who takes the newest one takes it
        race.start("looks at the newest", lambda: newest_never_goes_back(race, known), pause=0.05)
    try:
        time.sleep(seconds)
        wait_for_minutes(lambda: bool(race.faults) or all(race.counts.get(thread.name) for thread in race.threads))
    finally:
        race.finish()
    return race


@pytest.mark.slow
def test_training_sweeps_and_readers_beside_a_person_who_removes(
    train: Train, tmp_path: Path, tally: Tally, exhaustive: bool
) -> None:
    run, elsewhere = str(tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    first = train(run)
    for any_of_them in (False, True):
        seconds = 300 if exhaustive else 5
        done = race(run, str(elsewhere), seconds, any_of_them)
        for fault in done.faults:
            tally.violation("races: seconds", fault)
        tally.ran("races: seconds", seconds)
        for name, count in done.counts.items():
            assert count, f"{name}: nothing was done"
            tally.ran(f"races: {name}", count)
    second_is_refused(run, first, tally)
    code, out, err = train.end()
    found = re.search(r"saves (\d+)", out)
    assert code == 0 and found and "Traceback" not in err, f"exit {code}, {out[-500:]}, {err[-3000:]}"
    assert all(j.verdict.intact for j in verify(run, level="full"))
    tally.ran("races: saves", int(found[1]))


def second_is_refused(run: str, first: subprocess.Popen[bytes], tally: Tally) -> None:
    """Another bin/train in the same directory: one line, exit 11, and the first trains on."""
    command = [sys.executable, "train.py", "--output-dir", run, "--max-steps", "2", "--report-to", "none"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=2 * LONGEST, check=False)
    assert done.returncode == 11 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("train: ")]
    assert line.startswith(f"train: {run}: process {first.pid} has been training here since "), line
    assert line.endswith(" UTC (under a guard): wait for its end, or use another output_dir"), line
    before = max(map(step, written(run)), default=0)
    wait_for_minutes(lambda: max(map(step, written(run)), default=0) > before)
    tally.ran("races: second guards refused")


UNLOCKED = ("system/lock.py", "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "")


def collide(real: str, tmp_path: Path, command: list[str], environment: dict[str, str]) -> list[Any]:
    """Two sweeps at the same checkpoint again and again; what went wrong."""
    faults = []
    for number in range(6):
        run = make_run(real, str(tmp_path / f"run{number}"), dict.fromkeys(range(100, 700, 100), "intact"))
        race = Race(run, command, **environment)
        options: dict[str, Any] = {
            "env": race.environment,
            "cwd": "/",
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.PIPE,
        }
        sweeps = [subprocess.Popen([*command, "prune", run, "-y"], text=True, **options) for _ in range(4)]
        ended = [(sweep.communicate(timeout=LONGEST)[1], sweep.returncode) for sweep in sweeps]
        faults += [told for told, code in ended if code not in (0, 11)]
        faults += [] if names(run) == ["checkpoint-500", "checkpoint-600"] else [str(names(run))]
    return faults


def test_sweeps_that_begin_together_wait_or_are_refused(real: str, tmp_path: Path, tally: Tally) -> None:
    for fault in collide(real, tmp_path, [sys.executable, "-m", "ckptkit"], {"PYTHONPATH": str(CHECKOUT)}):
        tally.violation("races: sweeps that begin together", fault)
    tally.ran("races: sweeps that begin together", 24)


def test_sweeps_without_the_lock_go_red(real: str, tmp_path: Path) -> None:
    """Chance decides which of them meet: a few times more than where all must go well."""
    command, unlocked = [sys.executable, "-m", "ckptkit"], {"PYTHONPATH": broken(tmp_path, *UNLOCKED)}
    noticed = any(collide(real, tmp_path / str(number), command, unlocked) for number in range(10))
    assert noticed, "the suite did not notice"
