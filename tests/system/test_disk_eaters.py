"""The walk counts as du(1) and a slow sum over lstat do, whatever lies in the tree."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.system import usage
from ckptkit.system.usage import Walked
from tests.support.typed import Mount, present

MB = 1 << 20
WALKS = {"du": usage.walk_with_du, "python": usage.walk}
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=WALKS)
def walk(request: pytest.FixtureRequest) -> Callable[..., Walked | None]:
    """Both walks: what holds of one must hold of the other."""
    return WALKS[request.param]


def fill(path: Path, megabytes: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" * int(megabytes * MB))
    return path


def oracle(root: Path) -> int:
    """Allocated bytes by hand: each inode once, one device."""
    device, found = os.lstat(root).st_dev, {}
    for parent, directories, files in os.walk(root):
        for name in ("", *directories, *files):
            status = os.lstat(os.path.join(parent, name))
            if status.st_dev == device:
                found[status.st_ino] = status.st_blocks * 512
        directories[:] = [d for d in directories if os.lstat(os.path.join(parent, d)).st_dev == device]
    return sum(found.values())


def listed(walked: Walked | None, directory: bool) -> dict[str, int]:
    return {row.path: row.allocated_bytes for row in present(walked).rows if row.directory is directory}


def test_bytes_are_those_of_the_oracle_with_sparse_small_and_empty_files(
    tmp_path: Path, walk: Callable[..., Walked | None]
) -> None:
    fill(tmp_path / "a" / "large", 3)
    fill(tmp_path / "a" / "b" / "c" / "deep", 2)
    (tmp_path / "a" / "empty").touch()
    (tmp_path / "a" / "one").write_bytes(b"\1")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    walked = present(walk(str(tmp_path), 2, MB))
    assert walked.allocated_bytes == oracle(tmp_path)
    assert listed(walked, False) == {f"{tmp_path}/a/large": 3 * MB, f"{tmp_path}/a/b/c/deep": 2 * MB}
    assert listed(walked, True).keys() == {str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/a/b"}, "c is deeper than 2"
    assert listed(walked, True)[f"{tmp_path}/a/b"] >= 2 * MB, "what lies deeper counts for it"


def test_hard_links_count_once(tmp_path: Path, walk: Callable[..., Walked | None]) -> None:
    os.link(fill(tmp_path / "a" / "file", 4), tmp_path / "a" / "again")
    (tmp_path / "b").mkdir()
    os.link(tmp_path / "a" / "file", tmp_path / "b" / "too")
    walked = present(walk(str(tmp_path), 3, MB))
    assert walked.allocated_bytes == oracle(tmp_path) < 5 * MB
    assert len(listed(walked, False)) == 1


def test_symlinks_are_not_followed(tmp_path: Path, walk: Callable[..., Walked | None]) -> None:
    fill(tmp_path / "elsewhere" / "file", 4)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("../elsewhere")
    (tmp_path / "root" / "loop").symlink_to(".")
    (tmp_path / "root" / "file").symlink_to("../elsewhere/file")
    assert present(walk(str(tmp_path / "root"), 3, 4096)).allocated_bytes < MB


@pytest.mark.mounts
def test_another_file_system_inside_is_not_entered(
    mount: Mount, walk: Callable[..., Walked | None], tmp_path: Path
) -> None:
    outer = mount("tmpfs", "size=20m", at=tmp_path / "outer")
    inner = mount("tmpfs", "size=20m", at=Path(outer, "inner"))
    fill(Path(inner, "file"), 5)
    fill(Path(outer, "file"), 1)
    walked = present(walk(outer, 3, 4096))
    assert walked.allocated_bytes == MB
    assert not any(path.startswith(inner) for path in listed(walked, False))


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "total", "ünï", "-x", "a b", "\udcff"])
def test_any_name_is_found_as_it_is(tmp_path: Path, walk: Callable[..., Walked | None], name: str) -> None:
    fill(tmp_path / name / name, 2)
    walked = walk(str(tmp_path), 3, MB)
    assert listed(walked, False) == {f"{tmp_path}/{name}/{name}": 2 * MB}
    assert f"{tmp_path}/{name}" in listed(walked, True)


@pytest.mark.mounts
def test_unreadable_directories_are_counted_and_told(mount: Mount) -> None:
    root = mount("tmpfs")
    for name in ("a", "b", "open"):
        fill(Path(root, name, "file"), 0.1)
    for name in ("a", "b"):
        os.chmod(f"{root}/{name}", 0o700)
    code = f"""
