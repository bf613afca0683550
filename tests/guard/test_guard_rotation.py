"""Whose rotation it is depends on what can be judged, never on what the disk or a neighbour does to one save."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from tests.support.typed import Names, SmallDisk

MiB = 1 << 20
SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import ckptkit, like_writers, tiny
kind, run = sys.argv[2:]
of = tiny.model(lora=False, intermediate_size=128)
trainer = tiny.trainer(run, kind=like_writers.KINDS.get(kind, tiny.Trainer), of=of, max_steps=60, save_total_limit=2)
guard = ckptkit.guard(trainer)
trainer.train()
print("skipped", guard.skipped, "rotates", guard.room.rotates)
"""


def of_rotation(told: list[str]) -> list[str]:
    return [line for line in told if "deletes nothing there" in line]


def rotates_again(told: list[str]) -> list[str]:
    return [line for line in told if "the guard can judge what" in line]


def first_can_not_be_read(run: str, kind: str) -> tuple[str, list[str]]:
    """Train while the kernel says EIO to whoever reads the state of the first save; its last line, and all told."""
    state = f"{run}/checkpoint-10/trainer_state.json"
    traced = ("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-P", state, "-e", "trace=read,pread64")
    inject = (*traced, "-e", "inject=read,pread64:error=EIO")
    command = [*inject, sys.executable, "-u", "-c", SCRIPT, os.path.dirname(__file__), kind, run]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.stdout.splitlines()[-1], done.stderr.splitlines()


def test_a_writer_whose_first_save_can_not_be_read_has_its_rotation_from_the_second_on(
    disk: SmallDisk, names: Names
) -> None:
    run = os.path.join(disk(5 * MiB), "run")  # four of 1.2 MiB
    last, told = first_can_not_be_read(run, "strange")
    assert (last, names(run)) == ("skipped 0 rotates False", ["checkpoint-50", "checkpoint-60"])
    assert len(of_rotation(told)) == 1


def test_a_trainer_whose_first_save_can_not_be_read_is_rotated_by_the_guard(disk: SmallDisk, names: Names) -> None:
    run = os.path.join(disk(5 * MiB), "run")
    last, told = first_can_not_be_read(run, "")
    assert last == "skipped 0 rotates True" and not of_rotation(told)
    assert names(run) == ["checkpoint-10", "checkpoint-50", "checkpoint-60"], "what can't be read is not deleted"


def spoiled(kind: str, *steps: int) -> type[Any]:
    """A Trainer of which a neighbour takes or cuts the weights of those steps, in the moment when their save ends."""
    import tiny

    class Spoiled(tiny.Trainer):
        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            super()._save_checkpoint(*args, **kwargs)
            weights = f"{self.args.output_dir}/checkpoint-{self.state.global_step}/adapter_model.safetensors"
            if self.state.global_step in steps:
                os.unlink(weights) if kind == "taken" else os.truncate(weights, 1000)

    return Spoiled


@pytest.mark.parametrize("kind", ["taken", "cut"])
def test_a_first_save_that_somebody_spoils_costs_the_guard_its_rotation_once_at_most(
    tmp_path: Path, names: Names, told: list[str], kind: str
) -> None:
    import tiny

    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, kind=spoiled(kind, 10), max_steps=60)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.room.rotates
    assert [name for name in names(run) if name != "checkpoint-10"] == ["checkpoint-50", "checkpoint-60"]
    assert len(of_rotation(told)) == len(rotates_again(told)) == (kind == "taken")


@pytest.mark.parametrize("kind", ["taken", "cut"])
def test_one_spoiled_save_takes_no_intact_one_of_an_older_run_with_it(
    tmp_path: Path, watch: Callable[[str], Watch], told: list[str], kind: str
) -> None:
    import tiny

    run = str(tmp_path / "run")
    tiny.trainer(run, max_steps=20).train()
    trainer = tiny.trainer(run, kind=spoiled(kind, 30), save_total_limit=1, max_steps=40)
    guard, seen = ckptkit.guard(trainer), watch(run)
    trainer.train(resume_from_checkpoint=True)
    assert guard.room.rotates and not of_rotation(told)
    assert seen.gone.index("checkpoint-20") > seen.gone.index("checkpoint-10") and seen.begun[-1] == "checkpoint-40"


def test_saves_that_always_look_damaged_leave_rotation_to_the_trainer(
    tmp_path: Path, names: Names, told: list[str]
) -> None:
    """Each is written without a fault: then it is this Trainer's way, and not the disk's."""
    import tiny

    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, kind=spoiled("cut", *range(10, 70, 10)), max_steps=60)
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert names(run) == ["checkpoint-50", "checkpoint-60"] and len(of_rotation(told)) == 1


def test_saves_that_the_disk_spoils_one_after_another_take_no_intact_one_with_them(
    tmp_path: Path, names: Names, told: list[str]
) -> None:
    import tiny

    run = str(tmp_path / "run")
    tiny.trainer(run, max_steps=20).train()
    trainer = tiny.trainer(run, kind=spoiled("cut", *range(30, 70, 10)), max_steps=60)
    ckptkit.guard(trainer, 2)
    trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-20" in names(run) and not of_rotation(told)
