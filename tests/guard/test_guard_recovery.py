"""A disk that fills while a save is being written, by a real file: remains removed, room made, tried again."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.ops.execute import settled_available_bytes
from ckptkit.ops.read import scan, verify
from tests.support.typed import FillTo, Names, SmallDisk

MiB = 1 << 20
# The methods of transformers.Trainer that write the parts of a checkpoint, in the order of writing.
PARTS = ["_save", "_save_optimizer_and_scheduler", "_save_scaler", "_save_rng_state"]


def crowded(mount: str, fill: FillTo | Callable[[str, int], None], part: str, step: int, times: int) -> type[Any]:
    """A Trainer whose neighbour fills the disk in the middle of that step's save, as often as `times` says."""
    import tiny

    ballast = os.path.join(mount, "ballast")

    class Crowded(tiny.Trainer):
        attempts = 0

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            if os.path.exists(ballast):
                os.unlink(ballast)
            super()._save_checkpoint(*args, **kwargs)

    def crowd(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step == step and self.attempts < times:
            type(self).attempts += 1
            fill(mount, 0)
        getattr(super(Crowded, self), part)(*args, **kwargs)

    setattr(Crowded, part, crowd)
    return Crowded


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


@pytest.fixture
def mount(disk: SmallDisk) -> str:
    path = disk(16 * MiB)
    os.mkdir(os.path.join(path, "run"))
    return path


@pytest.mark.parametrize("part", PARTS)
def test_a_save_that_fails_once_is_written_the_second_time(
    mount: str, fill: FillTo, watch: Callable[[str], Watch], told: list[str], part: str
) -> None:
    import tiny

    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, kind=crowded(mount, fill, part, step=30, times=1))
    guard, seen = ckptkit.guard(trainer, 2), watch(run)
    trainer.train()
    assert trainer.attempts == 1 and any("saving checkpoint-30 failed" in line for line in told)
    assert (guard.skipped, seen.peak, seen.begun.count("checkpoint-30")) == (0, 2, 2)
    assert left(run) == ["checkpoint-30", "checkpoint-40"]
    assert all(j.verdict.resumable and not j.verdict.findings for j in verify(run, level="full"))


@pytest.mark.parametrize("part", PARTS)
def test_a_save_that_fails_twice_leaves_no_remains_and_training_goes_on(
    mount: str, fill: FillTo, names: Names, told: list[str], part: str
) -> None:
    import tiny

    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, max_steps=30, kind=crowded(mount, fill, part, step=30, times=2))
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert (trainer.state.global_step, trainer.attempts, guard.skipped) == (30, 2, 1)
    assert names(run) == ["checkpoint-20"]
    assert [line for line in told if "step 30 is NOT saved" in line and not line.rstrip().endswith("training goes on:")]


def fill_quota(folder: str, leave: int) -> None:
    """Write until the quota takes nothing more, while statvfs shows room."""
    with open(os.path.join(folder, "ballast"), "wb", buffering=0) as file:
        for size in (MiB, 1 << 14, 1 << 12, 1 << 12):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue
    assert settled_available_bytes(folder, 0) > 100 * MiB


@pytest.mark.mounts
@pytest.mark.parametrize("times, there", [(1, ["checkpoint-30", "checkpoint-40"]), (2, ["checkpoint-20"])])
def test_remains_of_a_save_that_a_quota_refused_are_removed_while_it_is_full(
    subvolume: Callable[[str], str], names: Names, told: list[str], times: int, there: list[str]
) -> None:
    """Btrfs refuses even a rename then."""
    import tiny

    place = subvolume("40M")
    run = os.path.join(place, "run")
    kind = crowded(place, fill_quota, "_save_optimizer_and_scheduler", step=30, times=times)
    trainer = tiny.trainer(run, max_steps=40 if times == 1 else 30, kind=kind)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert trainer.attempts == times and any("quota exceeded" in line for line in told)
    assert (guard.skipped, names(run)) == (times - 1, there)


def test_after_two_failures_on_full_stop_stops(mount: str, fill: FillTo) -> None:
    import tiny

    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, kind=crowded(mount, fill, "_save_rng_state", step=20, times=2))
    ckptkit.guard(trainer, 2, on_full="stop")
    trainer.train()
    assert (trainer.state.global_step, left(run)) == (20, ["checkpoint-10"])


def test_the_best_one_is_none_that_could_not_be_written(mount: str, fill: FillTo) -> None:
    """Else the next save would name it as the best, and the one that really is there would go."""
    import tiny

    run = os.path.join(mount, "run")
    trainer = tiny.trainer(
        run, kind=crowded(mount, fill, "_save_rng_state", step=30, times=2), max_steps=60, load_best_model_at_end=True,
        eval_strategy="steps", eval_steps=10, metric_for_best_model="score", greater_is_better=True,
        callbacks=[tiny.At(35, lambda: os.unlink(os.path.join(mount, "ballast")))],
    )  # fmt: skip
    ckptkit.guard(trainer, 2)
    trainer.compute_metrics = lambda predicted: {"score": -abs(30 - trainer.state.global_step)}
    trainer.train()
    assert (trainer.attempts, trainer.state.best_global_step) == (2, 20)
    assert trainer.state.best_model_checkpoint == os.path.join(run, "checkpoint-20")
    assert left(run) == ["checkpoint-20", "checkpoint-50", "checkpoint-60"]


def test_a_program_error_is_not_taken_for_a_full_disk(mount: str) -> None:
    import tiny

    class Faulty(tiny.Trainer):
        def _save_scaler(self, output_dir: Any) -> None:
            raise ValueError("no such key: momentum")

    trainer = tiny.trainer(os.path.join(mount, "run"), kind=Faulty)
    ckptkit.guard(trainer)
    with pytest.raises(ValueError, match="no such key: momentum"):
        trainer.train()


def test_a_limit_on_file_size_is_the_disks_fault_too(tmp_path: Path) -> None:
    """`ulimit -f`, or 4 GiB on vfat: EFBIG out of safetensors, and no errno at all out of torch."""
    script = """
import resource, sys; sys.path.insert(0, sys.argv[1])
import ckptkit, tiny
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
trainer = tiny.trainer(sys.argv[2])
guard = ckptkit.guard(trainer)
trainer.train()
print("skipped", guard.skipped, "at", trainer.state.global_step)
"""
    for limit in (100_000, 300_000):  # below the weights; between them and the optimizer state
        command = [sys.executable, "-c", script, os.path.dirname(__file__), str(tmp_path / str(limit)), str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1:] == ["skipped 4 at 40"], done.stderr[-2000:]
        assert os.listdir(tmp_path / str(limit)) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_save_that_can_not_be_made_durable_costs_no_older_one(tmp_path: Path) -> None:
    """fsync says EIO on the third save and the fourth: the last durable one stays beside them."""
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import ckptkit, tiny
trainer = tiny.trainer(sys.argv[2])
ckptkit.guard(trainer, 2)
trainer.train()
"""
    run = str(tmp_path / "run")
    os.mkdir(run)
    bad = [word for step in (30, 40) for word in ("-P", os.path.join(run, f"checkpoint-{step}"))]
    inject = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO",
        *bad,
    ]
    command = [*inject, sys.executable, "-c", script, os.path.dirname(__file__), run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("may not survive a crash") == 2
    assert "checkpoint-20" in left(run), "the last that is known to be durable"
