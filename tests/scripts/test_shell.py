"""Which shell scripts delete checkpoints, and by which order: each is read, and run by bash on real directories."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ckptkit.scripts import is_shell, places
from tests.scripts.texts import spellings, text_of

STEPS = (7000, 8000, 9000, 10000)


def orders(text: str) -> set[str]:
    return {place.order for place in places("run.sh", text)}


@pytest.mark.parametrize(("kind", "text", "runs"), spellings("shell"))
def test_spelling_is_found_and_does_what_is_said_of_it(tmp_path: Path, kind: str, text: str, runs: Any) -> None:
    """Above 9999 the order of text deletes the newest; that of numbers and of times keeps it."""
    assert orders(text) == ({kind} if runs else set())
    if not runs:
        return
    for step in STEPS:
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
        os.utime(tmp_path / "out" / f"checkpoint-{step}", (1e9 + step, 1e9 + step))
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    left = {path.name for path in (tmp_path / "out").glob("checkpoint-*")}
    assert len(left) < len(STEPS), done.stderr
    assert ("checkpoint-10000" in left) == (kind in ("numbers", "times")) or kind == "listing"


def test_place_is_the_line_in_which_the_pipe_begins() -> None:
    text = (
        f"#!/bin/sh\n\necho one\\\n two\n{text_of('shell', 'names', 'over_lines').strip()}\necho\nrm -rf checkpoint-*"
    )
    assert [place.line for place in places("run.sh", text)] == [5, 10]


def test_script_of_the_shell_is_known_by_its_name_or_its_first_line() -> None:
    assert is_shell("a.sh", "") and is_shell("job.slurm", "") and is_shell("job", "#!/usr/bin/env bash\n")
    assert not is_shell("a.py", "#!/usr/bin/env python3\n") and not is_shell("train", "import os\n")


TORN = (
    "'", '"', "$(", "`", "${", "a | ", "| rm", "for", "for x in", "rm", "((", "\\", "\0", "<<EOF", "ls <<-'x", "&&;|",
    "$(" * 9_999, "rm -rf " + "`" * 9_999, "ls | " * 9_999, '"$(' * 5_000, "(" * 9_999, "x=$(rm $x) " * 3_000,
    "do " * 30_000, "x" * 90_000, "echo $(" * 9_000, "echo $(" * 2_000, "x=$(" * 4_000, "for x in $(" * 1_500,
    "rm $(ls $(" * 100, "\n" * 30_000, "rm\n" * 9_000, ";" * 99_999, "'$(" * 9_999,
)  # fmt: skip


@pytest.mark.parametrize("text", TORN, ids=range(len(TORN)))
def test_text_that_no_shell_takes_is_clean(text: str) -> None:
    assert places("run.sh", text) == places("run.sh", f"echo\n{text}\n") == ()


def test_text_that_a_script_writes_elsewhere_is_no_part_of_it() -> None:
    assert places("run.sh", "cat <<EOF >note\nI don't say rm -rf out/checkpoint-*\nEOF\nrm -rf x\n") == ()
    (place,) = places("run.sh", "cat <<'EOF'\ndon't\nEOF\nrm -rf out/checkpoint-*\n")
    assert place.line == 4
