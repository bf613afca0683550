"""Writers other than the plain Trainer (FSDP, DeepSpeed, Router; like_writers.py): never worse than without us.

Where nobody here can judge what is written, rotation stays the Trainer's, which is told once; admission, retries and
reports are the guard's all the same.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.guard import claim
from tests.support.typed import FillTo, Names, SmallDisk

MiB, SLACK = 1 << 20, 48 << 10
JUDGED = ("fsdp-sharded", "fsdp-full", "deepspeed", "router")
KINDS = ("strange", *JUDGED)
_bytes_of_three: dict[str, int] = {}


def writer(run: str, kind: str, **settings: Any) -> Any:
    """A trainer of that kind that saves every 10 of 60 steps."""
    import like_writers
    import tiny

    return tiny.trainer(
        run,
        kind=like_writers.KINDS[kind],
        of=tiny.model(lora=False, intermediate_size=128),
        **{"max_steps": 60, **settings},
    )


def guarded(trainer: Any, *args: int, **kwargs: Any) -> Any:
    """The guard; a real FSDP or DeepSpeed Trainer says by then what it is."""
    if trainer.flag:
        setattr(trainer, trainer.flag, True)
    guard = ckptkit.guard(trainer, *args, **kwargs)
    if trainer.flag:
        setattr(trainer, trainer.flag, False)
    return guard


@pytest.fixture
def tight(disk: SmallDisk) -> Callable[[Any], str]:
    """tight(kind): a run on a disk of three of its checkpoints: the plain Trainer with a limit of 2 just gets along."""

    def mount(kind: str) -> str:
        if kind not in _bytes_of_three:
            large = disk(32 * MiB)
            writer(os.path.join(large, "run"), kind, max_steps=30).train()
            status = os.statvfs(large)
            _bytes_of_three[kind] = (status.f_blocks - status.f_bfree) * status.f_frsize
        run = os.path.join(disk(_bytes_of_three[kind] + SLACK), "run")
        os.mkdir(run)
        return run

    return mount


def aged(run: str) -> None:
    """Its checkpoints as an older run's: written an hour ago, in the order of their steps."""
    for number, name in enumerate(sorted(os.listdir(run))):
        for folder, _, files in os.walk(os.path.join(run, name)):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.utime(path, (then := time.time() - 3600 + 60 * number, then))


def of_rotation(told: list[str]) -> list[str]:
    return [line for line in told if "deletes nothing there" in line]


def checkpoints(*steps: int) -> list[str]:
    return [f"checkpoint-{step}" for step in steps]


# --- undisturbed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ends_as_without_us_on_a_disk_on_which_the_trainer_just_gets_along(
    tight: Callable[[Any], str], watch: Callable[[str], Watch], names: Names, told: list[str], kind: str
) -> None:
    plain = tight(kind)
    alone = watch(plain)
    writer(plain, kind, save_total_limit=2).train()
    run = tight(kind)
    trainer = writer(run, kind, save_total_limit=2)
    guard, seen = guarded(trainer), watch(run)
    trainer.train()
    assert names(run) == names(plain) == checkpoints(50, 60)
    assert (guard.skipped, seen.begun) == (0, alone.begun) and seen.peak <= alone.peak
    assert not [line for line in told if "not intact" in line]
    written = [name for name in names(f"{run}/checkpoint-60") if not name.startswith(".ckptkit-")]
    assert written == names(f"{plain}/checkpoint-60")
    assert len(of_rotation(told)) == (kind == "strange")
    for line in of_rotation(told):
        assert line.endswith("the Trainer rotates, with save_total_limit=2")


@pytest.mark.parametrize("kind", KINDS)
def test_keep_last_is_the_trainers_limit_where_it_has_none_of_its_own(
    tight: Callable[[Any], str], names: Names, told: list[str], kind: str
) -> None:
    run = tight(kind)
    trainer = writer(run, kind)
    guard = guarded(trainer, keep_last=2)
    trainer.train()
    assert (guard.skipped, names(run)) == (0, checkpoints(50, 60))
    assert len(of_rotation(told)) == (kind == "strange")


@pytest.mark.parametrize("kind", JUDGED)
def test_what_can_be_judged_is_pruned_for_room_where_the_trainer_has_no_limit(
    tight: Callable[[Any], str], names: Names, told: list[str], kind: str
) -> None:
    """The plain Trainer ends here, at its fourth save."""
    run = tight(kind)
    trainer = writer(run, kind)
    guard = guarded(trainer)
    trainer.train()
    assert (trainer.state.global_step, guard.skipped, names(run)) == (60, 0, checkpoints(50, 60))
    assert guard.room.rotates and guard.room.durable.keys() == {"checkpoint-60"} and not of_rotation(told)


def test_without_any_limit_nothing_is_deleted_and_a_full_disk_costs_only_saves(
    tight: Callable[[Any], str], watch: Callable[[str], Watch], names: Names, told: list[str]
) -> None:
    """The plain Trainer ends here, at its fourth save."""
    kind = "strange"
    run = tight(kind)
    trainer = writer(run, kind)
    guard, seen = guarded(trainer), watch(run)
    trainer.train()
    assert (trainer.state.global_step, guard.skipped, names(run)) == (60, 3, checkpoints(10, 20, 30))
    assert seen.gone == [] and of_rotation(told)[0].endswith("set keep_last=2 in ckptkit.guard")
    assert sum("is NOT saved, training goes on" in line for line in told) == 3


# --- a save that fails ------------------------------------------------------------------------------------------------


