"""The guard of a loop on two ranks: one answer for both, and no rank waits in a collective that another has left."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import launching
import pytest

HERE = os.path.dirname(__file__)
BYTES = 2_200_000  # two and a half of its checkpoints
INTACT = "intact"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[int, dict[str, Any]]]]:
    """{scene: {rank: what it saw}}; one launch for all."""
    script = os.path.join(HERE, "saving_ranks.py")
    with open(script) as file:
        names = [line.strip(" ,\n") for line in file.read().split("SCENES = [\n")[1].split("]\n")[0].splitlines()]
    mounts = []
    try:
        for name in names:
            mounts.append(str(tmp_path_factory.mktemp(name)))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", mounts[-1]], check=True)
        command = (*launching.TORCHRUN, "--standalone", "--nproc-per-node", "2", script, *mounts)
        yield launching.scenes([launching.begin(*command)])
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


def agreed(scenes: dict[str, dict[int, dict[str, Any]]], name: str) -> dict[str, Any]:
    """What both ranks saw alike."""
    first, second = (scenes[name][rank] for rank in (0, 1))
    assert first == second
    return first


def test_on_a_disk_for_two_and_a_half_it_ends_with_two(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    assert agreed(scenes, "to_the_end") == {"states": {"5": INTACT, "6": INTACT}, "skipped": 0}


def test_save_that_is_refused_on_one_rank_is_undone_on_both(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    assert agreed(scenes, "refused_on_one") == {"states": {"1": INTACT, "3": INTACT}, "skipped": 1}


def test_save_that_is_refused_on_one_rank_is_written_again_by_both(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    seen = agreed(scenes, "refused_once")
    assert seen == {"states": {"1": INTACT, "2": INTACT}, "skipped": 0, "saved": [True, True]}


def test_save_that_is_refused_again_is_given_up_by_both(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    assert agreed(scenes, "refused_twice") == {"states": {"1": INTACT}, "skipped": 1, "saved": [True, False]}


def test_error_of_the_program_on_one_rank_is_raised_on_both(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    seen = agreed(scenes, "error_on_one")
    assert seen["error"] and seen["states"]["1"] == INTACT


def test_one_rank_may_save_alone(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    for rank in (0, 1):
        assert scenes["alone"][rank] == {"states": {"2": INTACT, "3": INTACT}, "skipped": 0}


def test_both_go_on_from_the_same(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    assert agreed(scenes, "latest")["latest"] == "checkpoint-2"
