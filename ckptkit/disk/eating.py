"""Who eats a volume: the largest directories and files below a path."""

import os
import time

from ckptkit.box import Eater, Eaters
from ckptkit.disk import du, walking
from ckptkit.disk.walking import Row, Told, Walked

SMALLEST_SHARE = 1000  # what takes less than a thousandth of the used bytes eats nobody's disk
SMALLEST_BYTES = 4096
EXPLAINED = 0.9  # a directory that is nearly all one child would only say the same again
SECONDS = 60.0  # a report that comes after the disk is full helps nobody: it then tells what it saw so far


def eaters(root: str, depth: int = 3, top: int = 10, told: Told | None = None, seconds: float = SECONDS) -> Eaters:
    """Given a directory, return the `top` largest directories (down to `depth` below it) and files (at any depth).

    One file system, hard links once, no symlink followed. told: called with bytes seen so far and a path.
    Raises OSError if `root` is no directory.
    """
    root = os.path.realpath(root)
    status = os.statvfs(root)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    smallest = max(SMALLEST_BYTES, used // SMALLEST_SHARE)  # so no more than a thousand rows a level are kept
    until = time.monotonic() + seconds
    walked = du.walk(root, depth, smallest, until, told) or walking.walk(root, depth, smallest, until, told)
    return _largest(root, walked, top)


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
    """The directories that say more than their largest child does."""
    largest: dict[str, int] = {}
    for row in rows:
        parent = os.path.dirname(row.path)
        largest[parent] = max(largest.get(parent, 0), row.allocated_bytes)
    return [r for r in rows if r.directory and largest.get(r.path, 0) < EXPLAINED * r.allocated_bytes]


def _top(rows: list[Row], count: int) -> tuple[Eater, ...]:
    rows = sorted(rows, key=lambda row: (-row.allocated_bytes, row.path))[:count]
    return tuple(Eater(row.path, row.allocated_bytes) for row in rows)
