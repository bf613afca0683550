"""The guard of a loop asked for what it can't do, and bodies of a `with` that fail of something else than the disk."""

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.guard.loop import LoopGuard
from tests.support.typed import Names


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")
        yield


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[LoopGuard]:
    with ckptkit.guard(tmp_path / "run", keep_last=2) as guard:
        yield guard


def write(path: str) -> None:
    """A checkpoint of torch.distributed.checkpoint."""
    import torch
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": torch.ones(9), "optimizer": torch.ones(9)}, checkpoint_id=path)


def train(guard: LoopGuard, *steps: int, save: Callable[[Any], None] = write) -> None:
    for step in steps:
        with guard.saving(step) as path:
            save(path)
    guard.wait()


def test_keep_best_which_nothing_measures_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ckptkit.UsageError, match=r"^keep_best: .*ckptkit.pin\(path\)"):
        ckptkit.guard(tmp_path / "run", keep_best="loss")
    with pytest.raises(ckptkit.UsageError, match=r"^keep_best: .*set monitor= on ModelCheckpoint"):
        ckptkit.lightning_guard(keep_best="loss")


# --- a second training in one process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["guard", "close", "no word"])
def test_second_training_in_one_process_keeps_its_own(
    tmp_path: Path, guard: LoopGuard, names: Names, again: str
) -> None:
    train(guard, 10, 20, 30, 40, 50)
    if again == "close":
        guard.close()
    if again == "guard":
        ckptkit.guard(tmp_path / "run", keep_last=2)
    train(guard, 10, 20, 30)
    assert names(tmp_path / "run") == ["checkpoint-20", "checkpoint-30"]


def test_second_training_that_goes_on_from_an_older_one_keeps_its_own(
    tmp_path: Path, guard: LoopGuard, names: Names
) -> None:
    train(guard, 10, 20)
    os.unlink(tmp_path / "run/checkpoint-20/.metadata")
    assert guard.latest() == str(tmp_path / "run/checkpoint-10")
    train(guard, 12, 14)
    assert names(tmp_path / "run") == ["checkpoint-12", "checkpoint-14"]


# --- what else fails in a body ----------------------------------------------------------------------------------------


def uploaded(path: str) -> None:
    write(path)
    raise ConnectionError("the hub does not answer")


@pytest.mark.parametrize("with_save", [False, True])
def test_whole_save_stays_where_what_came_after_it_failed(
    tmp_path: Path, guard: LoopGuard, names: Names, told: list[str], with_save: bool
) -> None:
    if with_save:
        assert guard.save(1, uploaded)
    else:
        train(guard, 1, save=uploaded)
    guard.wait()
    assert (names(tmp_path / "run"), guard.skipped, set(guard.room.durable)) == (["checkpoint-1"], 0, {"checkpoint-1"})
    assert any("is complete and stays" in line and "the hub does not answer" in line for line in told)


def test_save_of_which_a_write_failed_is_removed_however_whole_it_looks(
    tmp_path: Path, guard: LoopGuard, names: Names
) -> None:
    def broken_off(path: str) -> None:
        write(path)
        raise OSError(errno.ENOSPC, "No space left on device", f"{path}/trainer_state.json")

    train(guard, 1)
    train(guard, 2, save=broken_off)
    assert (names(tmp_path / "run"), guard.skipped) == (["checkpoint-1"], 1)


def test_what_a_body_makes_of_an_error_is_the_programs(guard: LoopGuard) -> None:
    def made_of_it(path: str) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("of the program")  # noqa: B904

    with pytest.raises(ValueError, match="of the program"):
        train(guard, 1, save=made_of_it)
