"""The guard of a loop without a Trainer, with torch.distributed.checkpoint: `guard.saving(step)` and `guard.save`."""

import errno
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from tests.support.typed import Ckptkit, FillTo, Names, SmallDisk

VALUES = 100_000  # of a checkpoint: 0.4 MB
ROOM_FOR_2_AND_A_HALF = 1_060_000


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")
        yield


@pytest.fixture
def guarding() -> Iterator[Callable[..., Any]]:
    """guarding(run, ...) is the guard of a loop there, closed after the test."""
    made = []

    def make(run: Any, *args: Any, **kwargs: Any) -> Any:
        made.append(ckptkit.guard(run, *args, **kwargs))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


def write(path: str | Path, value: float = 1.0) -> None:
    """A checkpoint of torch.distributed.checkpoint."""
    import torch
    import torch.distributed.checkpoint as dcp

    half = torch.full((VALUES // 2,), value)
    dcp.save({"model": {"weight": half}, "optimizer": {"state": half.clone()}}, checkpoint_id=path)


def train(guard: Any, steps: Iterable[int], save: Callable[[Any], None] = write) -> None:
    for step in steps:
        with guard.saving(step) as path:
            save(path)


def states(run: str | Path) -> dict[int, str]:
    return {j.checkpoint.step: j.verdict.state for j in ckptkit.verify(run)}


def checkpoints(*steps: int) -> list[str]:
    return [f"checkpoint-{step}" for step in steps]


def full(path: str) -> None:
    """A writer whose disk is full in its middle."""
    write(path)
    os.unlink(f"{path}/.metadata")
    raise OSError(errno.ENOSPC, "No space left on device", path)


# --- room -------------------------------------------------------------------------------------------------------------


def test_loop_that_dies_alone_at_its_third_save_goes_on_to_the_end(
    disk: SmallDisk, guarding: Callable[..., Any], names: Names
) -> None:
    mount = disk(ROOM_FOR_2_AND_A_HALF)
    for step in (1, 2):
        write(f"{mount}/plain/checkpoint-{step}")
    with pytest.raises(BaseException, match="unexpected pos"):
        write(f"{mount}/plain/checkpoint-3")
    run = os.path.join(disk(ROOM_FOR_2_AND_A_HALF), "run")
    guard = guarding(run, keep_last=2)
    train(guard, range(1, 7))
    guard.wait()
    assert (guard.skipped, names(run)) == (0, checkpoints(5, 6))
    assert states(run) == {5: "intact", 6: "intact"}


def test_each_save_is_durable_and_has_its_manifest(tmp_path: Path, guarding: Callable[..., Any]) -> None:
    guard = guarding(tmp_path / "run")
    train(guard, [1])
    guard.wait()
    assert guard.room.durable.keys() == {"checkpoint-1"}
    assert os.path.isfile(tmp_path / "run/checkpoint-1/.ckptkit-manifest.json")
    assert not os.path.exists(tmp_path / "run/checkpoint-1/.ckptkit-saving")


def test_what_was_deleted_for_room_is_told(tmp_path: Path, guarding: Callable[..., Any], told: list[str]) -> None:
    guard = guarding(tmp_path / "run", keep_last=2)
    train(guard, range(1, 4))
    guard.wait()
    assert any(line.endswith("checkpoint-1 deleted: no rule keeps it") for line in told)


def test_what_an_earlier_training_left_stays_where_nobody_chose_a_limit(
    tmp_path: Path, guarding: Callable[..., Any], names: Names
) -> None:
    run = tmp_path / "run"
    for step in range(1, 6):
        write(run / f"checkpoint-{step}")
    guard = guarding(run)
    train(guard, [6, 7, 8])
    guard.wait()
    assert set(checkpoints(1, 2, 3)) < set(names(run)) and "checkpoint-8" in names(run)


# --- a save that fails ------------------------------------------------------------------------------------------------


def test_what_is_left_of_a_save_that_the_disk_broke_off_is_removed_and_told(
    tmp_path: Path, guarding: Callable[..., Any], names: Names, told: list[str]
) -> None:
    run = tmp_path / "run"
    guard = guarding(run)
    train(guard, [1])
    train(guard, [2], full)
    assert (names(run), guard.skipped) == (checkpoints(1), 1)
    assert any("step 2 is NOT saved, training goes on: " in line and "No space left" in line for line in told)
    train(guard, [3])
    assert names(run) == checkpoints(1, 3)


def test_raise_raises_the_disks_own_error_once_it_is_cleaned_up(
    tmp_path: Path, guarding: Callable[..., Any], names: Names
) -> None:
    guard = guarding(tmp_path / "run", on_full="raise")
    with pytest.raises(OSError, match="No space left") as raised:
        train(guard, [1], full)
    assert raised.value.errno == errno.ENOSPC and names(tmp_path / "run") == []
    with pytest.raises(OSError, match="No space left"):
        guard.save(2, full)


@pytest.mark.parametrize("error", [KeyError("lr"), KeyboardInterrupt()])
def test_error_that_is_not_the_disks_is_raised_and_the_mark_says_that_it_broke_off(
    tmp_path: Path, guarding: Callable[..., Any], error: BaseException
) -> None:
    def breaks(path: str) -> None:
        write(path)
        os.unlink(f"{path}/.metadata")
        raise error

    guard = guarding(tmp_path / "run")
    train(guard, [1])
    with pytest.raises(type(error)):
        train(guard, [2], breaks)
    assert os.path.exists(tmp_path / "run/checkpoint-2/.ckptkit-saving")
    assert states(tmp_path / "run")[1] == "intact" and states(tmp_path / "run")[2] in ("incomplete", "in_progress")
    assert guard.latest() == str(tmp_path / "run/checkpoint-1")


def test_one_that_was_there_before_is_not_removed_for_a_save_that_failed(
    tmp_path: Path, guarding: Callable[..., Any], names: Names
) -> None:
    """The only intact one, of that name: a body can't be left out, and writes into it."""

    def refused(path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    write(tmp_path / "run/checkpoint-1")
    guard = guarding(tmp_path / "run")
    train(guard, [1], refused)
    assert names(tmp_path / "run") == checkpoints(1)


# --- save -------------------------------------------------------------------------------------------------------------


def test_save_is_written_again_after_one_that_failed(tmp_path: Path, guarding: Callable[..., Any]) -> None:
    tries = []

    def once(path: str) -> None:
        tries.append(path)
        (full if len(tries) == 1 else write)(path)

    guard = guarding(tmp_path / "run")
    assert guard.save(1, once) is True
    guard.wait()
    assert (len(tries), guard.skipped, states(tmp_path / "run")) == (2, 0, {1: "intact"})


def test_save_that_fails_twice_is_given_up_and_is_not_there(
    tmp_path: Path, guarding: Callable[..., Any], names: Names
) -> None:
    guard = guarding(tmp_path / "run")
    assert guard.save(1, full) is False
    assert (guard.skipped, names(tmp_path / "run")) == (1, [])


def test_save_is_not_begun_where_no_room_can_be_made(
    disk: SmallDisk, guarding: Callable[..., Any], fill: FillTo, names: Names, told: list[str]
) -> None:
    mount = disk(ROOM_FOR_2_AND_A_HALF)
    guard, begun = guarding(f"{mount}/run"), list[Any]()
    guard.save(1, write)
    guard.wait()
    fill(mount, 100_000)
    assert guard.save(2, begun.append) is False
    assert (begun, names(f"{mount}/run")) == ([], checkpoints(1))
    assert any("step 2 is NOT saved, training goes on: " in line and "the save needs" in line for line in told)
    os.unlink(f"{mount}/ballast")
    assert guard.save(3, write) is True


def test_save_of_one_that_is_there_and_intact_is_not_written_again(
    tmp_path: Path, guarding: Callable[..., Any]
) -> None:
    guard = guarding(tmp_path / "run")
    guard.save(1, write)
    assert guard.save(1, full) is True


# --- resume -----------------------------------------------------------------------------------------------------------


def test_latest_is_none_at_first_and_then_stays_until_a_newer_one_is_intact(
    tmp_path: Path, guarding: Callable[..., Any], names: Names
) -> None:
    run = tmp_path / "run"
    assert guarding(run).latest() is None
    for step in (1, 2):
        write(run / f"checkpoint-{step}")
    guard = guarding(run, keep_last=1)
    assert guard.latest() == str(run / "checkpoint-2")
    train(guard, [3], full)
    assert "checkpoint-2" in names(run)
    train(guard, [4])
    guard.wait()
    assert names(run) == checkpoints(4)


# --- names ------------------------------------------------------------------------------------------------------------


def test_name_that_its_writer_chose_is_found(tmp_path: Path, guarding: Callable[..., Any]) -> None:
    guard = guarding(tmp_path / "run")
    with guard.saving(1):
        write(tmp_path / "run/step-1")
    guard.wait()
    assert guard.room.durable.keys() == {"step-1"}


@pytest.mark.parametrize("name", ["elsewhere/checkpoint-1", "run/best", "run"])
def test_path_that_nobody_would_find_is_refused_at_once(
    tmp_path: Path, guarding: Callable[..., Any], name: str
) -> None:
    guard = guarding(tmp_path / "run")
    with pytest.raises(ckptkit.UsageError, match=r"^path="):
        guard.saving(1, tmp_path / name)


@pytest.mark.parametrize("asked", [{"on_full": "stop"}, {"keep_trials": "best"}, {"save_every": 60}, {"keep_last": 0}])
def test_what_a_loop_can_not_mean_is_refused_at_once(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(ckptkit.UsageError, match=f"^{next(iter(asked))}"):
        ckptkit.guard(tmp_path / "run", **asked)


def test_same_run_has_the_same_guard_with_the_last_settings(tmp_path: Path, guarding: Callable[..., Any]) -> None:
    guard = guarding(tmp_path / "run", keep_last=2)
    assert guarding(tmp_path / "run", keep_last=3) is guard and guard.settings.keep_last == 3


def test_two_trainings_in_one_run_are_refused(tmp_path: Path, guarding: Callable[..., Any], ckptkit: Ckptkit) -> None:
    import subprocess
    import sys

    guarding(tmp_path / "run")
    code = f"import ckptkit; ckptkit.guard({str(tmp_path / 'run')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode and "has been training here since" in done.stderr


def test_accelerate_may_name_its_checkpoints_itself(tmp_path: Path, guarding: Callable[..., Any], names: Names) -> None:
    """It refuses a directory that is there already."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    config = ProjectConfiguration(project_dir=str(tmp_path), automatic_checkpoint_naming=True)
    accelerator = Accelerator(cpu=True, project_config=config)
    model = torch.nn.Linear(9, 9)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    guard = guarding(tmp_path / "checkpoints")
    for step in range(1, 5):
        with guard.saving(step):
            accelerator.save_state()
    guard.wait()
    assert names(tmp_path / "checkpoints") == ["checkpoint_2", "checkpoint_3"] and guard.skipped == 0
