"""On a volume with nothing left: the path that frees space creates nothing."""

import os
from pathlib import Path

import pytest

from tests.support.bare import bare
from tests.support.runs import make_run, names
from tests.support.typed import Fill, Mount

BIN = Path(__file__).resolve().parent.parent / "bin"
FIVE = dict.fromkeys((100, 200, 300, 400, 500), "intact")
pytestmark = pytest.mark.mounts


def test_prune_on_ext4_at_0_bytes_with_its_log_there(mount: Mount, real: str, fill: Fill) -> None:
    volume = mount("ext4", megabytes=16, options=("-m", "0"))
    run = make_run(real, f"{volume}/run", FIVE)
    fill(volume)
    assert os.statvfs(volume).f_bavail == 0
    with open(f"{volume}/cron.log", "a") as log:  # an empty file needs no block; its first line does
        done = bare(volume, BIN / "prune", run, "-y", "--log-to", f"{volume}/ckptkit.log", out=log)
    assert done.returncode == 0
    assert names(run) == ["checkpoint-400", "checkpoint-500"]
    assert os.statvfs(volume).f_bavail > 0
    assert "deleted 3 checkpoints" in Path(volume, "cron.log").read_text()


def test_freed_bytes_that_only_refill_roots_reserve_are_told(mount: Mount, real: str, fill: Fill) -> None:
    volume = mount("ext4", megabytes=16, options=("-m", "20"))
    run = make_run(real, f"{volume}/run", FIVE)
    fill(volume)  # as root, so into the reserve
    done = bare(volume, BIN / "prune", run, "-y")
    assert "the volume's reserve for root fills up first" in done.stdout
    assert os.statvfs(volume).f_bavail == 0 < os.statvfs(volume).f_bfree


def test_prune_on_ext4_at_0_inodes_with_its_log_there(mount: Mount, real: str) -> None:
    volume = mount("ext4", megabytes=16, options=("-N", "128"))
    run = make_run(real, f"{volume}/run", FIVE)
    for number in range(os.statvfs(volume).f_ffree):
        Path(volume, f"file{number}").touch()
    assert os.statvfs(volume).f_ffree == 0
    done = bare(volume, BIN / "prune", run, "-y", "--log-to", f"{volume}/ckptkit.log")
    assert done.returncode == 0, done.stderr
    assert names(run) == ["checkpoint-400", "checkpoint-500"]
    assert os.statvfs(volume).f_ffree > 0


def test_latest_verify_and_diskreport_work_there_too(mount: Mount, real: str, fill: Fill) -> None:
    volume = mount("tmpfs", "size=4m")
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "torn"})
    fill(volume)
    assert bare(volume, BIN / "latest", run).stdout == f"{run}/checkpoint-100\n"
    assert bare(volume, BIN / "verify", run).returncode == 4
    report = bare(volume, BIN / "diskreport", run)
    assert report.returncode == 0 and "RED" in report.stdout


def test_pin_without_room_fails_with_one_line_and_keeps_the_old_pins(mount: Mount, real: str, fill: Fill) -> None:
    volume = mount("ext4", megabytes=16)
    run = make_run(real, f"{volume}/run", FIVE)
    assert bare(volume, BIN / "pin", f"{run}/checkpoint-100").returncode == 0
    fill(volume)
    done = bare(volume, BIN / "pin", f"{run}/checkpoint-200")
    assert done.returncode == 2 and "No space left on device; pins unchanged" in done.stderr
    assert Path(run, ".ckptkit-pins").read_text() == "checkpoint-100\n"
