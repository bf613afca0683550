"""Each call that changes the run or the state, or that looks at them, fails with each error, once and for ever."""

import errno
import os
from collections.abc import Callable
from itertools import cycle, product

import pytest

from tests.faults.conftest import Tally
from tests.faults.stage import Stage
from tests.faults.subjects import SUBJECTS
from tests.faults.tracing import Call, Lane
from tests.faults.trials import SEED, chosen, failed

ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EBUSY", "ESTALE", "ENOTEMPTY")
HOW = tuple(product(ERRORS, (False, True)))
# A disk that can't be read says one of these to whoever looks.
SEEN = tuple(product(("EIO", "ESTALE", "EACCES"), (False, True)))
ASKS = ("statfs", "fstatfs")
MOST = 9  # points of a subject in the sample

pytestmark = pytest.mark.mounts


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_error_of_a_change_costs_what_stays_or_passes_for_success(
    name: str, staged: Callable[..., Stage], tally: Tally, exhaustive: bool
) -> None:
    stage = staged(name)
    points = [
        (lane, call, *how)
        for lane in stage.command.lanes(stage.afresh())
        for call in lane.calls if call.changes or call.name in ASKS or call in closing(lane)
        for how in HOW
    ]  # fmt: skip
    assert points, "strace saw no call that changes anything"
    try_each(name, stage, tally, chosen(points, lambda point: point[1].removes, MOST, exhaustive))


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_error_of_a_look_costs_what_stays_or_passes_for_success(
    name: str, staged: Callable[..., Stage], tally: Tally, exhaustive: bool
) -> None:
    """Looks are many: each fails once, in turn with each error, once and for ever."""
    stage = staged(name)
    looks = [(lane, call) for lane in stage.command.lanes(stage.afresh()) for call in lane.calls if is_look(lane, call)]
    turns = {"openat": cycle(HOW)}
    points = [(lane, call, *next(turns.setdefault(call.name, cycle(SEEN)))) for lane, call in looks]
    assert points, "strace saw no call that looks at anything"
    try_each(name, stage, tally, chosen(points, lambda point: point[1].name, MOST, exhaustive))


def is_look(lane: Lane, call: Call) -> bool:
    """What is neither a change, nor a question to the volume, nor the end of a descriptor."""
    return not call.changes and call.name not in (*ASKS, "close")


def closing(lane: Lane) -> list[Call]:
    """The closes of what was written."""
    written = {call.told.partition("<")[2] for call in lane.calls if "write" in call.name}
    return [call for call in lane.calls if call.name == "close" and call.told.partition("<")[2].strip(">") in written]


def try_each(name: str, stage: Stage, tally: Tally, points: list[tuple[Lane, Call, str, bool]]) -> None:
    """Count each trial, and each promise that it breaks."""
    for lane, call, error, ever in points:
        tally.ran(f"error points: {name}")
        word = os.strerror(getattr(errno, error))
        for fault in failed(stage, lane, call, error, word, ever):
            where = f"{error} {'for ever from' if ever else 'once at'} {call.told} (no. {call.number}, seed {SEED})"
            tally.violation(f"error points: {name}", f"{where}: {fault}")
