"""Small files: what they hold is durable before it gets their name, as the kernel saw it; nothing else is opened."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.system import small_files
from tests.conftest import CHECKOUT

REPLACED = "import sys; from ckptkit.system import small_files; small_files.replace_at(sys.argv[1], b'new', {options})"


def calls_of(path: Path, options: str = "") -> list[str]:
    """The names of the system calls by which a file is replaced there, in order."""
    trace = path.parent / "trace"
    strace: list[str | Path] = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=write,fsync,fdatasync,rename,renameat,renameat2",
        "-o",
        trace,
    ]
    command: list[str | Path] = [*strace, sys.executable, "-c", REPLACED.format(options=options), path]
    subprocess.run(command, check=True, capture_output=True, cwd=CHECKOUT)
    lines = [line for line in trace.read_text().splitlines() if path.name in line]
    assert all(line.endswith(("= 0", "= 3")) for line in lines), lines
    return [re.sub(r"^\d+ +(\w+?)(at2?)?\(.*", r"\1", line) for line in lines]


@pytest.mark.parametrize(
    "options, expected", [("", ["write", "fsync", "rename"]), ("durable=False", ["write", "rename"])]
)
def test_bytes_are_durable_before_the_name_is_theirs(tmp_path: Path, options: str, expected: list[str]) -> None:
    path = tmp_path / "settings"
    path.write_bytes(b"old")
    assert calls_of(path, options) == expected
    assert path.read_bytes() == b"new" and sorted(p.name for p in tmp_path.iterdir()) == ["settings", "trace"]


def test_a_link_is_followed_only_where_a_person_may_have_meant_it(tmp_path: Path) -> None:
    (tmp_path / "settings").write_bytes(b"here")
    (tmp_path / "link").symlink_to("settings")
    assert small_files.content(str(tmp_path / "link"), follow=True) == b"here"
    with pytest.raises(OSError, match="no regular file"):
        small_files.content(str(tmp_path / "link"))


@pytest.mark.parametrize("follow", [True, False])
def test_a_fifo_a_device_and_a_directory_are_refused_at_once(tmp_path: Path, follow: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            small_files.content(str(path), follow=follow)


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """A page for /dev/null, written by root."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "fifo", tmp_path / "link", tmp_path / "folder"):
        with pytest.raises(OSError, match="no regular file"):
            small_files.replace_at(str(path), b"new")
    assert (tmp_path / "fifo").is_fifo() and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "link"]


def test_more_bytes_than_anybody_writes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 101)
    assert len(small_files.content(str(tmp_path / "large"), largest=101)) == 101
    with pytest.raises(OSError, match="more than 100 bytes"):
        small_files.content(str(tmp_path / "large"), largest=100)
