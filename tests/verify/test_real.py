"""No intact checkpoint is called damaged: real ones of every kind, of transformers 4.57 and of the newest."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckptkit.model.checkpoint import Level
from ckptkit.ops.read import verify
from ckptkit.ops.verify import write_manifest
from tests.support.beside import python_path
from tests.support.make_real import KINDS, OLD
from tests.support.runs import CHECKOUT, set_age

pytestmark = pytest.mark.slow
VERSIONS = {"4.57": ("old", "eight_bit"), "newest": ("eight_bit",)}
WEIGHTS_ONLY = ("only", "lora-only")


@pytest.fixture(scope="module", params=VERSIONS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """(version, a directory with every kind that it can write)."""
    top = tmp_path_factory.mktemp("real")
    path = python_path(Path(sys.prefix), *VERSIONS[request.param])
    script = [sys.executable, str(CHECKOUT / "tests/support/make_real.py"), str(top), "all"]
    done = subprocess.run(script, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for run in top.iterdir():
        for checkpoint in run.glob("checkpoint-*"):
            set_age(str(checkpoint), time.time(), 3600)
    return request.param, top


def test_every_kind_was_written(made: tuple[Any, Path]) -> None:
    version, top = made
    assert {run.name for run in top.iterdir()} == {*KINDS, *(OLD if version == "4.57" else ())}


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_each_is_intact_without_a_finding(made: tuple[Any, Path], level: Level) -> None:
    for run in made[1].iterdir():
        for judged in verify(str(run), level=level):
            found = judged.verdict
            assert (found.state, found.findings) == ("intact", ()), run.name
            assert found.resumable == (run.name not in WEIGHTS_ONLY) and found.weights_intact, run.name


def test_each_is_intact_by_its_own_manifest(made: tuple[Any, Path]) -> None:
    for run in made[1].iterdir():
        judged = verify(str(run), level="full")
        assert all(write_manifest(one) for one in judged)
        assert all(one.verdict.findings == () for one in verify(str(run), level="full")), run.name


def test_each_cut_short_anywhere_in_a_file_that_matters_is_not_intact(made: tuple[Any, Path], tmp_path: Path) -> None:
    import shutil

    for run in made[1].iterdir():
        whole = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        for file in [file for file in whole.rglob("*") if file.suffix in (".safetensors", ".pt", ".pth", ".bin")]:
            copied = shutil.copytree(whole, tmp_path / run.name / whole.name, dirs_exist_ok=True)
            for mine in copied.glob(".ckptkit-*"):
                mine.unlink()
            os.truncate(copied / file.relative_to(whole), file.stat().st_size - 1)
            set_age(str(copied), time.time(), 3600)
            (judged,) = verify(str(copied))
            if file.name == "training_args.bin":  # no resume reads it
                assert judged.verdict.intact and judged.verdict.findings, (run.name, file.name)
            else:
                assert judged.verdict.damaged, (run.name, file.name)
