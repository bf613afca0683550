"""`bin/train --help` and `bin/test --help` in a fresh checkout: at once, with nothing set up and nothing loaded."""

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.bare import bare
from tests.support.runs import CHECKOUT


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout as git clone leaves it: no .venv, and a Python that has nothing installed."""
    checkout = tmp_path / "checkout"
    for name in ("bin", "ckptkit"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, checkout)
    subprocess.run(["python3", "-m", "venv", "--without-pip", tmp_path / "python"], check=True)
    return checkout


@pytest.mark.parametrize("script", ["train", "test"])
def test_help_sets_nothing_up(fresh: Path, tmp_path: Path, script: str) -> None:
    before = {path for path in fresh.rglob("*") if "__pycache__" not in path.parts}
    path = f"{tmp_path}/python/bin:/usr/bin:/bin"
    done = bare(tmp_path, fresh / "bin" / script, "--help", PATH=path)
    assert (done.returncode, done.stderr) == (0, "") and f"bin/{script}" in done.stdout
    assert {path for path in fresh.rglob("*") if "__pycache__" not in path.parts} == before


def test_our_own_arguments_come_first_and_the_rest_is_named(fresh: Path, tmp_path: Path) -> None:
    shown = bare(tmp_path, fresh / "bin/train", "-h", PATH=f"{tmp_path}/python/bin:/usr/bin:/bin").stdout
    import train

    ours = [f"  --{field.name.replace('_', '-')}" for field in fields(train.Job)]
    places = [shown.index(name) for name in [*ours, "TrainingArguments are flags too", "--help-all"]]
    assert places == sorted(places)
    assert f"{fresh}/bin/train --max-steps 600" in shown and f"{fresh}/train.py --config" in shown
