"""The product, broken on purpose in one line: proof that a check can fail."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# What a checkout needs beside ckptkit/ for the tests of any room to run.
BESIDE = (
    "tests", "bin", "docs", "examples", "benchmarks", "pyproject.toml", "train.py", "crontab.example", "hatch_build.py",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
)  # fmt: skip
UNPROVEN = re.compile(r"(ImportError|ModuleNotFoundError|SyntaxError|NameError|^E +fixture )", re.MULTILINE)
ASSERTED = re.compile(r"^[ |E]*(AssertionError|assert |Failed: )", re.MULTILINE)


def broken(tmp_path: Path, file: str, old: str, new: str) -> str:
    """Given a file of ckptkit and a piece of it that occurs exactly once, return what to put first on PYTHONPATH."""
    top = tmp_path / "broken"
    shutil.copytree(CHECKOUT / "ckptkit", top / "ckptkit")  # with Python's cache, which holds for all but one file
    target = top / "ckptkit" / file
    text = target.read_text()
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file}"
    target.write_text(text.replace(old, new))
    for cached in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
        cached.unlink()
    return str(top)


def run_tests(top: str, real: str, *tests: str, mutant: str = "") -> tuple[int, str]:
    """Run tests of this checkout with the product in `top`; returns pytest's exit code and what it said.

    From a copy of the tests beside it: conftest puts the checkout that it lies in first, and so do the commands typed.
    """
    for name in BESIDE:
        source = CHECKOUT / name
        copy = partial(shutil.copytree, symlinks=True) if source.is_dir() else shutil.copy
        copy(source, os.path.join(top, name))
    shared = Path(real).parent  # where one of several workers looks for real checkpoints
    environment = os.environ | {"PYTHONPATH": top, "PYTEST_XDIST_WORKER": "mutant", "CKPTKIT_MUTANT": mutant}
    base = f"--basetemp={shared}/mutant-{os.getpid()}-{Path(top).parent.name}"  # two workers number theirs alike
    command = [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:xdist", base, *tests]
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def goes_red(top: str, real: str, *tests: str) -> str:
    """Run the tests as `run_tests` does; returns why that proves nothing, or "" if one failed by an assertion."""
    code, said = run_tests(top, real, *tests, mutant="1")
    if code != 1:
        return f"nobody noticed (pytest ended in {code}):\n{said[-3000:]}"
    if UNPROVEN.search(said) or not ASSERTED.search(said):
        return f"it failed, but by no assertion:\n{said[-3000:]}"
    return ""
