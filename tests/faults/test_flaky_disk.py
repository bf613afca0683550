"""A slow and flaky network disk (flaky_disk.py): never below the floor, honest exit codes, an end, and no traceback."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ckptkit.ops.read import judge, scan, verify
from tests.faults.conftest import Tally
from tests.faults.mutants import broken
from tests.support.runs import make_run, names
from tests.support.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PROBE = ".ckptkit-probe"  # preflight says of one that stays that it could not be deleted
LONGEST = 300  # seconds, for one call on a busy machine
# 1: the disk refused what the verb itself stands on, in one line; 2: a setting or the pins could not be read; 3: some
# deletions; 4, 10: no checkpoint could be read.
HONEST = {
    "prune": (0, 1, 2, 3, 4, 10),
    "verify": (0, 1, 4, 10),
    "latest": (0, 1, 4, 10),
    "recover": (0, 1, 2, 3, 4, 10),
}
pytestmark = pytest.mark.mounts
sys.path.insert(0, str(CHECKOUT / "tests" / "guard"))  # tiny.py


class Disk(NamedTuple):
    """path: where it is mounted; back: what is really there."""

    path: str
    back: str
    control: str

    def be(self, rate: float = 0.0, latency: float = 0.0, hang: bool = False) -> None:
        with open(f"{self.control}.new", "w") as file:
            json.dump({"rate": rate, "latency": latency, "hang": hang}, file)
        os.replace(f"{self.control}.new", self.control)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A flaky disk on a good day."""
    made = Disk(*(str(tmp_path / name) for name in ("network", "back", "control")))
    os.mkdir(made.path)
    os.mkdir(made.back)
    made.be()
    command = [sys.executable, "-m", "tests.faults.flaky_disk", made.back, made.path, made.control, "disk"]
    with open(tmp_path / "server", "w") as told:
        server = subprocess.Popen(command, cwd=CHECKOUT, stderr=told)
    try:
        wait_for(lambda: os.path.ismount(made.path))
        yield made
        assert server.poll() is None, Path(tmp_path, "server").read_text()[-2000:]
    finally:
        made.be()
        subprocess.run(["umount", "-l", made.path], check=False)
        server.terminate()
        server.wait(30)


def call(
    *words: str, program: Any = ("-m", "ckptkit"), apart: bool = False, path: str | Path = CHECKOUT
) -> subprocess.CompletedProcess[Any]:
    """A verb; apart: where it can't see the processes that hold files open, as from another container."""
    command = [*(("unshare", "--pid", "--fork", "--mount-proc") if apart else ()), sys.executable, *program, *words]
    environment = os.environ | {"PYTHONPATH": str(path)}
    options: dict[str, Any] = {"cwd": "/", "capture_output": True, "text": True, "timeout": LONGEST}
    return subprocess.run([*map(str, command)], env=environment, check=False, **options)


def bad_day(disk: Disk, real: str, rng: random.Random, number: int) -> Iterator[str]:
    """Every verb on one run while calls fail; then a good day, which finishes what is left. Yields what broke."""
    states = {100 * n: rng.choice(("intact", "intact", "torn")) for n in range(1, rng.randrange(3, 7))} | {
        900: "intact"
    }
    make_run(real, os.path.join(disk.back, f"run{number}"), states)
    run, back = os.path.join(disk.path, f"run{number}"), os.path.join(disk.back, f"run{number}")
    intact = [f"checkpoint-{step}" for step in sorted(states) if states[step] == "intact"]
    disk.be(rate=rng.choice((0.002, 0.02, 0.1)), latency=rng.choice((0, 0.001)))
    for verb, *flags in (
        ["prune", "-y"],
        ["verify", "--level", "full"],
        ["latest"],
        ["recover", "-y"],
        ["prune", "-y"],
    ):
        done = call(verb, run, *flags)
        told = (
            f"{verb} of {states}: exit {done.returncode}, left {names(back)}: {done.stdout[-600:]}{done.stderr[-2500:]}"
        )
        if (
            "Traceback" in done.stderr
            or done.returncode not in HONEST[verb]
            or (done.returncode == 1 and not one_line(done.stderr))
        ):
            yield told
        if intact[-1] not in names(back) or not verify(f"{back}/{intact[-1]}", level="full")[0].verdict.resumable:
            yield f"the newest intact one is gone; {told}"
        if verb == "prune" and done.returncode == 0 and (left := unsaid(back, intact[-2:], done.stdout)):
            yield f"says that all is done, and nothing of {left}; {told}"
        if verb == "latest" and done.returncode == 0 and done.stdout.rpartition("/")[2].strip() not in intact:
            yield told
    disk.be()
    done = call("prune", run, "-y")
    if done.returncode or [name for name in names(back) if not name.startswith(PROBE)] != intact[-2:]:
        yield f"not finished on a good day: exit {done.returncode}, {names(back)}: {done.stderr[-1000:]}"


