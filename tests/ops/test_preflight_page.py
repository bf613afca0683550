"""preflight's page: one screen of 24 lines of 80 columns for an ordinary run, and every command on it runs."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from ckptkit.model.advice import Check
from ckptkit.render.preflight import page
from tests.support.runs import CHECKOUT
from tests.support.typed import Ckptkit, Mount, RunOf

TWO = {100: "intact", 200: "intact"}


@pytest.fixture
def short() -> Iterator[str]:
    """A path as people have them."""
    made = tempfile.mkdtemp(prefix="c", dir="/tmp")
    yield made
    os.rmdir(made)


@pytest.mark.mounts
def test_ordinary_run_fits_one_screen(short: str, run_of: RunOf, mount: Mount) -> None:
    calm = mount("tmpfs", "size=64m", at=short)
    run = run_of({100: "intact", 200: "intact", 300: "intact"}, at=f"{calm}/run")
    environment = {"HOME": calm, "TMPDIR": calm, "HF_HOME": calm, "SSH_CONNECTION": "x", "TMUX": "", "STY": ""}
    script = f"stty cols 80 rows 24; {CHECKOUT}/bin/preflight {run}"
    called = subprocess.run(
        ["script", "-qec", script, "/dev/null"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=environment | {"PATH": "/usr/bin:/bin", "TERM": "xterm", "CKPTKIT_PYTHON": sys.executable},
    )  # fmt: skip
    lines = called.stdout.replace("\r", "").splitlines()
    rows = sum(-(-max(1, len(line)) // 80) for line in lines)  # a command is never cut, and may take two rows
    assert rows <= 24, called.stdout
    assert all(len(line) <= 80 for line in lines if "fix: " not in line), called.stdout
    assert re.fullmatch(r"(no-)?go: [0-9]+ things? (to look at|in the way)", lines[-1])


@pytest.mark.mounts
def test_verbose_shows_every_check_and_the_last_line_counts(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    run = run_of({100: "torn"}, at=f"{calm}/run")
    short, long = ckptkit("preflight", run), ckptkit("preflight", run, "-v")
    assert short.code == long.code == 4
    assert "inodes, write" in short.out and " inodes           " in long.out
    count = len(re.findall("^no-go ", long.out, re.MULTILINE))
    assert long.out.splitlines()[-1] == f"no-go: {count} thing{'s' if count > 1 else ''} in the way"


def test_no_word_is_folded_and_no_command_is_cut() -> None:
    checks = [
        Check("go", "inodes", "16,061,462 inodes are free"),
        Check("go", "clock", "the clock is not behind the checkpoints"),
        Check("warn", "watch", "nobody sweeps or watches while you sleep " * 3, "a command " * 20),
    ]
    lines = page(checks, 80).splitlines()
    assert lines[0] == "go     also             inodes, clock (-v says more)"
    assert all(len(line) <= 80 for line in lines[:-1]) and lines[-1] == f"       fix: {'a command ' * 20}"
    words = " ".join(line.strip() for line in lines[1:-1]).split()
    assert words == ["warn", "watch", *(["nobody", "sweeps", "or", "watches", "while", "you", "sleep"] * 3)]
    assert all(len(line) <= 40 for line in page(checks, 40).splitlines()[:-1])


def test_a_page_that_goes_into_a_file_has_a_line_a_check() -> None:
    made = page([Check("no-go", "resume", "word " * 50, "ckptkit verify RUN")])
    assert made.splitlines() == [f"no-go  resume           {'word ' * 50}", "       fix: ckptkit verify RUN"]
