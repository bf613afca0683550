"""The crash at 1:40,000: 700 steps, a save every 25, on a volume of 100 MB. The same code as the full replay.

The full one (28,000 steps, a minute or more in each of five modes) is no test: `python -m benchmarks.replay` tells in
its exit code whether all ended as it should.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = ("--steps", "700", "--save-steps", "25")
pytestmark = [pytest.mark.mounts, pytest.mark.slow]


def start(folder: Path, *flags: str, **more: Any) -> subprocess.Popen[Any]:
    """The replay with all that it makes below `folder`."""
    command = (sys.executable, "-m", "benchmarks.replay", "--json", *flags)
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=-1, stderr=-1, text=True, **more)


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., Any]:
    """replay(mode, *flags) returns its row; whatever it ends with, nothing of it may be left."""

    def run(mode: Any, *flags: Any) -> Any:
        process = start(tmp_path, *STEPS, "--mode", mode, *flags)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        assert os.listdir(tmp_path) == [] and loops(tmp_path) == []
        (row,) = json.loads(out)
        return row

    return run


def loops(folder: Path) -> list[str]:
    """The loop devices whose image lies, or lay, below `folder`."""
    found = []
    for device in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{device}/loop/backing_file") as file:
                found += [device] if file.read().startswith(str(folder)) else []
        except OSError:
            continue  # no loop device, or none any more
    return found


@pytest.mark.parametrize("mode", ["silent", "permission"])
def test_alone_the_trainer_dies_of_what_its_rotation_left(replay: Callable[..., Any], mode: str) -> None:
    row = replay(mode, "--baseline")
    assert "SafetensorError" in row["error"] and "No space left on device (os error 28)" in row["error"]
    assert row["steps"] == 225 and row["peak_checkpoints"] == 9
    assert row["newest_intact_step"] == 200  # the ninth is torn
    assert row["told"] == 0  # nobody was told
    assert row["longest_surplus_seconds"] > 0


def test_alone_the_trainer_dies_of_deleted_files_that_are_held_open(replay: Callable[..., Any]) -> None:
    row = replay("held", "--baseline")
    assert "No space left on device (os error 28)" in row["error"]
    assert row["peak_checkpoints"] == 4  # the directories went, their bytes did not


@pytest.mark.slow
def test_guarded_it_finishes_with_two_checkpoints_at_most(replay: Callable[..., Any]) -> None:
    row = replay("silent")
    assert (row["steps"], row["error"], row["skipped_saves"], row["told"]) == (700, None, 0, 0)
    assert row["peak_checkpoints"] == 2 and row["longest_surplus_seconds"] == 0
    assert row["newest_intact_step"] == 700
    assert 2_500_000 <= row["checkpoint_bytes"] <= 3_000_000
    assert row["peak_used_bytes"] < row["volume_bytes"] * 0.9
    assert 0 < row["stall_seconds"] <= row["longest_stall_seconds"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("permission", r"can't delete \S+/checkpoint-25/\S+: Permission denied"),
        ("busy", r"can't delete \S+/checkpoint-25: mounted: another file system is mounted inside \(busy\)"),
        ("immutable", r"can't delete \S+checkpoint-25/optimizer\.pt: Operation not permitted \(immutable"),
        ("held", r"\S+/checkpoint-25 stays: held open by python\S* \(pid [0-9]+\)"),
    ],
)
def test_guarded_it_finishes_where_nothing_can_be_deleted_and_tells(
    replay: Callable[..., Any], mode: str, words: str
) -> None:
    row = replay(mode)
    assert (row["steps"], row["error"]) == (700, None)
    assert re.match(words, row["first_told"]), row["first_told"]
    assert row["told"] >= 1 and row["skipped_saves"] >= 1
    assert row["newest_intact_step"] >= 200  # what fitted is there
    if mode == "immutable":  # it was renamed aside before the file was found to resist: it counts no more
        assert row["peak_checkpoints"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_broken_off_it_leaves_no_mount_and_no_loop_device(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path, "--save-steps", "25", "--mode", "immutable", start_new_session=True)
    wait_for(lambda: loops(tmp_path) and trainings(tmp_path) and resisting(process, tmp_path))
    with open("/proc/self/mounts") as mounts:
        assert str(tmp_path) not in mounts.read()  # nothing outside sees it
    if number == signal.SIGINT:  # a terminal sends it to all of them
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    wait_for(lambda: not loops(tmp_path) and not trainings(tmp_path))
    if number != signal.SIGKILL:
        assert os.listdir(tmp_path) == []


def resisting(process: subprocess.Popen[Any], folder: Path) -> list[Path]:
    """What the guard could not remove so far, seen from within the mount namespace of the replay."""
    try:
        return list(Path(f"/proc/{process.pid}/root{folder}").glob("*/volume/run/.ckptkit-deleting-*"))
    except OSError:
        return []  # between two looks it came or went


def trainings(folder: Path) -> list[str]:
    """The training processes whose run lies below `folder`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # somebody else's may be no text
                found += [pid] if os.fsencode(f"training\0{folder}") in file.read() else []
        except OSError:
            continue  # ended meanwhile
    return found


def wait_for(condition: Callable[[], object]) -> None:
    """Until it holds, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass within a minute"
        time.sleep(0.02)
