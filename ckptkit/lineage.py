"""PURE: which checkpoints of a directory are one training's line, and which an earlier one left behind in it."""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.model import Judged


def in_line(intact: Sequence[Judged]) -> list[Judged]:
    """The intact ones from oldest to newest: by step, and what an earlier run left behind before all of the live."""
    stale = stale_names(intact)
    return sorted(intact, key=lambda j: (j.checkpoint.name not in stale, j.checkpoint.step))


def stale_names(intact: Sequence[Judged]) -> frozenset[str]:
    """Names of those that an earlier run left in a reused directory: they never outrank the live run's.

    One is stale if a lower step was saved after it and their logged losses do not show one history. Losses decide
    before clocks do: a copied directory has new times in any order, but one history. A stale one proves nothing itself.
    """
    live: list[Judged] = []
    for older in sorted(intact, key=lambda j: j.checkpoint.step):
        if not any(saved_at(newer) > saved_at(older) and not _one_history(newer, older) for newer in live):
            live.append(older)
    return frozenset(j.checkpoint.name for j in intact) - {j.checkpoint.name for j in live}


def _one_history(earlier_step: Judged, later_step: Judged) -> bool:
    """Whether all losses that the earlier step logged stand in the later one's log too. No loss logged: no."""
    first, second = earlier_step.verdict.trainer_state, later_step.verdict.trainer_state
    if first is None or second is None or not first.history:
        return False
    return second.history[: len(first.history)] == first.history


def saved_at(judged: Judged) -> float:
    """When it was written: the state's own mtime, not the directory's, which any file added later makes new."""
    state = judged.verdict.trainer_state
    return state.saved_at if state else judged.checkpoint.modified_at
