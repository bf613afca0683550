"""A disk that refuses: read-only, immutable, busy, held open, nobody to tell. Training goes on, and it is told once."""

import os
import subprocess
import sys
from pathlib import Path

import ckptkit
from ckptkit.ops.read import scan
from tests.support.typed import FillTo, SmallDisk

MiB = 1 << 20


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


def test_a_disk_that_turns_read_only_costs_only_its_saves(disk: SmallDisk) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")

    def remount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", mount], check=True)

    callbacks = [tiny.At(15, lambda: remount("ro")), tiny.At(35, lambda: remount("rw"))]
    trainer = tiny.trainer(run, callbacks=callbacks)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.skipped == 2
    assert left(run) == ["checkpoint-10", "checkpoint-40"]


def test_an_immutable_run_costs_only_its_saves(disk: SmallDisk) -> None:
    """EPERM, as another user's directory says EACCES: a permission, and none of training's business."""
    import tiny

    run = os.path.join(disk(8 * MiB), "run")

    def mark(sign: str) -> None:
        subprocess.run(["chattr", f"{sign}i", run], check=True)

    trainer = tiny.trainer(run, callbacks=[tiny.At(15, lambda: mark("+")), tiny.At(35, lambda: mark("-"))])
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert (guard.skipped, left(run)) == (2, ["checkpoint-10", "checkpoint-40"])


def test_what_cant_be_deleted_is_told_once_and_training_goes_on(disk: SmallDisk, told: list[str]) -> None:
    import tiny

    mount = disk(16 * MiB)
    run = os.path.join(mount, "run")
    inside = os.path.join(run, "checkpoint-10", "mounted")

    def occupy() -> None:
        os.mkdir(inside)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inside], check=True)

    trainer = tiny.trainer(run, max_steps=60, callbacks=[tiny.At(15, occupy)])
    guard = ckptkit.guard(trainer, 2)
    try:
        trainer.train()
    finally:
        subprocess.run(["umount", inside], check=True)
    assert (guard.skipped, left(run)) == (0, ["checkpoint-10", "checkpoint-50", "checkpoint-60"])
    lines = [line for line in told if "checkpoint-10" in line and "mounted inside" in line]
    assert len(lines) == 1, lines


def test_an_open_file_keeps_one_alive_and_the_holder_is_told(disk: SmallDisk, told: list[str]) -> None:
    import tiny

    mount = disk(16 * MiB)
    run = os.path.join(mount, "run")
    held = []

    def hold() -> None:
        path = os.path.join(run, "checkpoint-10", "optimizer.pt")
        held.append(subprocess.Popen(["sleep", "600"], stdin=open(path)))  # noqa: SIM115 - the child keeps it

    trainer = tiny.trainer(run, max_steps=60, callbacks=[tiny.At(15, hold)])
    ckptkit.guard(trainer, 2)
    try:
        trainer.train()
    finally:
        held[0].kill()
        held[0].wait()
    assert left(run) == ["checkpoint-10", "checkpoint-50", "checkpoint-60"]
    lines = [line for line in told if "checkpoint-10" in line and f"held open by sleep (pid {held[0].pid})" in line]
    assert len(lines) == 1, lines


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import ckptkit, tiny
from loguru import logger
logger.add(sys.argv[2] + "/log")
trainer = tiny.trainer(sys.argv[2] + "/run")
guard = ckptkit.guard(trainer)
trainer.train()
print("skipped", guard.skipped, "at", trainer.state.global_step)
"""


def test_nobody_to_tell_and_a_log_on_the_full_disk_do_not_end_training(disk: SmallDisk, fill: FillTo) -> None:
    mount = disk(8 * MiB)
    fill(mount, 0)
    # -u: else Python itself says 120 at its end, for what it could not flush to a full stderr.
    command = [sys.executable, "-u", "-c", SCRIPT, os.path.dirname(__file__), mount]
    with open("/dev/full", "w") as nowhere:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=nowhere, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "skipped 4 at 40")


SILENT = """
import sys; sys.path.insert(0, sys.argv[1])
import ckptkit, tiny
trainer = tiny.trainer(sys.argv[2], max_steps=60)
guard = ckptkit.guard(trainer, 2)
trainer.train()
print("skipped", guard.skipped, "at", trainer.state.global_step)
"""


def test_a_volume_that_does_not_say_what_is_free_costs_no_save_and_the_number_holds(tmp_path: Path) -> None:
    """statvfs says EIO from before `guard()` on, for ever: the Trainer alone never asks it."""
    run = str(tmp_path / "run")
    calls = "statfs,fstatfs"
    inject = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={calls}"]
    command = [*inject, "-e", f"inject={calls}:error=EIO", sys.executable, "-c", SILENT, os.path.dirname(__file__), run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "skipped 0 at 60"), done.stderr[-3000:]
    assert left(run) == ["checkpoint-50", "checkpoint-60"]
    assert "can't be measured" in done.stderr
