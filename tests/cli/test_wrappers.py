"""What every script of bin/ does before Python runs: find one, or say in one line that there is none."""

import sys
from pathlib import Path

import pytest

from benchmarks.replay.scenario import OTHER_USER
from tests.support.bare import bare

BIN = Path(__file__).resolve().parents[2] / "bin"


def test_python_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = bare(tmp_path, BIN / "prune", tmp_path, CKPTKIT_PYTHON="/nowhere/python")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no Python at '/nowhere/python'" in done.stderr


def test_and_the_exit_code_says_so_where_the_line_finds_no_room(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        assert bare(tmp_path, BIN / "prune", tmp_path, out=full, CKPTKIT_PYTHON="/nowhere/python").returncode == 2


@pytest.mark.mounts  # needs root
def test_python_in_a_closed_home_runs_for_whom_a_capability_lets_in(tmp_path: Path) -> None:
    """access(2) says no to them, execve(2) does not."""
    (home := tmp_path / "home").mkdir(mode=0o700)
    (home / "python").symlink_to(sys.executable)
    done = bare(tmp_path, "setpriv", *OTHER_USER, BIN / "prune", "--help", CKPTKIT_PYTHON=home / "python")
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr
