"""The manifest: what a checkpoint's files were. Real checkpoints, real disks, other programs' word for the digests."""

import json
import os
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Judged
from ckptkit.ops.prune import prune
from ckptkit.ops.read import scan, verify
from ckptkit.ops.verify import Budget, reading, write_manifest
from ckptkit.verify import manifest
from tests.support.runs import make_run, names, restep, set_age, tree
from tests.support.typed import Fill, Mount, RunOf, present

ONE = {100: "intact"}


def full(path: str | Path, **more: Any) -> Judged:
    (judged,) = verify(str(path), level="full", now=time.time() + 3600, **more)
    return judged


def written(run: str) -> Path:
    """The run's only checkpoint, with a manifest."""
    path = Path(run, "checkpoint-100")
    assert write_manifest(full(path))
    return path


def codes(judged: Judged) -> list[tuple[str, str]]:
    return [(f.file, f.code) for f in judged.verdict.findings]


def test_it_lists_every_file_with_what_other_programs_say_of_it(run_of: RunOf) -> None:
    run = run_of(ONE)
    judged = full(run, reading=reading([run], Budget(), digests=("crc32", "sha256")))
    write_manifest(judged)
    path = Path(run, "checkpoint-100")
    table = json.loads((path / manifest.FILE).read_text())
    assert table["schema"] == "ckptkit.manifest/1" and table["versions"]["ckptkit"]
    assert table["files"].keys() == {file.name for file in path.iterdir()} - {manifest.FILE}
    for name, entry in table["files"].items():
        raw = (path / name).read_bytes()
        summed = subprocess.run(["sha256sum", path / name], capture_output=True, text=True, check=True).stdout
        assert (entry["bytes"], entry["crc32"], entry["sha256"]) == (len(raw), f"{zlib.crc32(raw):08x}", summed[:64])


def test_writing_it_changes_no_time_that_a_rotation_sorts_by(run_of: RunOf) -> None:
    run = run_of(ONE)
    before = tree(run)
    path = written(run)
    after = tree(run)
    del after[str(path / manifest.FILE)]
    assert after == before
    (found,) = scan(run).checkpoints
    assert found.modified_at < time.time() - 3000, "the manifest's own time makes no checkpoint younger"


def test_it_is_read_back_as_it_was_written(run_of: RunOf) -> None:
    path = written(run_of(ONE))
    known = present(manifest.read(str(path)))
    assert known.files == dict(full(path).verdict.digests) and abs(known.written_at - time.time()) < 60


def test_one_that_says_the_same_is_left_alone_and_a_new_digest_is_added(run_of: RunOf) -> None:
    run = run_of(ONE)
    path = written(run)
    assert write_manifest(full(path)) is False
    more = full(path, reading=reading([run], Budget(), digests=("crc32", "sha256")))
    assert write_manifest(more) is True
    assert all("sha256" in entry for entry in json.loads((path / manifest.FILE).read_text())["files"].values())


def flip(path: Path, at: int = -1) -> None:
    """Change a byte and nothing that stat tells."""
    status = path.stat()
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGED = {"adapter_model.safetensors": "corrupt", "optimizer.pt": "corrupt", "README.md": "intact"}  # nobody loads it


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_file_that_a_resume_loads_is_corrupt_and_both_digests_are_told(run_of: RunOf, name: str) -> None:
    path = written(run_of(ONE))
    before = json.loads((path / manifest.FILE).read_text())["files"][name]["crc32"]
    flip(path / name)
    judged = full(path)
    code = "changed-since-manifest" if CHANGED[name] == "corrupt" else "bad-optional"
    assert judged.verdict.state == CHANGED[name] and (name, code) in codes(judged)
    told = next(f.message for f in judged.verdict.findings if f.code == code)
    assert before in told and f"{zlib.crc32((path / name).read_bytes()):08x}" in told


def test_another_size_is_seen_without_reading(run_of: RunOf) -> None:
    path = written(run_of(ONE))
    for name in ("README.md", "adapter_config.json"):
        with open(path / name, "a") as file:
            file.write(" \n")
    (judged,) = verify(str(path), now=time.time() + 3600)
    assert codes(judged) == [("adapter_config.json", "changed-since-manifest"), ("README.md", "bad-optional")]


def test_a_file_that_went_is_missed(run_of: RunOf) -> None:
    path = written(run_of(ONE))
    (path / "README.md").unlink()
    assert codes(full(path)) == [("README.md", "removed-after-save")] and full(path).verdict.resumable
    (path / "adapter_model.safetensors").unlink()
    judged = full(path)
    assert ("adapter_model.safetensors", "missing") in codes(judged) and judged.verdict.state == "incomplete"


