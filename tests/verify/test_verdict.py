"""Checkpoint → verdict, on real checkpoints of every kind and on what is done to them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ckptkit.formats import safetensors, torch_zip
from ckptkit.model.checkpoint import Level, Verdict
from ckptkit.ops.read import judge, scan
from tests.support.runs import make_run, set_age
from tests.support.typed import Ckptkit, Mount, RunOf

KINDS = ("lora", "full", "sharded", "only", "bf16")
HUGE = (2**63 - 1).to_bytes(8, "little") + b"x" * 99


def verdict(run: str, level: Level = "quick") -> Verdict:
    return judge(scan(run), level=level)[0].verdict


def damage(run: str, name: str, change: Callable[..., Any]) -> Verdict:
    """Change one file of the only checkpoint and keep it old."""
    path = Path(run, "checkpoint-100")
    change(path / name)
    set_age(str(path), time.time(), 3600)
    return verdict(run)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["quick", "full"])
def test_real_checkpoint_is_intact_without_a_finding(run_of: RunOf, kind: str, level: Level) -> None:
    found = verdict(run_of({100: "intact"}, kind), level)
    assert (found.state, found.findings, found.resumable) == ("intact", (), kind != "only")


@pytest.mark.parametrize("kind", KINDS)
def test_quick_reads_headers_and_not_the_tensors(run_of: RunOf, kind: str) -> None:
    run = run_of({100: "intact"}, kind)
    assert verdict(run).bytes_read < scan(run).checkpoints[0].apparent_bytes


@pytest.mark.parametrize("kind", ["lora", "full", "sharded"])
def test_each_file_that_a_resume_needs_is_missed(run_of: RunOf, kind: str, tmp_path: Path) -> None:
    whole = run_of({100: "intact"}, kind)
    optional = {"README.md", "config.json", "generation_config.json", "training_args.bin"}
    states = {"trainer_state.json": "incomplete", "optimizer.pt": "intact", "scheduler.pt": "intact",
              "rng_state.pth": "intact", "adapter_config.json": "unknown", "adapter_model.safetensors": "unknown",
              "model.safetensors": "unknown", "model.safetensors.index.json": "unknown"}  # fmt: skip
    for name in sorted(set(os.listdir(f"{whole}/checkpoint-100")) - optional):
        run = shutil.copytree(whole, tmp_path / f"without-{name}")
        os.unlink(run / "checkpoint-100" / name)
        set_age(f"{run}/checkpoint-100", time.time(), 3600)
        found = verdict(str(run))
        assert (found.state, found.resumable) == (states.get(name, "incomplete"), False), name


@pytest.mark.parametrize("hours, state", [(1, "incomplete"), (0, "in_progress"), (-24, "incomplete")])
def test_torn_one_is_being_written_only_if_it_is_young_and_not_if_the_clock_was_set_back_since(
    run_of: RunOf, hours: int, state: str
) -> None:
    run = run_of({100: "torn"})
    set_age(f"{run}/checkpoint-100", time.time(), hours * 3600)
    assert verdict(run).state == state


@pytest.mark.parametrize("kind", ["lora", "sharded"])
def test_each_archive_weight_and_state_file_cut_short_is_noticed(run_of: RunOf, kind: str, tmp_path: Path) -> None:
    whole = run_of({100: "intact"}, kind)
    for file in sorted(Path(whole, "checkpoint-100").iterdir()):
        if file.suffix not in (".pt", ".pth", ".bin", ".safetensors", ".json") or "config" in file.name[-12:]:
            continue
        whole_size = len(file.read_bytes().rstrip())  # a missing last newline is no damage
        for keep in (0, 1, whole_size // 2, whole_size - 1):
            run = shutil.copytree(whole, tmp_path / f"{file.name}-{keep}")
            os.truncate(run / "checkpoint-100" / file.name, keep)
            set_age(f"{run}/checkpoint-100", time.time(), 3600)
            found = verdict(str(run))
            if file.name == "training_args.bin":  # no resume reads it
                assert (found.resumable, [f.code for f in found.findings]) == (True, ["bad-optional"]), keep
            else:
                assert found.damaged, (file.name, keep)


DAMAGE = {
    "state_of_another_step": ("trainer_state.json", lambda f: f.write_text('{"global_step": 7}'), "corrupt"),
    "state_that_is_no_json": ("trainer_state.json", lambda f: f.write_text("{"), "incomplete"),
    "state_nested_too_deep": ("trainer_state.json", lambda f: f.write_text("[" * 100_000), "incomplete"),
    "writer_said_unfinished": ("checkpoint-is-incomplete.txt", lambda f: f.touch(), "incomplete"),
    "zeros_where_a_zip_begins": ("optimizer.pt", lambda f: f.write_bytes(b"\0" * 9000), "incomplete"),
    "text_where_a_zip_begins": ("optimizer.pt", lambda f: f.write_bytes(b"<html>" * 99), "corrupt"),
    "header_of_2_63_bytes": ("adapter_model.safetensors", lambda f: f.write_bytes(HUGE), "corrupt"),
    "bytes_behind_the_last_tensor": ("adapter_model.safetensors", lambda f: f.open("ab").write(b"x"), "corrupt"),
    "another_frameworks_directory": ("global_step100", lambda f: f.mkdir(), "intact"),
    "a_killed_writers_temporary_file": (".tmpAb12cD", lambda f: f.touch(), "intact"),
    "a_fifo_inside": ("optimizer.pt", lambda f: (f.unlink(), os.mkfifo(f)), "unknown"),  # type: ignore[func-returns-value]
    "a_symlink_inside": ("optimizer.pt", lambda f: (f.unlink(), f.symlink_to("/etc/passwd")), "unknown"),
    "only_one_of_two_ranks_state": ("rng_state.pth", lambda f: f.rename(f.with_name("rng_state_1.pth")), "incomplete"),
    "adapter_config_cut": ("adapter_config.json", lambda f: f.write_text('{"r":'), "incomplete"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(run_of: RunOf, name: str) -> None:
    file, change, state = DAMAGE[name]
    assert damage(run_of({100: "intact"}), file, change).state == state


def test_all_ranks_state_is_as_good_as_one(run_of: RunOf) -> None:
    def split(file: Any) -> None:
        shutil.copy(file, file.with_name("rng_state_0.pth"))
        file.rename(file.with_name("rng_state_1.pth"))

    assert damage(run_of({100: "intact"}), "rng_state.pth", split).resumable


def test_flipped_bit_in_a_record_is_seen_by_full_alone(run_of: RunOf) -> None:
    def flip(file: Any) -> None:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    run = run_of({100: "intact"})
    assert damage(run, "optimizer.pt", flip).state == "intact"
    assert verdict(run, "full").state == "corrupt"


def test_no_pickle_is_ever_loaded(run_of: RunOf, tmp_path: Path) -> None:
    import io
    import pickle
    import zipfile

    class Canary:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/executed",)

    def infect(file: Any) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Canary()))
        file.write_bytes(content.getvalue())

    run = run_of({100: "intact"})
    damage(run, "optimizer.pt", infect)
    verdict(run, "full")
    assert not (tmp_path / "executed").exists()


@pytest.mark.mounts
def test_files_of_mode_0600_are_unknown_to_another_user_and_stay(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    import sys

    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    for path in (Path(run), *Path(run).parents):
        if not path.stat().st_mode & 0o005:
            path.chmod(path.stat().st_mode | 0o005)  # pytest closes its own folders
    for file in Path(run).glob("*/*"):
        file.chmod(0o600)
    # Another user, who may look into the folders on the way to Python but has no right to root's files.
    code = "import os, sys; from ckptkit.ops import read; import ckptkit.policy.keep, ckptkit.delete, ckptkit.history\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    code += f"print([j.verdict.state for j in read.judge(read.scan({run!r}))])\n"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['unknown', 'unknown', 'unknown']", done.stderr


@pytest.mark.mounts
def test_mount_inside_is_told_and_does_not_make_it_unknown(run_of: RunOf, mount: Mount) -> None:
    run = run_of({100: "intact"})
    mount("tmpfs", at=f"{run}/checkpoint-100/mounted")
    found = verdict(run)
    assert found.state == "intact" and [f.code for f in found.findings] == ["other-device"]


@pytest.mark.mounts
def test_on_an_overlay_of_two_disks_a_file_is_one_of_the_checkpoint(real: str, mount: Mount, tmp_path: Path) -> None:
    lower, disk, shown = mount("tmpfs"), Path(mount("tmpfs")), tmp_path / "shown"
    for directory in (disk / "upper", disk / "work", shown):
        directory.mkdir()
    layers = f"lowerdir={lower},upperdir={disk}/upper,workdir={disk}/work"
    if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, shown], check=False).returncode:
        pytest.skip("no overlay on this kernel")
    try:
        run = make_run(real, f"{shown}/run", {100: "intact", 200: "torn"})
        judged = judge(scan(run))
        assert [(j.verdict.state, j.verdict.resumable) for j in judged] == [("intact", True), ("incomplete", False)]
        assert all(found.code != "other-device" for j in judged for found in j.verdict.findings)
    finally:
        subprocess.run(["umount", "-l", shown], check=True)


@pytest.mark.parametrize("reader", [safetensors.faults, torch_zip.faults])
def test_no_reader_chokes_on_random_bytes(
    reader: Callable[[BinaryIO, int], tuple[list[tuple[str, str]], int]], tmp_path: Path
) -> None:
    import random

    rng = random.Random(0)
    for size in (0, 1, 7, 8, 22, 100, 5000):
        for start in (b"", b"PK\x03\x04", b"PK\x05\x06", (50).to_bytes(8, "little") + b"{"):
            content = start + rng.randbytes(size) + b"PK\x05\x06" + rng.randbytes(30)
            path = tmp_path / "bytes"
            path.write_bytes(content)
            with open(path, "rb") as file:
                reader(file, len(content))
