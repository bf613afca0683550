"""FSDP2 on two ranks (gloo) under the guard: it rotates, and a save that breaks off costs that save alone."""

import sys
from collections.abc import Iterator

import pytest
import sharded_trials as tried
from sharded_trials import Trials

pytestmark = pytest.mark.mounts


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    top = tmp_path_factory.mktemp("sharded")
    with tried.recipe(sys.executable, top) as recipe:
        yield tried.Trials(recipe, "fsdp2-sharded", 2, top)


def test_guarded_finishes_where_plain_dies(trials: Trials) -> None:
    tried.guarded_finishes_where_plain_dies(trials)


@pytest.mark.parametrize("rank, phase", [(0, "early"), (1, "late")])
def test_killed_in_a_save_it_goes_on_as_if_it_had_not_been(trials: Trials, rank: int, phase: str) -> None:
    tried.killed_in_a_save_it_goes_on_as_if_it_had_not_been(trials, rank, phase)


def test_refused_on_one_rank_it_is_written_again_or_skipped_on_all(trials: Trials) -> None:
    tried.refused_on_one_rank_it_is_written_again_or_skipped_on_all(trials, 1)
