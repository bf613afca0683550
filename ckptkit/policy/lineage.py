"""PURE: which checkpoints of a directory are one training's line, and which are from an earlier run in it.

The order is that of the steps. Only what was logged can show that a higher step is from an earlier run: times alone
can't, since a run that was copied (cp -r, rsync without -t, zip) has new ones in any order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptkit.model.checkpoint import Checkpoint, Judged

# Two runs with the same settings log the same of these at the same step: they can tell runs apart, never show one.
VERSION = re.compile(r"-v[0-9]+(\.ckpt)$")  # Lightning's, of a name that was taken
SCHEDULED = frozenset({"step", "epoch", "learning_rate"})


def kind_of(checkpoint: Checkpoint) -> tuple[str, str]:
    """Its layout and its name without numbers: slots, floor, order and counts hold among those that share both."""
    if checkpoint.single:  # a number that stands alone is part of the name: fold-1.ckpt and fold-2.ckpt are two models
        return checkpoint.layout, re.sub(r"=-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", "=*", VERSION.sub(r"\1", checkpoint.name))
    return checkpoint.layout, re.sub(r"[0-9]+(\.[0-9]+)?", "*", checkpoint.name)


def in_line(intact: Sequence[Judged], earlier: frozenset[str] = frozenset()) -> list[Judged]:
    """The intact ones from oldest to newest: by step, and what is from an earlier run before all of the live.

    earlier: as in `stale_names`.
    """
    stale = stale_names(intact, earlier)
    return sorted(intact, key=lambda j: (j.checkpoint.name not in stale, j.checkpoint.step, j.checkpoint.name))


def stale_names(intact: Sequence[Judged], earlier: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of those that an earlier run left in a reused directory: they never outrank the live run's.

    One is stale if its log contradicts one of lower step that was saved after it. A stale one proves nothing itself,
    nor does one whose times are a copy's. earlier: names of those that are an earlier run's by what the caller knows;
    as long as the live run has none, they are the line.
    """
    known = [j for j in intact if j.checkpoint.name not in earlier]
    if known and len(known) < len(intact):
        return frozenset(j.checkpoint.name for j in intact) - {j.checkpoint.name for j in known} | stale_names(known)
    live: list[Judged] = []
    for older in sorted(intact, key=lambda j: (j.checkpoint.step, j.checkpoint.name)):
        if not any(_later(newer, older) and one_history(newer, older) is False for newer in live):
            live.append(older)
    return frozenset(j.checkpoint.name for j in intact) - {j.checkpoint.name for j in live}


def newest_of_another_history(line: Sequence[Judged], stale: frozenset[str]) -> Judged | None:
    """Given a line, return the newest whose log contradicts the last one's, where no time tells which of them is live.

    So it is in a copy of a directory that two runs used.
    """
    live = [j for j in line if j.checkpoint.name not in stale]
    others = [j for j in live if one_history(j, live[-1]) is False and not _later(live[-1], j)]
    return others[-1] if others else None


def _later(newer: Judged, older: Judged) -> bool:
    """Whether it was saved after the other, as far as its times are its writer's own."""
    return newer.verdict.written_in_order and saved_at(newer) > saved_at(older)


def newest_by_time(line: Sequence[Judged], stale: frozenset[str]) -> Judged | None:
    """Given a line, return the one that may be newer than its last one, although its step is lower; None if none may.

    It was saved last, its times are its writer's own and not a copy's, and the logs of the two have nothing in common
    that would show whether they are of one run.
    """
    live = [j for j in line if j.checkpoint.name not in stale]
    if not live:
        return None
    newest, last = max(live, key=lambda j: (saved_at(j), j.checkpoint.step)), live[-1]
    doubtful = newest is not last and newest.verdict.written_in_order and one_history(newest, last) is None
    return newest if doubtful else None


def diverged_names(intact: Sequence[Judged], stale: frozenset[str]) -> frozenset[str]:
    """Names of those in which a weight became NaN or Inf that an earlier one of the same kind and run had finite."""
    looked_at = [
        (kind_of(j.checkpoint), j.checkpoint, frozenset(j.verdict.nonfinite))
        for j in intact
        if j.checkpoint.name not in stale and j.verdict.nonfinite is not None
    ]
    return frozenset(
        later.name
        for kind, later, bad in looked_at
        if any(of == kind and earlier.step < later.step and bad - known for of, earlier, known in looked_at)
    )


def one_history(one: Judged, other: Judged) -> bool | None:
    """Whether the logs of two checkpoints show one history. False: they show two. None: they have nothing in common.

    Two contradict each other if they logged different values for the same step and key. That one has lines which the
    other lacks says nothing: it was saved later, or a callback trims the log.
    """
    if kind_of(one.checkpoint) != kind_of(other.checkpoint):
        return None
    first, second = _history(one), _history(other)
    shown: bool | None = None
    for step in first.keys() & second.keys():
        if shown and first[step] == second[step]:  # nearly all: thousands of lines need no look at each number
            continue
        for key, value in first[step].items():
            same = _same(value, second[step].get(key))
            if same is False:
                return False
            if same and key not in SCHEDULED:
                shown = True
    return shown


def _same(value: object, other: object) -> bool | None:
    """None if one of them is not a number. No NaN equals another, yet a log that holds one is the same log."""
    if not isinstance(value, (int, float)) or not isinstance(other, (int, float)):
        return None
    return value == other or (value != value and other != other)


def _history(judged: Judged) -> Mapping[int, Mapping[str, object]]:
    state = judged.verdict.trainer_state
    return state.history if state else {}


def saved_at(judged: Judged) -> float:
    """When it was written: the state's own mtime, not the directory's, which any file added later makes new."""
    state = judged.verdict.trainer_state
    return state.saved_at if state else judged.checkpoint.modified_at