import os, sh  # nobody may not read the packages of this Python
from ckptkit.system import usage as du, usage as walking
os.chdir({root!r})  # nobody may not even pass through pytest's folders
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for walk in (du.walk_with_du, walking.walk):
    walked = walk('.', 3, 4096)
    print(walked.unreadable, "Permission denied" in walked.first_unreadable, walked.unfinished)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "2 True False\n" * 2


def test_files_that_come_and_go_meanwhile_are_no_error(tmp_path: Path, walk: Callable[..., Walked | None]) -> None:
    churn = "while :; do mkdir -p d/e; for i in 1 2 3 4 5 6 7 8; do echo x > d/e/$i; done; rm -rf d; done"
    fill(tmp_path / "stays", 2)
    churning = subprocess.Popen(["sh", "-c", churn], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        for _ in range(30):
            walked = present(walk(str(tmp_path), 3, MB))
            assert (walked.unreadable, walked.unfinished) == (0, False)
            assert listed(walked, False) == {f"{tmp_path}/stays": 2 * MB}
    finally:
        churning.kill()
        churning.wait()


def test_walk_that_runs_out_of_time_tells_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "file", 2)
    assert usage.walk(str(tmp_path), 3, 4096, time.monotonic() - 1).unfinished
    # A du that hangs, as on a dead network file system.
    (tmp_path / "du").write_text(f"#!/bin/sh\nprintf '2097152\\t{tmp_path}/file\\0'; exec /bin/sleep 60\n")
    (tmp_path / "du").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    began = time.monotonic()
    walked = usage.walk_with_du(str(tmp_path), 3, 4096, began + 1)
    assert time.monotonic() - began < 10
    assert walked == ((usage.Row(f"{tmp_path}/file", 2 * MB, False),), 2 * MB, 0, "", True)


def test_progress_tells_bytes_and_where(tmp_path: Path, walk: Callable[..., Walked | None]) -> None:
    for name in ("a", "b", "c"):
        fill(tmp_path / name / "file", 1)
    told = []
    walked = present(walk(str(tmp_path), 3, 4096, progress=lambda seen, path: told.append((seen, path))))
    assert max(seen for seen, _ in told) == walked.allocated_bytes
    assert all(path.startswith(str(tmp_path)) for _, path in told)


@pytest.mark.mounts
def test_directory_that_is_nearly_all_one_other_is_left_out_for_it(mount: Mount, tmp_path: Path) -> None:
    mount("tmpfs", "size=20m", at=tmp_path)
    fill(tmp_path / "home" / "user" / "cache" / "one", 5)
    fill(tmp_path / "home" / "user" / "cache" / "two", 4)
    fill(tmp_path / "other" / "file", 1)
    found = usage.eaters(str(tmp_path), depth=3, top=10)
    names = [os.path.relpath(e.path, tmp_path) for e in found.directories if e.allocated_bytes >= MB]
    assert names == ["home/user/cache", "other"], "home is all user; a file explains no directory"
    assert [os.path.basename(e.path) for e in found.files if e.allocated_bytes >= MB] == ["one", "two", "file"]
    assert len(usage.eaters(str(tmp_path), top=2).files) == 2


@pytest.mark.mounts
@pytest.mark.parametrize("path", [None, "/nowhere"], ids=["du", "python"])
def test_data_set_beside_the_runs_is_listed_however_deep_it_lies(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    mount("tmpfs", "size=20m", at=tmp_path)
    workspace = tmp_path / "home" / "user" / "work"
    fill(workspace / "dataset" / "train.arrow", 4)
    fill(workspace / "runs" / "a" / "checkpoint-1" / "optimizer.pt", 2)
    fill(workspace / "notes" / "drafts" / "old", 3)

    def names(**options: Any) -> list[str]:
        with monkeypatch.context() as box:
            if path:
                box.setenv("PATH", path)
            found = usage.eaters(str(tmp_path), depth=1, **options)
        return [os.path.relpath(e.path, tmp_path) for e in found.directories if e.allocated_bytes >= MB]

    assert names() == ["home"]
    beside = [f"home/user/work{name}" for name in ("", "/dataset", "/notes", "/runs/a")]
    assert names(runs=[f"{workspace}/runs/a"]) == beside


def test_box_without_gnu_du_is_walked_by_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "file", 2)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert usage.eaters(str(tmp_path)).allocated_bytes >= 2 * MB
    # BusyBox: it knows no --threshold, complains and ends.
    (tmp_path / "du").write_text("#!/bin/sh\necho 'du: unrecognized option' >&2; exit 1\n")
    (tmp_path / "du").chmod(0o755)
    assert usage.eaters(str(tmp_path)).allocated_bytes >= 2 * MB