def one_line(stderr: Any) -> bool:
    return "Traceback" not in stderr and stderr.rstrip().count("\n") <= 8 and "try again" in stderr


def unsaid(back: str, kept: list[str], stdout: Any) -> list[str]:
    """What stays without a word: one that can't be read stays, and is told; then an older one has its place."""
    left = [name for name in names(back) if name not in kept and not name.startswith(PROBE)]
    return [] if "could not be judged" in stdout else left


def test_every_verb_on_a_bad_day_keeps_the_floor_and_says_what_it_could_not(
    disk: Disk, real: str, tally: Tally, exhaustive: bool
) -> None:
    for number in range(60 if exhaustive else 3):
        for fault in bad_day(disk, real, random.Random(f"flaky {number}"), number):
            tally.violation("flaky disk: rounds", f"round {number}: {fault}")
        tally.ran("flaky disk: rounds")


def held_file_is_told_and_finished_later(disk: Disk, real: str, path: str | Path = CHECKOUT) -> Iterator[str]:
    """Yields what broke."""
    run = make_run(real, f"{disk.path}/run", dict.fromkeys((100, 200, 300), "intact"))
    with open(f"{run}/checkpoint-100/optimizer.pt", "rb") as held:
        for _ in range(2):  # the first finds the directory not empty, the second the leftover busy
            done = call("prune", run, "-y", apart=True, path=path)
            (aside,) = [name for name in names(run) if name.startswith(".ckptkit")] or [""]
            if done.returncode != 3 or "checkpoint-100" not in done.stderr or "Traceback" in done.stderr:
                yield f"exit {done.returncode}: {done.stderr}"
            if not aside or not [name for name in os.listdir(f"{run}/{aside}") if name.startswith(".nfs")]:
                yield f"left {names(run)}"
        if held.read(2) != b"PK":
            yield "whoever had it open lost it"
    done = call("prune", run, "-y", apart=True, path=path)
    if done.returncode or names(disk.back + "/run") != ["checkpoint-200", "checkpoint-300"]:
        yield f"not finished: exit {done.returncode}, {names(run)}: {done.stderr}"


def test_leftover_of_an_open_file_is_told_and_finished_by_a_later_sweep(disk: Disk, real: str, tally: Tally) -> None:
    for fault in held_file_is_told_and_finished_later(disk, real):
        tally.violation("flaky disk: .nfs leftovers", fault)
    tally.ran("flaky disk: .nfs leftovers")


SILENT = (
    "delete/checkpoint.py",
    "            yield refused(path, error)\n",
    "            yield from ()\n",
)


def test_a_removal_that_swallows_its_errors_goes_red(disk: Disk, real: str, tmp_path: Path) -> None:
    path = broken(tmp_path, *SILENT)
    assert list(held_file_is_told_and_finished_later(disk, real, path)), "the suite did not notice"


