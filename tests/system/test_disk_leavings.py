"""What libraries leave is found where they leave it, with its size and a command that really clears it."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ckptkit.calling import command
from ckptkit.model.disk import Cache
from ckptkit.system import caches, volumes

MB = 1 << 20


def leave(path: Path, megabytes: int = 2, age: int = 7200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" * (megabytes * MB))
    os.utime(path, (time.time() - age,) * 2)
    return path


def found(
    tmp_path: Path, runs: Sequence[Path] = (), folders: Sequence[Path] = (), **variables: Any
) -> dict[str, Cache]:
    """{kind: cache} of a home of our own, of what lies below tmp_path."""
    environment = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")} | variables
    listed = caches.caches([str(r) for r in runs], [str(f) for f in folders], [environment])
    return {cache.kind: cache for cache in listed if cache.path.startswith(str(tmp_path))}


PLACES = {
    "hf-hub": "home/.cache/huggingface/hub/models--org--name/blobs/abc",
    "hf-datasets": "home/.cache/huggingface/datasets/org___name/data.arrow",
    "hf-xet": "home/.cache/huggingface/xet/chunk",
    "pip": "home/.cache/pip/http/a",
    "uv": "home/.cache/uv/archive-v0/a",
    "torch": "home/.cache/torch/hub/checkpoints/a.pth",
    "torch-compile": "tmp/torchinductor_root/ab/kernel.so",
    "triton": "home/.triton/cache/ab/kernel.cubin",
    "unsloth": "work/unsloth_compiled_cache/UnslothTrainer.py",
    "wandb": "work/wandb/run-1/run.wandb",
    "wandb-cache": "home/.cache/wandb/artifacts/obj/a",
}


@pytest.mark.parametrize("kind", PLACES)
def test_cache_is_found_sized_and_cleared_by_its_command(tmp_path: Path, kind: str) -> None:
    (tmp_path / "home").mkdir()
    leave(tmp_path / PLACES[kind])
    cache = found(tmp_path, folders=[tmp_path / "work"])[kind]
    assert cache.allocated_bytes >= 2 * MB and cache.mount == volumes.volume(str(tmp_path)).mount
    if kind != "wandb":  # that one asks the server what it has
        subprocess.run(cache.command, shell=True, check=True)
        assert found(tmp_path, folders=[tmp_path / "work"]) == {}


VARIABLES = {
    "hf-hub": ("HF_HUB_CACHE", "models--a--b/blobs/x"),
    "hf-datasets": ("HF_DATASETS_CACHE", "x"),
    "pip": ("PIP_CACHE_DIR", "x"),
    "torch": ("TORCH_HOME", "hub/x"),
    "torch-compile": ("TORCHINDUCTOR_CACHE_DIR", "x"),
    "triton": ("TRITON_CACHE_DIR", "x"),
    "unsloth": ("UNSLOTH_COMPILE_LOCATION", "x.py"),
    "wandb": ("WANDB_DIR", "wandb/x"),
    "wandb-cache": ("WANDB_CACHE_DIR", "artifacts/x"),
}


@pytest.mark.parametrize("kind", VARIABLES)
def test_variables_that_move_a_cache_are_heard(tmp_path: Path, kind: str) -> None:
    variable, inside = VARIABLES[kind]
    leave(tmp_path / "moved" / inside)
    assert found(tmp_path, **dict[str, Any]({variable: str(tmp_path / "moved")}))[kind].path.startswith(
        str(tmp_path / "moved")
    )


def test_variable_that_points_at_more_than_a_cache_is_not_offered_for_removal(tmp_path: Path) -> None:
    leave(tmp_path / "workspace" / "run" / "checkpoint-1" / "model.safetensors")
    run = tmp_path / "workspace" / "run"
    assert found(tmp_path, runs=[run], TORCH_HOME=str(tmp_path / "workspace")) == {}
    assert found(tmp_path, runs=[run], TORCH_HOME=str(run)) == {}


def test_each_repository_of_the_hub_has_a_row_and_broken_off_downloads_too(tmp_path: Path) -> None:
    hub = tmp_path / "home/.cache/huggingface/hub"
    leave(hub / "models--org--large" / "blobs" / "abc", 4)
    leave(hub / "datasets--org--small" / "blobs" / "abc", 2)
    leave(hub / "models--org--large" / "blobs" / "def.incomplete", 1)
    leave(hub / "models--org--large" / "blobs" / "now.incomplete", 1, age=0)  # somebody downloads it
    listed = caches.caches([], [], [{"HOME": str(tmp_path / "home")}])
    notes = {c.note.split(";")[0]: c.kind for c in listed if c.path.startswith(str(hub))}
    assert notes == {
        "model org/large": "hf-hub",
        "dataset org/small": "hf-hub",
        "a download that broke off": "hf-hub-incomplete",
    }


def test_cache_too_large_to_count_in_time_says_at_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / "home/.cache/pip/http/a")
    monkeypatch.setattr("ckptkit.system.caches.SMALLEST_BYTES", 1)
    assert "at least" not in found(tmp_path)["pip"].note
    monkeypatch.setattr("ckptkit.system.caches.SECONDS", 0)
    assert "at least" in found(tmp_path)["pip"].note


def test_small_caches_are_not_worth_a_line(tmp_path: Path) -> None:
    (tmp_path / "home/.triton/cache").mkdir(parents=True)
    assert found(tmp_path) == {}


def test_debris_of_a_torn_save_and_of_a_killed_sweep_is_found_at_any_size(tmp_path: Path) -> None:
    run = tmp_path / "run"
    torn = leave(run / "checkpoint-7" / ".tmpAb3dEf", 0)
    torn.write_bytes(b"\1")
    os.utime(torn, (time.time() - 7200,) * 2)
    leave(run / "checkpoint-8" / ".tmpYoung1", 1, age=0)  # safetensors is writing it
    leave(run / "checkpoint-8" / ".tmp-is-mine", 1)
    leave(run / ".ckptkit-deleting-checkpoint-3" / "model.safetensors", 1)
    listed = found(tmp_path, runs=[run])
    assert listed["torn-save"].path == str(torn)
    assert listed["leftover"].command == command("prune", str(run))
    assert len(listed) == 2


def test_core_dump_is_told_from_a_file_that_is_only_called_so(tmp_path: Path) -> None:
    leave(tmp_path / "core", 2)  # no ELF file
    assert "core-dump" not in found(tmp_path, folders=[tmp_path])
    # The head of a real one: a whole dump depends on the machine's core_pattern, which a test must not change.
    head = b"\x7fELF\2\1\1" + bytes(9) + b"\4\0"
    (tmp_path / "core.123").write_bytes(head + b"\1" * (2 * MB))
    assert found(tmp_path, folders=[tmp_path])["core-dump"].path == str(tmp_path / "core.123")


def test_link_in_a_cache_place_leads_to_the_real_one_and_counts_once(tmp_path: Path) -> None:
    leave(tmp_path / "big" / "hub" / "models--a--b" / "blobs" / "x")
    (tmp_path / "home/.cache").mkdir(parents=True)
    (tmp_path / "home/.cache/huggingface").symlink_to(tmp_path / "big")
    environments = [
        {"HOME": str(tmp_path / "home")},
        {"HF_HOME": str(tmp_path / "big"), "HOME": str(tmp_path / "home")},
    ]
    listed = [c for c in caches.caches([], [], environments) if c.kind == "hf-hub" and str(tmp_path) in c.path]
    assert [c.path for c in listed] == [str(Path(tmp_path, "big/hub/models--a--b"))]
