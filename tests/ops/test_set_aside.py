"""Setting aside: a rename within the run, under its lock, that a person can undo; never over something else."""

import os
import subprocess
from pathlib import Path

import pytest

from ckptkit.errors import LockHeld, NoSuchRun, UsageError
from ckptkit.ops.discard import set_aside
from ckptkit.ops.pin import pin
from ckptkit.ops.read import scan
from ckptkit.system import lock
from tests.support.typed import Fill, Mount


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (100, 200):
        (tmp_path / "run" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "run" / f"checkpoint-{step}" / "weights.pt").write_bytes(b"w" * step)
    return tmp_path / "run"


def test_the_new_name_holds_the_same_files_and_is_no_checkpoint(run: Path) -> None:
    aside = set_aside(str(run / "checkpoint-200"))
    assert aside == str(run / "set-aside-checkpoint-200")
    assert (run / "set-aside-checkpoint-200" / "weights.pt").read_bytes() == b"w" * 200
    assert [c.name for c in scan(str(run)).checkpoints] == ["checkpoint-100"]


def test_names_that_are_taken_get_a_number(run: Path) -> None:
    (run / "set-aside-checkpoint-200").mkdir()  # empty: rename(2) would replace it
    (run / "set-aside-checkpoint-200.1").write_bytes(b"a file")
    assert set_aside(str(run / "checkpoint-200")) == str(run / "set-aside-checkpoint-200.2")
    assert sorted(os.listdir(run)) == [
        "checkpoint-100",
        "set-aside-checkpoint-200",
        "set-aside-checkpoint-200.1",
        "set-aside-checkpoint-200.2",
    ]


@pytest.mark.parametrize("name", ["", "models", "checkpoint-07", "set-aside-checkpoint-100", "checkpoint-100.bak"])
def test_what_is_not_a_checkpoints_name_is_refused(run: Path, name: str) -> None:
    (run / "models").mkdir()
    with pytest.raises(UsageError, match="is not a checkpoint's name"):
        set_aside(os.path.join(run, name))
    assert (run / "models").is_dir()


def test_one_that_is_not_there_is_refused(run: Path) -> None:
    with pytest.raises(NoSuchRun, match="no such checkpoint"):
        set_aside(str(run / "checkpoint-300"))


def test_a_pinned_one_is_refused_with_what_to_type(run: Path) -> None:
    pin(str(run / "checkpoint-200"))
    with pytest.raises(UsageError, match=r"is pinned.*fix: .*bin/unpin .*/checkpoint-200"):
        set_aside(str(run / "checkpoint-200"))
    assert (run / "checkpoint-200").is_dir()


def test_it_takes_the_lock_of_the_run(run: Path) -> None:
    with lock.hold(str(run)), pytest.raises(LockHeld):
        set_aside(str(run / "checkpoint-200"))
    assert (run / "checkpoint-200").is_dir()


@pytest.mark.mounts
def test_it_works_at_0_bytes_and_0_inodes(mount: Mount, fill: Fill) -> None:
    volume = mount("tmpfs", "size=256k,nr_inodes=6")
    os.makedirs(os.path.join(volume, "run", "checkpoint-200"))
    fill(volume)
    subprocess.run(f"touch {volume}/a {volume}/b {volume}/c {volume}/d", shell=True, check=False, capture_output=True)
    assert os.statvfs(volume).f_bavail == 0 and os.statvfs(volume).f_favail == 0
    assert set_aside(f"{volume}/run/checkpoint-200") == f"{volume}/run/set-aside-checkpoint-200"
    assert os.listdir(f"{volume}/run") == ["set-aside-checkpoint-200"]
