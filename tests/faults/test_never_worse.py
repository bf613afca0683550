"""Random scenarios, each beside the same Trainer without the guard: in nothing is the guarded one worse.

Under --exhaustive other scenarios each time; CKPTKIT_SEED=N repeats those of a failure, and one alone:
`python -m tests.faults.never_worse N`.
"""

import json
import os
import random
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Tally
from tests.faults.drawn import EXHAUSTIVE
from tests.faults.scenarios import KINDS, Event, draw

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Read before conftest takes it away. A few that are known by default, so that a change answers for itself alone; others
# each time where all are played.
SEED = int(os.environ.get("CKPTKIT_SEED") or (random.SystemRandom().randrange(10**9) if EXHAUSTIVE else 7000))
ALL, SAMPLE, PARTS = 300, 10, 2  # parts: one a worker, where all are played


@lru_cache(maxsize=1)
def played(seeds: range) -> list[Any]:
    """{"seed", "faults", "told"} of each, as the script tells it; one import of torch for all."""
    command = [sys.executable, "-m", "tests.faults.never_worse", "--json", *map(str, seeds)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    scenarios = [json.loads(line) for line in done.stdout.splitlines()]
    assert [scenario["seed"] for scenario in scenarios] == [*seeds], f"exit {done.returncode}: {done.stderr[-4000:]}"
    return scenarios


@pytest.mark.slow
@pytest.mark.mounts
@pytest.mark.parametrize("part", range(PARTS))
def test_training_under_the_guard_is_never_worse_than_without(part: int, tally: Tally, exhaustive: bool) -> None:
    sample = range(SEED, SEED + SAMPLE)  # played once, for both parts
    scenarios = played(range(SEED + part, SEED + ALL, PARTS)) if exhaustive else played(sample)[part::PARTS]
    for scenario in scenarios:
        tally.ran("never worse than no guard")
        if scenario["faults"]:
            tally.violation("never worse than no guard", scenario["told"])


# --- that it could fail ----------------------------------------------------------------------------------------------

WELL: dict[str, Any] = dict(
    steps=60, newest=60, count=2, peak=3, before=0, error="", losses=({1: 5.0, 2: 4.5},), names=[], told=[]
)
WORSE: dict[str, tuple[dict[str, Any], str]] = {
    "fewer steps": (dict(steps=59), "59 steps were done, 60 without"),
    "died": (dict(error="OSError: No space left on device"), "the training died: OSError"),
    "older": (dict(newest=50), "the newest resumable step is 50, 60 without"),
    "fewer left": (dict(count=1), "1 intact resumable ones are left, 2 without"),
    "more than announced": (dict(peak=4), "4 checkpoints were on disk at once, 3 are announced"),
    "another loss": (dict(losses=({1: 5.0, 2: 4.500001},)), "the loss of step 2 is 4.500001, 4.5 without"),
}


@pytest.mark.parametrize("name", WORSE)
def test_whatever_is_worse_is_told(name: str) -> None:
    from tests.faults.never_worse import Outcome, worse

    scenario = draw(1)._replace(
        kind="lora", max_steps=60, keep_last=3, best="", on_full="skip", only_model=False, events=()
    )
    assert list(worse(scenario, Outcome(**WELL), Outcome(**WELL))) == []
    changed, words = WORSE[name]
    (fault,) = worse(scenario, Outcome(**WELL), Outcome(**WELL | changed))
    assert words in fault


def test_what_the_plain_one_wrote_over_when_a_neighbour_had_filled_the_volume_is_not_asked_of_the_guard() -> None:
    from tests.faults.never_worse import Outcome, worse

    full = draw(1)._replace(
        kind="lora", max_steps=60, save_steps=20, keep_last=3, best="", on_full="skip", only_model=False, earlier=60,
        events=(Event(40, "step", 0.5),),
    )  # fmt: skip
    assert list(worse(full, Outcome(**WELL), Outcome(**WELL | dict(newest=40)))) == []
    assert len(list(worse(full, Outcome(**WELL), Outcome(**WELL | dict(newest=20))))) == 1
    assert len(list(worse(full._replace(earlier=40), Outcome(**WELL), Outcome(**WELL | dict(newest=40))))) == 1
    given_back = full._replace(events=(*full.events, Event(50, "step", None)))
    assert len(list(worse(given_back, Outcome(**WELL), Outcome(**WELL | dict(newest=40))))) == 1


def test_scenarios_are_the_same_each_time_and_of_all_sorts() -> None:
    drawn = [draw(seed) for seed in range(ALL)]
    assert drawn == [draw(seed) for seed in range(ALL)]
    for of in ("on_full", "kill", "earlier", "best", "events"):
        pairs = {(s.kind, str(getattr(s, of)) if of == "on_full" else bool(getattr(s, of))) for s in drawn}
        assert len(pairs) == len(KINDS) * (3 if of == "on_full" else 2), f"some kind never with some {of}"
    assert {(s.keep_last, s.ranks) for s in drawn} == {(n, r) for n in (1, 2, 3, 4) for r in (1, 2)}
