"""A disk that is really full before a save: a tmpfs with ballast. Training goes on, and nothing intact is lost."""

import os
import shutil
import threading
import time
from collections.abc import Callable

import pytest
from tiny import At
from watch import Watch

import ckptkit
from ckptkit.ops.read import scan, verify
from tests.support.typed import FillTo, Names, SmallDisk

MiB = 1 << 20


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


def full_from(step: int, mount: str, fill: FillTo, leave: int = 0, rid_of: str | None = None) -> At:
    """A callback that fills the disk before that step's save. rid_of: a checkpoint that somebody removes just before.

    What the older of two checkpoints gives back is room enough for the next one.
    """
    import tiny

    def crowd() -> None:
        if rid_of:
            shutil.rmtree(os.path.join(mount, "run", rid_of))
        fill(mount, leave)

    return tiny.At(step, crowd)


def test_full_from_the_start_trains_to_the_end_without_a_checkpoint(
    disk: SmallDisk, fill: FillTo, names: Names, told: list[str]
) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    os.mkdir(run)
    fill(mount, 0)
    trainer = tiny.trainer(run)
    guard = ckptkit.guard(trainer)
    trainer.train()
    assert (trainer.state.global_step, guard.skipped, names(run)) == (40, 4, [])
    assert sum("is NOT saved, training goes on" in line and "0 B are available" in line for line in told) == 4


def test_full_in_the_middle_skips_and_saves_again_once_there_is_room(
    disk: SmallDisk, fill: FillTo, watch: Callable[[str], Watch]
) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    os.mkdir(run)
    free = tiny.At(35, lambda: os.unlink(os.path.join(mount, "ballast")))
    trainer = tiny.trainer(run, callbacks=[full_from(25, mount, fill, rid_of="checkpoint-10"), free])
    guard, seen = ckptkit.guard(trainer, 2), watch(run)
    trainer.train()
    assert guard.skipped == 1
    assert seen.begun == ["checkpoint-10", "checkpoint-20", "checkpoint-40"], "step 30 was not even begun"
    assert left(run) == ["checkpoint-20", "checkpoint-40"]
    assert all(j.verdict.resumable for j in verify(run))


def test_room_for_exactly_what_is_kept_and_written_is_enough(disk: SmallDisk, watch: Callable[[str], Watch]) -> None:
    import tiny

    mount = disk(2 * MiB + 512 * 1024)  # two of 0.85 MiB and the margin, never three
    run = os.path.join(mount, "run")
    os.mkdir(run)
    trainer = tiny.trainer(run, max_steps=80)
    guard, seen = ckptkit.guard(trainer, 2), watch(run)
    trainer.train()
    assert (guard.skipped, seen.peak, left(run)) == (0, 2, ["checkpoint-70", "checkpoint-80"])


def test_wait_saves_as_soon_as_there_is_room(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    mount = disk(8 * MiB)
    run, ballast = os.path.join(mount, "run"), os.path.join(mount, "ballast")
    trainer = tiny.trainer(run, max_steps=20, callbacks=[full_from(15, mount, fill)])
    guard = ckptkit.guard(trainer, 2, on_full="wait", on_full_timeout=60)

    def neighbour() -> None:
        while not os.path.exists(ballast):
            time.sleep(0.05)
        time.sleep(1)
        os.unlink(ballast)

    thread = threading.Thread(target=neighbour)
    thread.start()
    trainer.train()
    thread.join()
    assert (guard.skipped, left(run)[-1]) == (0, "checkpoint-20")
    assert 0.5 < tiny.scalars(trainer, "ckpt/stall_seconds")[-1] < 30


def test_wait_ends_at_its_time_limit(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    mount = disk(8 * MiB)
    trainer = tiny.trainer(os.path.join(mount, "run"), max_steps=20, callbacks=[full_from(15, mount, fill)])
    guard = ckptkit.guard(trainer, 2, on_full="wait", on_full_timeout=0.5)
    trainer.train()
    assert guard.skipped == 1
    assert 0.5 <= tiny.scalars(trainer, "ckpt/stall_seconds")[-1] < 5


def test_stop_ends_training_cleanly_and_saves_nothing_more(disk: SmallDisk, fill: FillTo, told: list[str]) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    os.mkdir(run)
    trainer = tiny.trainer(run, callbacks=[full_from(15, mount, fill)])
    ckptkit.guard(trainer, 2, on_full="stop")
    result = trainer.train()
    assert (result.global_step, left(run)) == (20, ["checkpoint-10"])
    assert any("on_full is 'stop', so training ends here" in line for line in told)


def test_a_training_after_a_stop_saves_again(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, callbacks=[full_from(15, mount, fill)])
    ckptkit.guard(trainer, 2, on_full="stop")
    trainer.train()
    os.unlink(os.path.join(mount, "ballast"))
    trainer.callback_handler.callbacks = [c for c in trainer.callback_handler.callbacks if not isinstance(c, tiny.At)]
    trainer.train(resume_from_checkpoint=True)
    assert left(run)[-1] == "checkpoint-40"


def test_weights_only_where_no_more_fits_and_the_resumable_one_stays(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, max_steps=20, callbacks=[full_from(15, mount, fill, leave=650_000)])
    guard = ckptkit.guard(trainer, 2, on_full="weights-only")
    trainer.train()
    found = {j.checkpoint.name: (j.verdict.state, j.verdict.resumable) for j in verify(run)}
    assert found == {"checkpoint-10": ("intact", True), "checkpoint-20": ("intact", False)}
    assert trainer.args.save_only_model is False and guard.skipped == 0


def test_weights_only_skips_where_not_even_those_fit(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, max_steps=20, callbacks=[full_from(15, mount, fill, leave=100_000)])
    guard = ckptkit.guard(trainer, 2, on_full="weights-only")
    trainer.train()
    assert (guard.skipped, left(run)) == (1, ["checkpoint-10"])


@pytest.mark.parametrize("spare", range(14))
def test_out_of_inodes_at_any_file_of_a_save(disk: SmallDisk, spare: int) -> None:
    import tiny

    mount = disk(64 * MiB, inodes=400)
    run = os.path.join(mount, "run")

    def use_up() -> None:
        number = 0
        while os.statvfs(mount).f_ffree > spare:
            open(os.path.join(mount, f"inode{number}"), "w").close()
            number += 1

    trainer = tiny.trainer(run, max_steps=20, callbacks=[tiny.At(15, use_up)])
    ckptkit.guard(trainer, 2)
    trainer.train()
    states = [j.verdict.state for j in verify(run)]
    assert trainer.state.global_step == 20
    assert left(run)[0] == "checkpoint-10" and set(states) == {"intact"}
