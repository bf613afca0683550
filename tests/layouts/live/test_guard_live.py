"""FSDP2 and ZeRO under the guard, on two ranks and on four, with each rank killed in a save."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.conftest import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "guard"))  # sharded_trials.py

import sharded_trials as tried

CASES = {
    "fsdp": ("fsdp2-sharded", "fsdp2-full"),
    "deepspeed": ("deepspeed-zero2", "deepspeed-zero3"),
}.get(os.environ["CKPTKIT_LAYOUTS_RECIPE"], ())
RANKS = (2, 4)
EACH = [(case, ranks, rank, phase) for case in CASES for ranks in RANKS for rank in range(ranks)
        for phase in ("early", "late")]  # fmt: skip
EACH_RANK = [(case, ranks, rank) for case, ranks, rank, phase in EACH if phase == "early"]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(case, ranks) → its trials."""
    python = os.environ["CKPTKIT_LAYOUTS_PYTHON"]
    with tried.recipe(python, tmp_path_factory.mktemp("recipe")) as recipe:
        yield cache(lambda case, ranks: tried.Trials(recipe, case, ranks, tmp_path_factory.mktemp(case)))


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("case", CASES)
def test_guarded_finishes_where_plain_dies(case: str, ranks: int, trials: Any) -> None:
    tried.guarded_finishes_where_plain_dies(trials(case, ranks))


@pytest.mark.parametrize("case, ranks, rank, phase", EACH)
def test_killed_in_a_save_it_goes_on_as_if_it_had_not_been(
    case: str, ranks: int, rank: int, phase: str, trials: Any
) -> None:
    tried.killed_in_a_save_it_goes_on_as_if_it_had_not_been(trials(case, ranks), rank, phase)


@pytest.mark.parametrize("case, ranks, rank", EACH_RANK)
def test_refused_on_one_rank_it_is_written_again_or_skipped_on_all(
    case: str, ranks: int, rank: int, trials: Any
) -> None:
    tried.refused_on_one_rank_it_is_written_again_or_skipped_on_all(trials(case, ranks), rank)