def test_a_bystander_that_changed_or_went_is_a_hint(run_of: RunOf) -> None:
    path = Path(run_of(ONE), "checkpoint-100")
    (path / "ema.pt").write_bytes(b"mine")
    (path / "notes").mkdir()
    (path / "notes/a.json").write_text("{")
    set_age(str(path), time.time(), 3600)
    (path / "new.pt").write_bytes(b"half of it")  # a callback is at it
    written(str(path.parent))
    assert codes(full(path)) == []
    (path / "ema.pt").write_bytes(b"longer than before")
    (path / "notes/a.json").unlink()
    (path / "new.pt").write_bytes(b"all of it now")
    judged = full(path)
    assert judged.verdict.resumable
    assert codes(judged) == [("ema.pt", "changed-bystander"), ("notes/a.json", "changed-bystander")]


def test_a_copy_with_new_times_is_held_against_it_all_the_same(run_of: RunOf, tmp_path: Path) -> None:
    path = written(run_of(ONE))
    copied = tmp_path / "copied" / "checkpoint-100"
    copied.parent.mkdir()
    subprocess.run(["cp", "-r", path, copied], check=True)
    assert full(copied).verdict.findings == ()
    flip(copied / "adapter_model.safetensors")
    assert full(copied).verdict.state == "corrupt"


def test_a_save_over_it_makes_it_stale_and_no_file_corrupt(run_of: RunOf) -> None:
    path = written(run_of(ONE))
    restep(str(path), 100)
    state = json.loads((path / "trainer_state.json").read_text())
    (path / "trainer_state.json").write_text(json.dumps(state | {"epoch": 7.5}))
    os.utime(path / "trainer_state.json", (time.time() + 60, time.time() + 60))
    flip(path / "adapter_model.safetensors")
    judged = full(path)
    assert judged.verdict.state == "intact" and codes(judged) == [("", "stale-manifest")]


BROKEN = {
    "nothing": b"", "no_json": b"{", "a_list": b"[]", "no_files": b"{}", "nested_too_deep": b"[" * 100_000,
    "a_number_for_a_digest": b'{"written_at": 1, "files": {"a": {"bytes": 1, "mtime_ns": 1, "crc32": 7}}}',
    "no_size": b'{"written_at": 1, "files": {"a": {}}}',
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_told_and_speaks_for_nothing(run_of: RunOf, name: str) -> None:
    path = Path(run_of(ONE), "checkpoint-100")
    (path / manifest.FILE).write_bytes(BROKEN[name])
    judged = full(path)
    assert judged.verdict.state == "intact" and codes(judged) == [(manifest.FILE, "bad-manifest")]
    assert write_manifest(judged) is True, "and a new one takes its place"


def test_only_an_intact_one_that_was_read_whole_gets_one(run_of: RunOf) -> None:
    run = run_of({100: "torn", 200: "intact"})
    torn, whole = verify(run, level="full")
    with pytest.raises(UsageError, match="incomplete"):
        write_manifest(torn)
    with pytest.raises(UsageError, match="not read whole"):
        write_manifest(verify(run)[1])
    assert write_manifest(whole)


def test_a_file_that_changed_since_it_was_read_stops_it(run_of: RunOf) -> None:
    run = run_of(ONE)
    judged = full(run)
    Path(run, "checkpoint-100", "README.md").write_text("another")
    with pytest.raises(UsageError, match=r"README\.md changed while it was read"):
        write_manifest(judged)
    assert manifest.FILE not in names(f"{run}/checkpoint-100")


@pytest.mark.mounts
def test_on_a_full_disk_none_is_written_and_the_old_one_stays(real: str, mount: Mount, fill: Fill) -> None:
    run = make_run(real, os.path.join(mount("tmpfs", "size=2m"), "run"), ONE)
    path = written(run)
    before = (path / manifest.FILE).read_bytes()
    fill(os.path.dirname(run))
    more = full(path, reading=reading([run], Budget(), digests=("crc32", "sha256")))
    with pytest.raises(UsageError, match="No space left on device"):
        write_manifest(more)
    assert (path / manifest.FILE).read_bytes() == before
    assert not [name for name in os.listdir(path) if name.endswith(".tmp")]


def test_it_goes_with_its_checkpoint(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    for judged in verify(run, level="full"):
        write_manifest(judged)
    prune(run)
    assert names(run) == ["checkpoint-200", "checkpoint-300"]


def test_what_a_killed_writer_left_of_it_is_nobodys_part_of_the_checkpoint(run_of: RunOf) -> None:
    path = written(run_of(ONE))
    shutil.copy(path / manifest.FILE, path / f"{manifest.FILE}.tmp")
    set_age(str(path), time.time(), 3600)
    assert full(path).verdict.findings == () and write_manifest(full(path)) is False


def test_a_symlink_in_its_place_is_not_followed(run_of: RunOf, tmp_path: Path) -> None:
    path = Path(run_of(ONE), "checkpoint-100")
    (tmp_path / "outside").write_text("{}")
    (path / manifest.FILE).symlink_to(tmp_path / "outside")
    judged = full(path)
    assert judged.verdict.resumable and codes(judged) == [(manifest.FILE, "bad-optional")]