def fails_at(trainer: Any, step: int, mount: str, fill: FillTo, attempts: int) -> list[int]:
    """A neighbour fills the disk in the middle of that step's save, so often, and goes thereafter."""
    import tiny

    write_first, write_last = trainer.write_first, trainer.write_last
    tries: list[int] = []

    def go_away() -> None:
        for name in os.listdir(mount):
            if name.startswith("ballast"):
                os.unlink(os.path.join(mount, name))

    def first(output_dir: Any) -> None:
        if len(tries) == attempts:
            go_away()
        write_first(output_dir)

    def last(output_dir: Any) -> None:
        if trainer.state.global_step == step:
            if len(tries) < attempts:
                fill(mount, 0, f"ballast{len(tries)}")
            tries.append(step)
        write_last(output_dir)

    trainer.write_first, trainer.write_last = first, last
    trainer.add_callback(tiny.At(step + 5, go_away))
    return tries


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_in_the_middle_of_a_save_is_told_and_the_save_is_tried_again(
    disk: SmallDisk, fill: FillTo, names: Names, told: list[str], kind: str
) -> None:
    mount = disk(32 * MiB)
    run = os.path.join(mount, "run")
    trainer = writer(run, kind, save_total_limit=2)
    tries = fails_at(trainer, 30, mount, fill, attempts=1)
    guard = guarded(trainer)
    trainer.train()
    assert (tries, guard.skipped, names(run)) == ([30, 30], 0, checkpoints(50, 60))
    assert [line for line in told if "saving checkpoint-30 failed" in line]


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_fails_for_good_leaves_no_remains_and_the_next_ones_are_written(
    disk: SmallDisk, fill: FillTo, watch: Callable[[str], Watch], names: Names, kind: str
) -> None:
    mount = disk(32 * MiB)
    run = os.path.join(mount, "run")
    os.mkdir(run)
    trainer = writer(run, kind, save_total_limit=2, max_steps=40)
    tries = fails_at(trainer, 30, mount, fill, attempts=2)
    guard, seen = guarded(trainer), watch(run)
    trainer.train()
    assert (len(tries), guard.skipped, names(run)) == (2, 1, checkpoints(20, 40))
    gone = (30, 30, 10) if kind == "strange" else (10, 30, 30)  # the Trainer deletes after a save, the guard before
    assert seen.begun == checkpoints(10, 20, 30, 30, 40) and seen.gone == checkpoints(*gone)


# --- on top of an older run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["resumed", "anew"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_top_of_an_older_run_it_ends_as_without_us(
    tight: Callable[[Any], str], names: Names, told: list[str], kind: str, how: str
) -> None:
    """Anew: each of its steps is in the way of a save, and the Trainer would write over it."""
    ends = []
    for guard in (None, guarded):
        run = tight(kind)
        writer(run, kind, save_total_limit=2, max_steps=20).train()
        aged(run)
        trainer = writer(run, kind, save_total_limit=2)
        made = guard and guard(trainer)
        trainer.train(resume_from_checkpoint=True if how == "resumed" else None)
        ends.append(names(run))
        assert not made or made.skipped == 0
    assert ends[0] == ends[1] == checkpoints(50, 60)
    assert len(of_rotation(told)) == (kind == "strange")


def test_what_a_save_writes_over_is_marked_where_it_breaks_off(disk: SmallDisk, fill: FillTo, names: Names) -> None:
    """As without us, but that the mark tells: no resume takes the mix of two."""
    kind = "strange"
    mount = disk(32 * MiB)
    run = os.path.join(mount, "run")
    writer(run, kind, max_steps=10).train()
    trainer = writer(run, kind, save_total_limit=2, max_steps=10)
    tries = fails_at(trainer, 10, mount, fill, attempts=2)
    guard = guarded(trainer)
    trainer.train()
    assert tries and names(run) == ["checkpoint-10"] and trainer.state.global_step == 10
    assert (guard.skipped == 1) is (".ckptkit-saving" in os.listdir(f"{run}/checkpoint-10"))


@pytest.mark.parametrize("kind", KINDS)
def test_true_resumes_from_the_newest_that_is_not_known_to_have_broken_off(
    tmp_path: Path, told: list[str], kind: str
) -> None:
    run = str(tmp_path / "run")
    writer(run, kind, max_steps=30).train()
    shutil.copytree(f"{run}/checkpoint-30", f"{run}/checkpoint-35")
    os.unlink(f"{run}/checkpoint-35/trainer_state.json")
    open(f"{run}/checkpoint-35/.ckptkit-saving", "w").close()
    trainer = writer(run, kind, max_steps=40)
    guarded(trainer)
    trainer.train(resume_from_checkpoint=True)
    assert any(line.endswith(f"resuming from {run}/checkpoint-30") for line in told)
    assert any(f"skipped {run}/checkpoint-35" in line for line in told)
    assert trainer.state.global_step == 40


@pytest.mark.parametrize("overwritten", [False, True])
def test_true_takes_a_marked_one_only_where_the_save_over_it_wrote_nothing_yet(
    tmp_path: Path, told: list[str], overwritten: bool
) -> None:
    """What a kill leaves of a save over an older one of that name: all of the older one, or a mix."""
    run = str(tmp_path / "run")
    writer(run, "strange", max_steps=10).train()
    aged(run)
    claim.mark(f"{run}/checkpoint-10")
    if overwritten:
        os.utime(f"{run}/checkpoint-10/parts/moments.part")
    trainer = writer(run, "strange", max_steps=20)
    guarded(trainer, 2)
    if overwritten:
        with pytest.raises(ckptkit.NoIntactCheckpoint):
            trainer.train(resume_from_checkpoint=True)
        return
    trainer.train(resume_from_checkpoint=True)
    assert f"ckptkit: resuming from {run}/checkpoint-10" in told
