"""How a command of ours is spelled, by how we were called."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptkit import calling
from tests.support import pasting
from tests.support.typed import RunOf

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pasting.install(tmp_path_factory.mktemp("installed") / "venv")


def said(command: list[str], cwd: Path, **environment: Any) -> str:
    """What a call prints into a file."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "CKPTKIT_STATE": f"{cwd}/state", **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_what_goes_into_a_file_names_the_console_script_and_the_run_in_full(
    installed: Path, run_of: RunOf, tmp_path: Path
) -> None:
    run_of({100: "intact", 200: "intact", 300: "intact", 400: "intact", 500: "intact"}, at=f"{tmp_path}/runs/a")
    for program in ("ckptkit", str(installed / "ckptkit")):
        text = said([program, "prune", "runs/a"], tmp_path, PATH=f"{installed}:/usr/bin:/bin")
        assert f"fix: {installed}/ckptkit prune {tmp_path}/runs/a --keep-last 2" in text


def test_a_path_that_was_typed_is_told_in_full(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "runs/a/checkpoint-5").mkdir(parents=True)
    os.utime(tmp_path / "runs/a/checkpoint-5")
    text = said([sys.executable, "-m", "ckptkit", "latest", "runs"], tmp_path, PYTHONPATH=str(CHECKOUT))
    assert f"fix: {CHECKOUT}/bin/latest {tmp_path}/runs/a" in text


def test_from_python_a_relative_path_is_told_in_full_and_other_words_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = calling.command("prune", "runs/a", "--keep-last", "2", "runs/b").split()
    assert words[-4:] == [f"{tmp_path}/runs/a", "--keep-last", "2", "runs/b"]
