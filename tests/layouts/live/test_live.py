"""Frameworks themselves resume from what `latest` hands out, and from nothing that is called incomplete.

Each training is killed, by a real SIGKILL, at each file of its last save, and then really resumed.
"""

import ast
import json
import os
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import ckptkit
from tests.layouts.live.table import Row, rows
from tests.layouts.live.trainings import Kill, Recipe, Trained, copy
from tests.layouts.made import keys_of
from tests.support.typed import present

MADE = Path(__file__).resolve().parents[1] / "made"
MOST_KILLS = 20  # a case
A_DAY = 86400.0  # the quiet period is over
# accelerate 1.15 loads FSDP1's sharded optimizer into what a new optimizer holds: nothing. Nobody is told.
FORGETS = {"fsdp1-sharded"}


def cases() -> list[str]:
    """The keys of the recipe's CASES, from which the framework resumes. Read, not imported: this Python lacks it."""
    recipe = MADE.parent / "recipes" / f"{os.environ['CKPTKIT_LAYOUTS_RECIPE']}.py"
    for node in ast.parse(recipe.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CASES":
            return sorted(keys_of(node.value))
    return []


def lines(case: str) -> list[str]:
    """What one save did, in its order."""
    return (MADE / f"{case}.order").read_text().splitlines()


def checkpoint(case: str) -> str:
    """The one that the order tells of, relative to the run."""
    first = lines(case)[0]
    return first.rstrip("/") if first.endswith("/") else first.split(" -> ")[-1]


def kills(case: str) -> list[Kill]:
    """Of each file two, of all phases in turn, evenly chosen if that makes too many."""
    every: list[Kill] = []
    opened: set[str] = set()
    for line in lines(case):
        first, arrow, second = present(re.fullmatch(r"(.*?)(?: (->|=>) (.*))?", line)).groups()
        if first.endswith(("/", " (deleted)")) or (not arrow and ".tmpX" in first):
            continue
        if arrow:
            every.append(Kill(second if arrow == "->" else first, "naming", "" if ".tmpX" in first else first))
        elif first in opened:
            every.append(Kill(first, "again"))
        else:
            phases = ("writing", "absent") if len(opened) % 2 else ("opening", "late")
            every += [Kill(first, phase) for phase in phases]
            opened.add(first)
    count = min(MOST_KILLS, len(every))
    return [every[number * len(every) // count] for number in range(count)]


@pytest.fixture(scope="session")
def uninterrupted(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Trained]]:
    """case → (where it trained, how it ended)."""

    @cache
    def train(case: str) -> tuple[Path, Trained]:
        folder = tmp_path_factory.mktemp(case)
        trained = recipe.train(case, folder)
        assert trained.losses, recipe.said()
        return folder, trained

    return train


@pytest.fixture(scope="session")
def from_whole(
    recipe: Recipe, uninterrupted: Callable[[str], tuple[Path, Trained]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], tuple[float, ...] | None]:
    """(case, step) → the losses of the steps after it, when the framework resumes from a whole checkpoint."""

    @cache
    def resume(case: str, step: int) -> tuple[float, ...] | None:
        if case not in FORGETS:
            return present(uninterrupted(case)[1].losses)[step:]
        folder = copy(uninterrupted(case)[0], tmp_path_factory.mktemp("whole") / "copy")
        return recipe.train(case, folder, resume=f"{case}/checkpoint-{step}").losses

    return resume


@pytest.mark.parametrize("case", cases())
def test_resumed_from_a_whole_checkpoint_the_losses_are_those_of_the_uninterrupted_training(
    case: str, recipe: Recipe, uninterrupted: Callable[[str], tuple[Path, Trained]], tmp_path: Path
) -> None:
    folder, trained = uninterrupted(case)
    resumed = recipe.train(case, copy(folder, tmp_path / "copy"), resume=f"{case}/{checkpoint(case)}")
    assert resumed.losses, recipe.said()
    assert resumed.resumed_step > 0
    assert (resumed.losses == present(trained.losses)[resumed.resumed_step :]) == (case not in FORGETS)


@pytest.mark.parametrize("case, kill", [(case, kill) for case in cases() for kill in kills(case)], ids=str)
def test_killed_at(
    case: str, kill: Kill, recipe: Recipe, from_whole: Callable[[str, int], tuple[float, ...] | None], tmp_path: Path
) -> None:
    killed = recipe.train(case, tmp_path / "run", kill=kill)
    assert killed.code == 9, f"not killed at {kill}: {recipe.said()}"
    resumed = try_from(recipe, from_whole, case, tmp_path, checkpoint(case))
    verdict, handed_out = judged(tmp_path / "run" / case, checkpoint(case))
    then = try_from(recipe, from_whole, case, tmp_path, handed_out) if handed_out else "-"
    row = Row(case, str(kill), verdict, resumed, handed_out or "none", then)
    rows.append(row)
    (tmp_path / "row.json").write_text(json.dumps(row))  # what is left can be judged again without the framework
    assert then == "resumes", row
    assert not (verdict.startswith("incomplete") and resumed == "resumes"), row


def try_from(
    recipe: Recipe, from_whole: Callable[[str, int], tuple[float, ...] | None], case: str, folder: Path, name: str
) -> str:
    """What the framework makes of that checkpoint, in a copy of what the kill left."""
    if not (folder / "run" / case / name).exists():
        return "is not there"
    resumed = recipe.train(case, copy(folder / "run", folder / "copy"), resume=f"{case}/{name}")
    if resumed.losses is None:
        return "hangs" if resumed.code == 124 else "refuses"
    if resumed.resumed_step == 0:
        return "begins anew"
    whole = from_whole(case, resumed.resumed_step)
    return "resumes" if resumed.losses == whole else "goes on with other losses"


def judged(run: Path, name: str) -> tuple[str, str | None]:
    """Our verdict of that checkpoint, and what `latest` hands out, relative to the run."""
    now = time.time() + A_DAY
    try:
        verdicts = {os.path.relpath(each.checkpoint.path, run): each.verdict for each in ckptkit.verify(run, now=now)}
    except ckptkit.NoSuchRun:
        return "no such run", None
    verdict = verdicts.get(name)
    said = "not seen" if verdict is None else verdict.state + (", resumable" if verdict.resumable else "")
    try:
        return said, os.path.relpath(ckptkit.latest((run / name).parent, now=now).path, run)
    except (ckptkit.NoIntactCheckpoint, ckptkit.NoSuchRun):
        return said, None
