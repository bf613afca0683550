"""SIGKILL before and after each call that changes the run or the state: what stays is whole, and a rerun ends the same.

Before: the call has no effect. After: it has, and nothing later has. strace's log proves both, for each trial.
"""

from collections.abc import Callable

import pytest

from tests.faults.conftest import Tally
from tests.faults.stage import Stage
from tests.faults.subjects import SUBJECTS
from tests.faults.trials import SEED, chosen, killed

MOST = 6  # points of a subject in the sample

pytestmark = pytest.mark.mounts


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_stays_survives_every_kill_point_and_a_rerun_ends_the_same(
    name: str, staged: Callable[..., Stage], tally: Tally, exhaustive: bool
) -> None:
    stage = staged(name)
    calls = [(lane, call) for lane in stage.command.lanes(stage.afresh()) for call in lane.calls if call.changes]
    assert calls, "strace saw no call that changes anything"
    points = [(lane, call, moment) for lane, call in calls for moment in ("before", "after")]
    for lane, call, moment in chosen(points, lambda point: point[1].removes, MOST, exhaustive):
        tally.ran(f"kill points: {name}")
        for fault in killed(stage, lane, call, moment):
            tally.violation(f"kill points: {name}", f"{moment} {call.told} (no. {call.number}, seed {SEED}): {fault}")
