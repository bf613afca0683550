"""Which Python scripts delete checkpoints, and by which order: each spelling is read, and run on real directories."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit.model.advice import Cleanup
from ckptkit.scripts import NoScriptError, places
from ckptkit.scripts.python import places as python_places
from tests.scripts.texts import spellings, text_of

CHECKOUT = Path(__file__).resolve().parent.parent.parent
STEPS = (7000, 8000, 9000, 10000)
SPELLINGS = list(spellings("python"))
HEAD = """
import fnmatch, glob, heapq, os, re, shutil, subprocess, threading
import os.path as osp
import shutil as sh_util
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from glob import glob as find
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from shutil import rmtree as drop
PREFIX_CHECKPOINT_DIR = "checkpoint"
"""


def orders(text: str) -> set[str]:
    return {place.order for place in python_places(HEAD + text)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four checkpoints, each a minute older than the next."""
    for step in STEPS:
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "out" / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"x")
        os.utime(tmp_path / "out" / f"checkpoint-{step}", (1e9 + step, 1e9 + step))
    return tmp_path / "out"


def left(run: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*"))


@pytest.mark.parametrize(("kind", "text", "runs"), SPELLINGS)
def test_spelling_is_found_and_does_what_is_said_of_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, runs: Any
) -> None:
    """Above 9999 the order of text deletes the newest; that of numbers and of times keeps it."""
    assert orders(text) == ({kind} if kind != "clean" else set())
    if not runs:
        return
    monkeypatch.chdir(run.parent)
    names: dict[str, Any] = {}
    exec(compile(HEAD + text, kind, "exec"), names)
    names["clean"](SimpleNamespace(output_dir=str(run)), SimpleNamespace(global_step=10000, best_model_checkpoint=None))
    assert (10000 in left(run)) == (kind in ("numbers", "times")) or kind == "listing"
    assert len(left(run)) < len(STEPS)


def test_there_are_many_spellings_of_each_kind() -> None:
    kinds = [one.values[0] for one in SPELLINGS]
    assert len(kinds) > 150 and min(map(kinds.count, kinds)) >= 5


def test_place_is_the_line_that_deletes_and_knows_its_class() -> None:
    text = text_of("python", "names", "the_issue")
    (place,) = python_places(text)
    assert "shutil.rmtree(old)" in text.splitlines()[place.line - 1] and place.in_class
    assert not python_places(HEAD + text_of("python", "names", "glob"))[0].in_class


def test_each_place_of_a_script_is_found_once() -> None:
    firsts = {one.values[0]: one.values[1] for one in reversed(SPELLINGS) if one.values[0] != "clean"}
    found = [place.order for place in python_places(HEAD + "\n\n".join(firsts.values()))]
    assert found == [*firsts]


@pytest.mark.parametrize("file", ["train.py", "tests/guard/tiny.py", "ckptkit/delete/checkpoint.py", "ckptkit/api.py"])
def test_our_own_files_are_clean(file: str) -> None:
    assert places(file, (CHECKOUT / file).read_text()) == ()


# --- what is no script ----------------------------------------------------------------------------------------------


def read(reader: Callable[[str], tuple[Cleanup, ...]], text: str) -> tuple[str | tuple[Cleanup, ...], ...]:
    """What was found, and why it can't be read."""
    try:
        return reader(text), ""
    except NoScriptError as error:
        return (), str(error)


TOO_LONG = "is too long to be followed to its end"
BROKEN = {
    "half_a_line": "def clean(:",
    "nul": "import os\0rmtree",
    "tabs_and_spaces": "if 1:\n\tx = 1\n        y = 2\n",
    "python_2": "print 'rmtree'",
    "brackets": "(" * 100_000,
    "signs": "rmtree = " + "-" * 100_000 + "1",
    "not": "rmtree = " + "not " * 100_000 + "1",
    "a_sum": "rmtree = " + "+".join("1" * 50_000),
    "attributes": "rmtree = x" + ".a" * 50_000,
    "calls": "rmtree = x" + "()" * 50_000,
    "surrogate": "x = 'rmtree \ud800'",
    "blocks": "".join(" " * depth + "if rmtree:\n" for depth in range(99)) + " " * 99 + "pass",
}


@pytest.mark.parametrize("name", BROKEN)
def test_text_that_is_no_script_is_told_in_one_line_or_clean(name: str) -> None:
    found, fault = read(python_places, BROKEN[name])
    assert not found and "\n" not in fault


def test_functions_that_call_one_another_without_end_are_read_to_an_end() -> None:
    both = "def one(c):\n    two(sorted(c))\n    shutil.rmtree(c[0])\n\ndef two(c):\n    one(c)\n    two(c)\n\n"
    assert orders(both + "one(sorted(glob.glob('checkpoint-*')))") == {"names"}
    wide = "".join(f"def f{n}(c):\n    f{n + 1}([c])\n    f{n + 1}((c, c))\n    drop(c)\n\n" for n in range(40))
    assert read(python_places, f"{HEAD}{wide}\nf0(glob.glob('checkpoint-*'))")[1] in ("", TOO_LONG)


def test_script_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptkit.scripts.state.MOST_LOOKS", 50)
    assert read(python_places, text_of("python", "names", "the_issue")) == ((), TOO_LONG)


def test_random_texts_never_raise_anything_else() -> None:
    rng = random.Random(20)
    sources = [HEAD + one.values[1] for one in SPELLINGS]
    for _ in range(300):
        text = rng.choice(sources)
        for _ in range(rng.randrange(1, 6)):
            at, to = sorted(rng.randrange(len(text)) for _ in range(2))
            text = rng.choice((text[:at] + text[to:], text[:at] + rng.choice(sources)[at:to] + text[at:], text[at:]))
        assert "\n" not in read(python_places, text)[1]
        places("run.sh", text)
