"""Man pages: made from the parsers, and what man and mandoc themselves say of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.cli.verbs import VERBS
from tests.support.runs import CHECKOUT


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages, as a build writes them."""
    folder = tmp_path_factory.mktemp("share")
    code = (
        "import sys; from pathlib import Path; from ckptkit.cli import help_pages\n"
        "for name, text in help_pages.shared().items():\n"
        "    file = Path(sys.argv[1], name); file.parent.mkdir(parents=True, exist_ok=True); file.write_text(text)"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", code, folder], env=environment, check=True)
    return folder / "man/man1"


def test_there_is_one_for_the_command_and_each_verb(pages: Path) -> None:
    assert {page.name for page in pages.iterdir()} == {"ckptkit.1", *(f"ckptkit-{verb}.1" for verb in VERBS)}


def test_neither_man_nor_mandoc_has_a_word_against_them(pages: Path) -> None:
    for page in pages.iterdir():
        shown = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, check=True)
        assert shown.stderr == "" and "NAME" in shown.stdout
        lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False).stdout
        # No date: the same sources make the same page.
        assert [line for line in lint.splitlines() if "missing date" not in line] == []


def test_page_of_a_verb_tells_each_flag_example_and_exit_code_of_its_help(pages: Path) -> None:
    shown = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=200", pages / "ckptkit-prune.1"], capture_output=True, check=True
    )
    plain = subprocess.run(["col", "-bx"], input=shown.stdout, capture_output=True, check=True).stdout.decode()
    for told in (
        "ckptkit prune RUN --dry-run",
        "--keep-best METRIC[:min|max][=N]",
        "-n, --dry-run",
        "mass-delete guard",
        " 0      done",
    ):
        assert told in plain
    assert str(CHECKOUT) not in plain and "ckptkit-strip(1)" in plain
