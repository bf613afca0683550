"""Tuples that say in a line what they hold: a notebook shows what a function returned, and a page helps nobody."""

from __future__ import annotations

from ckptkit.model.advice import Check
from ckptkit.model.checkpoint import Judged
from ckptkit.units import count

STATES = ("intact", "incomplete", "corrupt", "in_progress", "unknown")


class Verified(tuple[Judged, ...]):
    """Checkpoints, each with its verdict."""

    __slots__ = ()

    def __repr__(self) -> str:
        states = [judged.verdict.state for judged in self]
        counts = [f"{states.count(state)} {state}" for state in STATES if state in states]
        return f"<Verified {count(len(self), 'checkpoint')}: {', '.join(counts)}>"


class Checks(tuple[Check, ...]):
    """The lines of preflight's list."""

    __slots__ = ()

    def __repr__(self) -> str:
        codes = {state: [check.code for check in self if check.state == state] for state in ("no-go", "warn", "go")}
        parts = [f"{state} {', '.join(codes[state])}" for state in ("no-go", "warn") if codes[state]]
        return f"<Checks {'; '.join([*parts, str(len(codes['go'])) + ' go'])}>"
