"""Calls that never return, a process that gets no more threads, what failed saves hold open: training goes on."""

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from tests.faults.conftest import Tally
from tests.faults.disk_under_test import CHECKOUT, Disk, Place, Refusal, failing_disk
from tests.faults.failing_disk import NEVER
from tests.faults.save_trials import SAVES, Ended, Known, faults, known
from tests.faults.test_save_errors import SEED
from tests.support.typed import Mount, present

HALF = 256 * 1024  # bytes of an optimizer.pt, more or less
LONGEST = 300  # seconds until a process that does not end is helped: it is a failure then, and nothing hangs
# Root with another's name, who has no other process, and not allowed to be above such a limit.
BOUND_BY_LIMITS = ("setpriv", "--ruid=61234", "--bounding-set=-sys_admin,-sys_resource")

pytestmark = pytest.mark.mounts


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with failing_disk(str(tmp_path_factory.mktemp("failing"))) as disk:
        yield disk


@pytest.fixture(scope="module")
def right(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """What a training gives on a good disk."""
    folder = tmp_path_factory.mktemp("right")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CKPTKIT_STATE", str(folder / "state"))
        return known(disk, str(folder), "lora")


def alone(run: str, back: str, begin: str, log: Path, before: tuple[str, ...] = ()) -> subprocess.Popen[Any]:
    """A training in a process of its own, begun; before: words before its command."""
    words = [*before, sys.executable, "-m", "tests.faults.saving_alone", run, back, "lora", begin]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with open(log, "w") as said:
        return subprocess.Popen(words, cwd=CHECKOUT, stderr=said, **pipes)


def has_exited(pid: int) -> bool:
    """Whether its main thread is over, whatever hangs in another one."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"


def unmounted(folder: Path) -> None:
    """What a process that was killed left mounted there."""
    for name in ("disk", "back"):
        subprocess.run(["umount", "-l", os.path.join(folder, name)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_call_that_never_returns_costs_saves_and_not_the_training(
    tmp_path: Path, tally: Tally, exhaustive: bool
) -> None:
    """In a process of its own, whose guard's bounds are three seconds: what waits for ever is a line of its report."""
    words = [sys.executable, "-m", "tests.faults.hanging_saves", str(tmp_path), SEED, "all" if exhaustive else "some"]
    with open(tmp_path / "log", "w") as log:
        child = subprocess.Popen(
            words, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    helped = threading.Timer(LONGEST * (120 if exhaustive else 1.8), lambda: os.killpg(child.pid, 9))
    helped.start()
    try:
        for line in present(child.stdout):
            what, broken = json.loads(line)
            tally.ran("a save's call that never returns")
            for fault in broken:
                tally.violation("a save's call that never returns", f"{what}, seed {SEED}: {fault}")
        assert child.wait() == 0, (tmp_path / "log").read_text()[-8000:]
    finally:
        helped.cancel()
        unmounted(tmp_path)


def hanging_to_the_end(disk: Disk, run: str, place: Place, log: Path) -> tuple[Any, list[Any], int]:
    """A training that is never helped; (exit code, the last two lines that it said, how many calls hung)."""
    process = alone(f"{disk.mount}/{run}", f"{disk.back}/{run}", "wait", log)
    helped = threading.Timer(LONGEST, disk.be)
    helped.start()
    try:
        assert present(process.stdout).readline() == "begin\n", log.read_text()[-2000:]
        disk.be(Refusal(place, 0, NEVER, "once").fault(run))
        present(process.stdin).write("\n")
        present(process.stdin).flush()
        lines = [present(process.stdout).readline(), present(process.stdout).readline()]
        while not has_exited(process.pid) and helped.is_alive():
            time.sleep(0.05)
    finally:
        helped.cancel()
        calls = disk.be()
        code = process.wait()
    return code, lines, sum(called.refused for called in calls)


def test_a_training_ends_with_0_while_a_call_still_hangs(
    disk: Disk, right: Known, tally: Tally, tmp_path: Path, exhaustive: bool
) -> None:
    """In the save, in what follows it, in pruning. The kernel holds a process that has exited back until its threads
    have an answer, as it does on a network disk: that comes once it has.
    """
    calls, what = ("write", "fsync", "unlink"), "a save's call that hangs at the end"
    for call in calls if exhaustive else random.Random(SEED).sample(calls, 1):
        place = next(place for place in right.places[call] if place.path.endswith("optimizer.pt"))
        code, lines, hung = hanging_to_the_end(disk, call, place, tmp_path / call)
        broken = [f"exit {code}, {hung} hung: {lines}"] if code or lines[1] != "exits\n" or not hung else []
        if lines[0]:
            broken += faults(Ended.parsed(lines[0]), f"{disk.back}/{call}", right, recovers=False, cut_off=True)
        for fault in broken:
            tally.violation(what, f"{place}: {fault}")
        tally.ran(what)


def test_a_process_that_gets_no_more_threads_trains_on_and_saves(right: Known, tally: Tally, tmp_path: Path) -> None:
    """RLIMIT_NPROC of a user that has nothing else, reached between two saves: the kernel itself refuses a thread."""
    run, what = str(tmp_path / "run"), "a training without threads"
    done = alone(run, run, "no-threads", tmp_path / "log", BOUND_BY_LIMITS)
    out, _ = done.communicate(timeout=LONGEST)
    assert done.returncode != 3, "the kernel gave it a thread all the same"
    lines = out.splitlines()
    if done.returncode or lines[-1:] != ["exits"]:
        tally.violation(what, f"exit {done.returncode}: {(tmp_path / 'log').read_text()[-2000:]}")
    else:
        end = Ended.parsed(lines[-2])
        for fault in faults(end, run, right, recovers=True):
            tally.violation(what, fault)
        if unsaved := [step for step in SAVES if right.digests[step] not in end.seen]:
            tally.violation(what, f"not saved: {unsaved}; told {end.told}")
    tally.ran(what)


def held_deleted(volume: str) -> int:
    """Bytes of that volume's files without a name that this process has open."""
    device, held = os.stat(volume).st_dev, 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            status = os.stat(f"/proc/self/fd/{fd}")
            is_gone = os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)")
            held += status.st_blocks * 512 if is_gone and status.st_dev == device else 0
    return held


def hidden(volume: str) -> int:
    """Bytes that the volume counts as used beyond its files' own."""
    status = os.statvfs(volume)
    named = sum(path.lstat().st_blocks * 512 for path in Path(volume).rglob("*"))
    return (status.f_blocks - status.f_bfree) * status.f_frsize - named


def crowded(volume: str, steps: range) -> type[Any]:
    """A Trainer whose neighbour fills the disk before its optimizer.pt, at these steps; each save begins with room."""
    import ballast
    import tiny

    class Crowded(tiny.Trainer):
        def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
            Path(volume, "ballast").unlink(missing_ok=True)
            super()._maybe_log_save_evaluate(*args, **kwargs)

        def _save_optimizer_and_scheduler(self, *args: Any, **kwargs: Any) -> None:
            if self.state.global_step in steps and not os.path.exists(f"{volume}/ballast"):  # at its first attempt
                ballast.fill(volume, HALF)
            super()._save_optimizer_and_scheduler(*args, **kwargs)

    return Crowded


@pytest.mark.slow
def test_after_twenty_failed_saves_the_process_holds_no_deleted_bytes(mount: Mount) -> None:
    """What a failed attempt still has open takes room that no name shows, and the next save needs it.

    Python's own collector is off, which else lets go of it at some moment, as luck has it.
    """
    import tiny

    volume, seen = mount("tmpfs", "size=16m"), list[Any]()
    kind = crowded(volume, steps=range(6, 26))
    trainer = tiny.trainer(f"{volume}/run", kind=kind, max_steps=26, save_steps=1)
    guard = ckptkit.guard(trainer, 2)
    trainer.add_callback(tiny.At(26, lambda: (guard.wait(), seen.extend([held_deleted(volume), hidden(volume)]))))  # type: ignore[func-returns-value]
    gc.disable()
    try:
        trainer.train()
    finally:
        gc.enable()
    assert (guard.skipped, seen) == (20, [0, 0])
