"""PURE: go or no-go before a training (re)starts. Each check is one function of what was measured."""

from __future__ import annotations

from ckptkit.checks import room, run, settings
from ckptkit.checks.facts import Facts, Place, Session
from ckptkit.model.advice import Check

EACH = (
    room.volume,
    room.inodes,
    room.probe,
    room.headroom,
    room.places,
    run.checkpoints,
    run.resume,
    run.unknown,
    run.trackers,
    run.best,
    settings.misspelt,
    settings.config,
    settings.cleanup,
    run.clock,
    run.second,
    run.watcher,
    run.session,
)


def checks(facts: Facts) -> tuple[Check, ...]:
    """Given what was measured, return every check in the order of reading."""
    return tuple(check for one in EACH for check in one(facts))


def is_go(made: tuple[Check, ...]) -> bool:
    """Whether nothing stands against a start."""
    return all(check.state != "no-go" for check in made)


__all__ = ["Facts", "Place", "Session", "checks", "is_go"]
