"""Who eats a volume: the largest directories and files below a path."""

import os
import time
from collections.abc import Sequence

from ckptkit.disk import du, walking
from ckptkit.disk.walking import Row, Told, Walked
from ckptkit.model.disk import Eater, Eaters

SMALLEST_SHARE = 1000  # what takes less than a thousandth of the used bytes eats nobody's disk
SMALLEST_BYTES = 4096
EXPLAINED = 0.9  # a directory that is nearly all one other would only say the same again
SECONDS = 60.0  # a report that comes after the disk is full helps nobody: it then tells what it saw so far


def eaters(
    root: str,
    depth: int = 3,
    top: int = 10,
    told: Told | None = None,
    seconds: float = SECONDS,
    runs: Sequence[str] = (),
) -> Eaters:
    """Given a directory, return the `top` largest directories (down to `depth` below it) and files (at any depth).

    One file system, hard links once, no symlink followed. told: called with bytes seen so far and a path. runs: what
    stands beside one of them, or beside a directory above it, is listed at any depth: the data set of a training does.
    Raises OSError if `root` is no directory.
    """
    root = os.path.realpath(root)
    status = os.statvfs(root)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    smallest = max(SMALLEST_BYTES, used // SMALLEST_SHARE)  # so no more than a thousand rows a level are kept
    until = time.monotonic() + seconds
    above = _above(root, runs)
    deepest = max([depth, *(_depth(root, path) + 1 for path in above)])
    walked = du.walk_with_du(root, deepest, smallest, until, told) or walking.walk(root, deepest, smallest, until, told)
    rows = tuple(r for r in walked.rows if not r.directory or _depth(root, r.path) <= depth or _beside(r.path, above))
    return _largest(root, walked._replace(rows=rows), top)


def _above(root: str, runs: Sequence[str]) -> set[str]:
    """The directories that hold a run at any depth, from the root on."""
    above: set[str] = set()
    for run in runs:
        place = os.path.dirname(os.path.realpath(run))
        while place != root and place.startswith(os.path.join(root, "")):
            above.add(place)
            place = os.path.dirname(place)
    return above


def _beside(path: str, above: set[str]) -> bool:
    return os.path.dirname(path) in above


def _depth(root: str, path: str) -> int:
    return 0 if path == root else os.path.relpath(path, root).count(os.sep) + 1


def _largest(root: str, walked: Walked, top: int) -> Eaters:
    files = [row for row in walked.rows if not row.directory]
    return Eaters(
        root,
        walked.allocated_bytes,
        _top([row for row in _telling(walked.rows) if row.path != root], top),
        _top(files, top),
        walked.unreadable,
        walked.first_unreadable,
        walked.unfinished,
    )


def _telling(rows: tuple[Row, ...]) -> list[Row]:
    """The directories that say more than the largest directory in them does."""
    largest: dict[str, int] = {}
    for row in (row for row in rows if row.directory):
        parent = os.path.dirname(row.path)
        largest[parent] = max(largest.get(parent, 0), row.allocated_bytes)
    return [r for r in rows if r.directory and largest.get(r.path, 0) < EXPLAINED * r.allocated_bytes]


def _top(rows: list[Row], count: int) -> tuple[Eater, ...]:
    rows = sorted(rows, key=lambda row: (-row.allocated_bytes, row.path))[:count]
    return tuple(Eater(row.path, row.allocated_bytes) for row in rows)
