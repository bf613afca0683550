"""The volumes that a training writes to beside its run: HOME, TMPDIR, HF_HOME, /dev/shm. Real small ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import CHECKOUT, make_run
from tests.support.typed import Ckptkit, Fill, Mount, RunOf

pytestmark = pytest.mark.mounts
TWO = {100: "intact", 200: "intact"}


@pytest.fixture
def places(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> Callable[..., list[tuple[Any, Any, Any]]]:
    """places(HF_HOME=..., ...) are what preflight has against them: (state, message, command)."""
    run = run_of(TWO, at=f"{calm}/run")

    def look(*words: Any, **environment: Any) -> list[tuple[Any, Any, Any]]:
        variables = dict.fromkeys(("HOME", "TMPDIR", "HF_HOME"), calm) | environment
        checks = ckptkit("preflight", run, "--json", *words, env=variables).json["checks"]
        found = [(c["state"], c["message"], c["command"]) for c in checks if c["code"] == "places"]
        return [each for each in found if each[0] != "go" and not each[1].startswith("/dev/shm")]

    return look


def test_full_cache_of_models_is_in_the_way_and_no_more_once_there_is_room(
    places: Callable[..., list[tuple[Any, Any, Any]]], mount: Mount, fill: Fill
) -> None:
    cache = mount("tmpfs", "size=80m")
    assert places(HF_HOME=cache) == []
    fill(cache)
    ((state, message, command),) = places(HF_HOME=f"{cache}/huggingface")
    assert state == "no-go" and message == f"HF_HOME ({cache}/huggingface) is nearly full: 0 B are free on {cache}"
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    Path(cache, "ballast").unlink()
    assert places(HF_HOME=cache) == []


def test_full_temporary_directory_is_in_the_way_and_a_full_home_is_told(
    places: Callable[..., list[tuple[Any, Any, Any]]], mount: Mount, fill: Fill
) -> None:
    small = mount("tmpfs", "size=1m")
    fill(small)
    assert [(s, m.split(" ")[0]) for s, m, _ in places(TMPDIR=small)] == [("no-go", "TMPDIR")]
    assert [(s, m.split(" ")[0]) for s, m, _ in places(HOME=small)] == [("warn", "HOME")]


def test_one_volume_is_told_once_and_the_runs_own_not_again(
    places: Callable[..., list[tuple[Any, Any, Any]]], mount: Mount, fill: Fill, calm: str
) -> None:
    assert places() == []
    small = mount("tmpfs", "size=1m")
    fill(small)
    assert len(places(TMPDIR=small, HF_HOME=small, HOME=small)) == 1


def test_temporary_directory_that_does_not_exist_is_made_by_the_command(
    places: Callable[..., list[tuple[Any, Any, Any]]], calm: str
) -> None:
    ((state, message, command),) = places(TMPDIR=f"{calm}/tmp")
    assert (state, message) == ("no-go", f"TMPDIR ({calm}/tmp) does not exist")
    subprocess.run(command, shell=True, check=True)
    assert places(TMPDIR=f"{calm}/tmp") == []


def test_read_only_cache_is_told(places: Callable[..., list[tuple[Any, Any, Any]]], mount: Mount) -> None:
    cache = mount("tmpfs", "size=8m")
    subprocess.run(["mount", "-o", "remount,ro", cache], check=True)
    ((state, message, _),) = places(HF_HOME=cache)
    assert (state, message) == ("warn", f"HF_HOME ({cache}) is on a volume that is mounted read-only")


def test_cache_of_another_name_counts_too(
    places: Callable[..., list[tuple[Any, Any, Any]]], mount: Mount, fill: Fill
) -> None:
    cache = mount("tmpfs", "size=1m")
    fill(cache)
    ((state, message, _),) = places(HF_DATASETS_CACHE=f"{cache}/datasets")
    assert state == "no-go" and message.startswith("HF_DATASETS_CACHE (")


SHM = """
mount -t tmpfs -o size=64m tmpfs /dev/shm
"$PYTHON" -m ckptkit preflight "$RUN" --config "$RUN/../train.json" | grep shm
"""


@pytest.mark.parametrize(("workers", "told"), [(0, False), (4, True)])
def test_shared_memory_of_a_plain_container_is_told_where_several_processes_share_it(
    real: str, tmp_path: Path, workers: int, told: bool
) -> None:
    run = make_run(real, str(tmp_path / "run"), TWO)
    (tmp_path / "train.json").write_text(f'{{"dataloader_num_workers": {workers}, "save_total_limit": 2}}')
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable, "RUN": run, "WORLD_SIZE": "1"}
    command = ("unshare", "--mount", "sh", "-c", SHM)
    out = subprocess.run(command, env=environment, check=False, capture_output=True, text=True).stdout
    assert ("warn   places           /dev/shm has 67.1 MB of 67.1 MB free for 5 processes" in out) is told
    assert ("--shm-size=8g" in out) is told