def test_what_another_host_removed_and_wrote_is_judged_as_it_is(disk: Disk, real: str, tally: Tally) -> None:
    """Attributes and names are a second old: what is gone is no traceback, and a newer one not seen yet stays."""
    run, back = f"{disk.path}/run", f"{disk.back}/run"
    make_run(real, back, dict.fromkeys((100, 200, 300, 400), "intact"))
    assert call("verify", run).returncode == 0
    for number in range(5):
        os.listdir(run), [os.stat(f"{run}/{name}") for name in names(run)]  # now they are in the cache
        if number < 2:
            subprocess.run(["rm", "-rf", f"{back}/checkpoint-{100 * (number + 1)}"], check=True)
        else:
            make_run(real, back, {1000 * number: "intact"})
        for verb in ("verify", "latest", "prune"):
            done = call(verb, run, *(["-y"] if verb == "prune" else []))
            if done.returncode not in HONEST[verb] or "Traceback" in done.stderr:
                tally.violation("flaky disk: stale attributes", f"{verb}: exit {done.returncode}: {done.stderr}")
        tally.ran("flaky disk: stale attributes")
    assert names(back) == ["checkpoint-3000", "checkpoint-4000"]


def trained(disk: Disk, number: int, rng: random.Random, steps: int = 40) -> Iterator[str]:
    """A real Trainer under the guard, its run on the disk on a bad day. Yields what broke."""
    import tiny

    import ckptkit

    run, back = f"{disk.path}/trained{number}", f"{disk.back}/trained{number}"
    trainer = tiny.trainer(run, max_steps=steps, save_steps=5)
    guard = ckptkit.guard(trainer, 2)
    disk.be(rate=rng.choice((0.001, 0.01, 0.05)), latency=rng.choice((0, 0.001)))
    with suppress(OSError):  # the Trainer's own last look at the run, once all is saved, is in nobody's hands
        trainer.train()
    disk.be()
    judged = judge(scan(back), level="full", quiet=0) if os.path.isdir(back) and names(back) else ()
    intact = {j.checkpoint.name for j in judged if j.verdict.resumable}
    told = f"skipped {guard.skipped}, durable {list(guard.room.durable)}, left {names(back) if judged else []}"
    if trainer.state.global_step != steps:
        yield f"ended at {trainer.state.global_step}; {told}"
    if guard.room.durable and not intact & guard.room.durable.keys():
        yield f"the last durable one is gone; {told}"
    stalls = tiny.scalars(trainer, "ckpt/stall_seconds")
    if len(stalls) != steps // 5 or max(stalls) > guard.disk.longest:
        yield f"stood still for {max(stalls)} s; {told}"


def test_training_goes_on_on_a_bad_day_and_never_stands_still_longer_than_its_bound(
    disk: Disk, tally: Tally, exhaustive: bool
) -> None:
    for number in range(40 if exhaustive else 2):
        for fault in trained(disk, number, random.Random(f"trained {number}")):
            tally.violation("flaky disk: trainings", f"round {number}: {fault}")
        tally.ran("flaky disk: trainings")


@pytest.mark.slow
def test_a_disk_that_hangs_costs_saves_and_not_the_training(
    disk: Disk, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs from before step 20's admission until after step 30's; the bound is short here, to be reached."""
    import tiny

    import ckptkit
    from ckptkit.guard import bounded_disk

    monkeypatch.setattr(bounded_disk, "LONGEST_SECONDS", 10.0)
    monkeypatch.setattr(bounded_disk, "STILL_HANGING_SECONDS", 0.5)
    run = f"{disk.path}/run"
    trainer = tiny.trainer(run, max_steps=60)
    guard = ckptkit.guard(trainer, 2)
    trainer.add_callback(tiny.At(15, lambda: (guard.wait(), disk.be(hang=True))))
    trainer.add_callback(tiny.At(35, disk.be))
    trainer.train()
    assert trainer.state.global_step == 60 and guard.skipped >= 2
    assert names(f"{disk.back}/run")[-1] == "checkpoint-60"
    assert all(j.verdict.resumable for j in verify(f"{disk.back}/run", level="full"))
    tally.ran("flaky disk: hangs")
