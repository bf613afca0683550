"""When the names of a run's checkpoints, in the order of text, no longer stand in the order of their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST = 10**15
KEPT = 2  # by who deletes by himself; more only delays it
USUAL = (9_000, 10_000)  # where it shows in a run that saves each 1,000 steps


def first_swap(standing: Sequence[int], every: int, last: int) -> tuple[int, int] | None:
    """Return the first save whose name comes before those of the two saves before it, after the one before; or None.

    Whoever keeps the last two in the order of text deletes that save as soon as it is made. standing: the steps of the
    checkpoints that are there. every: steps between two saves; last: the last step of the training; 0 if not known.
    """
    if not every:
        return None if last and last < USUAL[1] else USUAL
    for before, after in _around_powers(standing, every, last or LARGEST):
        if len(before) == KEPT and all(str(after) < str(step) for step in before):
            return before[-1], after
    return None


def _around_powers(standing: Sequence[int], every: int, last: int) -> Iterator[tuple[list[int], int]]:
    """The last two saves before each power of ten, and the first one from there on."""
    newest, power = max(standing, default=0), 10
    while power <= last:
        until = (power - 1) // every * every
        coming = [step for step in (until - every, until) if step > newest]
        first = max(-(-power // every), newest // every + 1) * every
        after = [step for step in standing if step >= power] + ([first] if first <= last else [])
        if after:
            yield sorted([step for step in standing if step < power] + coming)[-KEPT:], min(after)
        power *= 10
