"""One trial: a fresh run, one sabotage, and what did not hold after it."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tests.faults.stage import Stage, free_bytes, told_freed, tree
from tests.faults.tracing import Call, Ended, Lane, hit

SEED = int(os.environ.get("CKPTKIT_SEED", "5"))
T = TypeVar("T")
# How SQLite names what the disk told it.
SQLITE = ("disk I/O error", "disk is full", "readonly database", "unable to open database file", "not a database")


def chosen(points: Sequence[T], key: Callable[[T], object], most: int, exhaustive: bool) -> list[T]:
    """All points, or of each key's the first, and then others at random until there are `most`."""
    if exhaustive:
        return list(points)
    firsts = list({key(point): point for point in reversed(points)}.values())
    rest = [point for point in points if point not in firsts]
    return firsts + random.Random(SEED).sample(rest, min(len(rest), max(0, most - len(firsts))))


def killed(stage: Stage, lane: Lane, call: Call, moment: str) -> Iterator[str]:
    """SIGKILL before the call or after it: yields each promise that is broken then, or that a second run breaks."""
    stage.reset()
    trial = stage.command.killed_before if moment == "before" else stage.command.killed_after
    ended = trial(lane, call)
    line = hit(ended, call)
    if ended.code != 137 or not line or line.endswith("= ?") != (moment == "before"):
        yield f"the trial itself failed: exit {ended.code}, {line or ended.log[-300:]!r}"
    yield from stage.faults()
    again = stage.plainly()
    if again.code not in stage.end.codes or not stage.done():
        yield f"a second run exits {again.code} and {_difference(stage)}: {again.err}"
    yield from (f"after a second run: {fault}" for fault in stage.faults())


def failed(stage: Stage, lane: Lane, call: Call, error: str, word: str, ever: bool) -> Iterator[str]:
    """The call fails with the error, which reads `word`: yields each promise that is broken then."""
    stage.reset()
    ended = stage.command.failing(lane, call, error, ever)
    measured = free_bytes(stage.volume) - stage.free
    if not hit(ended, call):
        yield f"the trial itself failed: exit {ended.code}, {ended.log[-300:]!r}"
    yield from stage.faults()
    freed = told_freed(ended)
    if freed is not None and freed != max(0, measured) and "can't be measured" not in ended.out:
        yield f"{freed} bytes are told as freed, the volume gained {measured}"
    yield from _told(stage, ended, word)


def _told(stage: Stage, ended: Ended, word: str) -> Iterator[str]:
    """Never exit 0 with work undone, no traceback, and whoever reads it learns which error it was."""
    said = ended.out + ended.err
    words = (word, *(SQLITE if stage.subject.record else ()))
    if "Traceback" in said or "unexpected" in said:
        yield f"exit {ended.code} with a traceback: {ended.err[-600:]}"
    if ended.code == 0 and not stage.done() and not (stage.subject.tells and _any(words, said)):
        yield f"exit 0 and {_difference(stage)}: {ended.err}"
    if ended.code != stage.end.code and not _any(words, said):
        yield f"exit {ended.code}, and the error is not named: {said}"


def _any(words: Sequence[str], said: str) -> bool:
    return any(word in said for word in words)


def _difference(stage: Stage) -> str:
    """What of the work is not done, for a person who reads why a trial failed."""
    now, wanted = tree(stage.run), stage.end.tree
    odd = sorted(name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name))
    return f"{odd[:6]} are not as they should be" if odd else "the run is as it should be"
