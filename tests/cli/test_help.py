"""The frame of the command line: help that fits, versions, what a typo meant, and that a sweep loads none of it."""

import os
import subprocess
import sys

import pytest

from ckptkit.cli import help_pages
from ckptkit.cli.verbs import VERBS
from ckptkit.manual.columns import WORD
from tests.support.runs import CHECKOUT, tree
from tests.support.typed import Called, Ckptkit, RunOf

PAGE = """
import sys
from ckptkit import calling
from ckptkit.cli import help_pages
from ckptkit.cli.verbs import VERBS, load
from ckptkit.manual import page
calling.spelled("ckptkit")
verb = sys.argv[1]
if verb:
    print(page.text(help_pages.facts(load(verb).parser(verb)), help_pages.columns()))
else:
    print(help_pages.overview(VERBS))
"""


def page_of(verb: str, columns: int) -> str:
    """The help as `ckptkit` shows it on a terminal so wide; "" for the list of verbs."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": str(columns)}
    command = [sys.executable, "-c", PAGE, verb]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def one_line(called: Called) -> bool:
    """Stderr is one line, and no traceback."""
    return called.err.count("\n") == 1 and "Traceback" not in called.err


@pytest.mark.parametrize("verb", ["", *VERBS])
@pytest.mark.parametrize("columns", [40, 60, 80, 110])
def test_help_fits_the_terminal_and_folds_no_word(ckptkit: Ckptkit, verb: str, columns: int) -> None:
    """As on a terminal, where a short name is typed."""
    shown, wide = page_of(verb, columns), page_of(verb, 110)
    lines = [line.removesuffix(" \\") for line in shown.splitlines()]
    long = [line for line in lines if len(line) > columns and len(WORD.findall(line)) > 1]
    assert long == []
    assert "bin/" not in wide, "EXAMPLES name a verb as {verb}"
    assert shown.replace(" \\\n", " ").split() == wide.replace(" \\\n", " ").split(), "the same words"


@pytest.mark.parametrize("given, fits", [("200", 110), ("20", 40), ("x", 80), ("0", 80), ("", 80)])
def test_help_is_as_wide_as_columns_says_between_40_and_110(ckptkit: Ckptkit, given: str, fits: int) -> None:
    page = ckptkit("diskreport", "--help", env={"COLUMNS": given}).out.split("\n\n")[1]
    longest = max(map(len, page.splitlines()))
    assert fits - 20 < longest <= fits


def test_help_lists_every_verb_by_when_one_needs_it_and_ends_in_three_lines(ckptkit: Ckptkit) -> None:
    grouped = [verb for verbs in help_pages.GROUPS.values() for verb in verbs]
    assert {*VERBS} <= {*grouped} and len(grouped) == len({*grouped})
    shown = ckptkit("--help").out
    assert all(f"  {verb} " in shown for verb in VERBS)
    assert "ckptkit.guard(trainer)" in "".join(shown.splitlines()[-2:])
    assert ckptkit("help").out == shown and ckptkit("help", "prune").out == ckptkit("prune", "--help").out


@pytest.mark.parametrize("words", [("--version",), ("prune", "--version"), ("completion", "--version")])
def test_version(ckptkit: Ckptkit, words: tuple[str, ...]) -> None:
    assert ckptkit(*words) == (0, "ckptkit 0.2.0\n", "")


MEANT = {
    "a verb": (("prun", "RUN"), "prune"),
    "another tool's word": (("purge", "RUN"), "prune"),
    "a flag": (("prune", "RUN", "--keep-lst", "3"), "--keep-last"),
    "underscores": (("prune", "RUN", "--keep_last", "3"), "--keep-last"),
    "one dash": (("prune", "RUN", "-keep-last", "3"), "--keep-last"),
    "with its value": (("prune", "RUN", "--keep-lst=3"), "--keep-last"),
    "half of it": (("prune", "RUN", "--keep-l", "3"), "--keep-last"),
    "a flag before a missing RUN": (("latest", "--jsn"), "--json"),
    "a choice": (("verify", "RUN", "--level", "fulll"), "full"),
    "a flag that needs no verb": (("--hlp",), "--help"),
    "its short name": (("-V",), "--version"),
    "its name as a verb": (("version",), "--version"),
    "another verb's help": (("help", "verfy"), "verify"),
}


@pytest.mark.parametrize("name", MEANT)
def test_typo_is_one_line_that_names_what_was_meant_and_nothing_is_changed(
    run_of: RunOf, ckptkit: Ckptkit, name: str
) -> None:
    words, meant = MEANT[name]
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    before = tree(run)
    called = ckptkit(*(run if word == "RUN" else word for word in words))
    assert called.code == 2 and one_line(called) and f"(did you mean {meant}?)" in called.err and "--help" in called.err
    assert tree(run) == before


def test_what_is_like_nothing_gets_no_guess(ckptkit: Ckptkit) -> None:
    for words in (("zzz",), ("prune", "--zzzzzz"), ("verify", ".", "--level", "zzz"), ("latest", "a", "b")):
        called = ckptkit(*words)
        assert called.code == 2 and one_line(called) and "did you mean" not in called.err
    assert "quick, full, deep" in ckptkit("verify", ".", "--level", "zzz").err
    assert ckptkit("prun", "--json").json["error"]["exit_code"] == 2


def test_sweep_loads_neither_help_nor_guesses(run_of: RunOf) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ckptkit", "prune", run_of({100: "intact"})]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    extra = {"ckptkit.cli.help_pages", "ckptkit.cli.suggest", "ckptkit.manual", "difflib", "shutil", "textwrap"}
    assert "ckptkit.cli.options" in loaded and not loaded & extra


def test_help_that_nobody_reads_to_its_end_is_no_fault_and_a_full_disk_is_one(ckptkit: Ckptkit) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert ckptkit("prune", "--help", capture_output=False, stdout=writing, stderr=subprocess.PIPE) == (0, "", "")
    os.close(writing)
    with open("/dev/full", "w") as full:
        assert ckptkit("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE).code == 1
