"""Each promise is broken on purpose, in one line of the product: what holds it must go red; so is each room."""

import os
import re
from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.faults.mutant_table import MUTANTS
from tests.faults.mutants import CHECKOUT, broken, goes_red, run_tests
from tests.test_layers import MAY

EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
CHOSEN = [name for name, mutant in MUTANTS.items() if mutant.often or EXHAUSTIVE]
NOTHING_TO_BREAK = {"version", "__init__", "__main__", "api"}  # names and calls of what other rooms do


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_breaks_a_line_that_is_there_and_names_a_test_that_is(name: str) -> None:
    mutant = MUTANTS[name]
    assert (CHECKOUT / "ckptkit" / mutant.file).read_text().count(mutant.old) == 1 and mutant.new != mutant.old
    file, _, test = re.sub(r"\[.*", "", mutant.test).partition("::")
    assert f"def {test or 'test_'}" in (CHECKOUT / file).read_text()


def test_no_room_is_without_a_mutant() -> None:
    assert {mutant.file.split("/")[0].removesuffix(".py") for mutant in MUTANTS.values()} == set(MAY) - NOTHING_TO_BREAK


@pytest.mark.mounts
@pytest.mark.parametrize("name", CHOSEN)
def test_product_broken_in_one_line_is_noticed(
    real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally, name: str
) -> None:
    mutant = MUTANTS[name]
    monkeypatch.setenv("CKPTKIT_EXHAUSTIVE", str(int(mutant.whole)))
    if unnoticed := goes_red(broken(tmp_path, *mutant[:3]), real, mutant.test):
        tally.violation("products broken in one line", unnoticed)
    tally.ran("products broken in one line")


@pytest.mark.slow
@pytest.mark.mounts
def test_same_tests_are_green_on_the_product_as_it_is(
    real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.delenv("CKPTKIT_EXHAUSTIVE", raising=False)
    whole = broken(tmp_path, "runs/pins.py", "\nFILE = ", "\n\nFILE = ")  # one more empty line breaks nothing
    code, said = run_tests(whole, real, *{MUTANTS[name].test for name in CHOSEN})
    assert code == 0, said[-3000:]
    tally.ran("whole products tested as the broken ones are")
