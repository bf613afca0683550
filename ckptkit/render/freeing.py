"""What could be freed, and how much each way would free: the first thing that a person with a full disk wants."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckptkit.calling import command as command_of
from ckptkit.model.disk import Cache
from ckptkit.model.report import Box
from ckptkit.units import count, human

DEBRIS = ("torn-save", "core-dump", "leftover", "hf-hub-incomplete")  # kinds of caches that help nobody
SMALLEST_BYTES = 10**6  # of a file that was deleted and is open: less is not why a disk is full


class WayToFree(NamedTuple):
    """One way: what, on which volume, the bytes, and the command, "" where there are several.

    prunes: whether it deletes checkpoints that the rules release.
    """

    what: str
    mount: str
    bytes: int
    command: str = ""
    prunes: bool = False


def savings(box: Box) -> list[WayToFree]:
    """Given what was found, return each way to free something, largest first. No byte is counted twice."""
    ways = [*_checkpoints(box), *_caches(box), *_open(box)]
    return sorted((way for way in ways if way.bytes), key=lambda way: (-way.bytes, way.what))


def sentence(box: Box) -> str:
    """Given what was found, return the sum and each way to free something in a sentence; "" if there is none."""
    ways = savings(box)
    mounts = {way.mount for way in ways}
    parts = [f"{way.what}{f' on {way.mount}' if len(mounts) > 1 else ''} ({human(way.bytes)})" for way in ways]
    total = human(sum(way.bytes for way in ways))
    return f"{total} could be freed: {', '.join(parts)}" if ways else ""


def _checkpoints(box: Box) -> Iterator[WayToFree]:
    for plan in box.plans:
        gone = sum(decision.checkpoint.allocated_bytes for decision in plan.deletions)
        command = command_of("prune", plan.run, "--dry-run")
        name = f" of {os.path.basename(plan.run)}" if len(box.plans) > 1 else ""
        prune = f"prune {count(len(plan.deletions), 'checkpoint')}{name}"
        yield WayToFree(prune, _mount_of(plan.run, box), gone, command, prunes=True)
        left = plan.expected_freed_bytes - gone
        yield WayToFree(f"leftovers of a killed sweep{name}", _mount_of(plan.run, box), left, command)


def _mount_of(path: str, box: Box) -> str:
    """The volume that a path lies on: the one with the longest mount point above it."""
    above = [v.mount for v in box.volumes if path == v.mount or path.startswith(v.mount.rstrip("/") + "/")]
    return max(above, key=len, default="")


def _caches(box: Box) -> Iterator[WayToFree]:
    """One for each volume and sort; what lies in another one of them, or in what prune takes, counts there."""
    taken = [decision.checkpoint.path for plan in box.plans for decision in plan.deletions]
    taken += [left.path for plan in box.plans for left in plan.leftovers]
    alone = [c for c in box.caches if not _within(c.path, [*taken, *(o.path for o in box.caches if o is not c)])]
    alone = [c for c in alone if c.path not in taken]
    for words, sort in (("caches", False), ("leftovers of torn saves, downloads and crashes", True)):
        for mount in dict.fromkeys(cache.mount for cache in alone):
            here = [c for c in alone if c.mount == mount and (c.kind in DEBRIS) == sort]
            yield WayToFree(words, mount, sum(c.allocated_bytes for c in here), _only(here))


def _within(path: str, places: Sequence[str]) -> bool:
    return any(path.startswith(place + "/") for place in places)


def _only(caches: Sequence[Cache]) -> str:
    return caches[0].command if len(caches) == 1 else ""


def _open(box: Box) -> Iterator[WayToFree]:
    for mount in dict.fromkeys(file.mount for file in box.open_deleted):
        here = [file for file in box.open_deleted if file.mount == mount]
        size = sum(file.allocated_bytes for file in here)
        command = here[0].command if len(here) == 1 else ""
        yield WayToFree("deleted files that are still open", mount, size if size >= SMALLEST_BYTES else 0, command)
