"""Copies on this box: whole, with their times, and of one file system alone."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from ckptkit.store import local
from tests.support.typed import Mount

CONTENT = {"optimizer.pt": b"\1" * 5000, "global_step5/states.pt": b"\2" * 70_000}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with two files, one of them below another, an hour old; and a link."""
    made = tmp_path / "checkpoint-5"
    for name, raw in CONTENT.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(raw)
    (made / "link").symlink_to("optimizer.pt")
    for path in (*made.rglob("*.pt"), made / "global_step5", made):
        os.utime(path, ns=(10**18, 10**18 + 123))
    return made


def of(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*.pt"))}


def test_a_copy_has_bytes_times_and_links_and_each_file_its_sha_256(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    told: list[Any] = []
    digests = local.tree(str(source), str(copy), told.append)
    assert digests == {name: hashlib.sha256(raw).hexdigest() for name, raw in CONTENT.items()}
    assert sum(told) == sum(map(len, CONTENT.values())) and of(copy) == of(source)
    assert {name: (copy / name).read_bytes() for name in CONTENT} == CONTENT
    assert os.readlink(copy / "link") == "optimizer.pt"


def test_a_second_call_copies_what_is_not_whole_and_nothing_else(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    local.tree(str(source), str(copy))
    assert local.tree(str(source), str(copy)) == {}
    (copy / "optimizer.pt").write_bytes(b"\0" * 5000)  # as long, but its time was never set: it broke off
    assert list(local.tree(str(source), str(copy))) == ["optimizer.pt"]
    assert (copy / "optimizer.pt").read_bytes() == CONTENT["optimizer.pt"]


def test_what_is_no_regular_file_is_neither_read_nor_waited_for(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "fifo")
    assert sorted(local.tree(str(source), str(tmp_path / "copy"))) == sorted(CONTENT)
    with pytest.raises(OSError, match="no regular file"):
        local.file(str(source / "fifo"), str(tmp_path / "one"))
    with pytest.raises(OSError, match="no regular file"):
        local.digest("/dev/zero")


@pytest.mark.mounts
def test_another_file_system_that_is_mounted_inside_is_left_out(source: Path, tmp_path: Path, mount: Mount) -> None:
    point = mount("tmpfs", at=source / "global_step5/mounted")
    Path(point, "large.pt").write_bytes(b"\3" * 100)
    assert sorted(local.tree(str(source), str(tmp_path / "copy"))) == sorted(CONTENT)
    assert not (tmp_path / "copy/global_step5/mounted").exists()
