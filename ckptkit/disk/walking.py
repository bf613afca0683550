"""A walk over one file system with the standard library alone: where there is no GNU `du`, and for single caches.

Each directory is opened once and its entries are asked through its descriptor: a path would be resolved anew for each
file, which costs a third of the time in a tree of a million.
"""

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's own block is, stat(2)
OPENING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Told = Callable[[int, str], None]  # called with the bytes seen so far, and where the walk is
FOREVER = float("inf")


class Row(NamedTuple):
    """A file or directory that is large enough to be told of."""

    path: str
    allocated_bytes: int
    directory: bool


class Walked(NamedTuple):
    """What a walk saw: rows in no order, all bytes, what it could not list, and whether the time was over before."""

    rows: tuple[Row, ...]
    allocated_bytes: int
    unreadable: int = 0
    first_unreadable: str = ""
    unfinished: bool = False


def size_of(path: str, until: float = FOREVER) -> tuple[int, bool]:
    """Given a file or directory, return the bytes allocated at and below it, and whether there may be more.

    until: on time.monotonic(). What is gone takes 0 bytes.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            return _bytes(status), False
        walked = walk(path, 0, 1 << 62, until)
        return walked.allocated_bytes, walked.unfinished
    except OSError:
        return 0, False


def walk(root: str, depth: int, smallest: int, until: float = FOREVER, told: Told | None = None) -> Walked:
    """Given a directory, return its files of at least `smallest` bytes and directories down to `depth` below it.

    until: on time.monotonic(). What vanishes or changes meanwhile is no error. No symlink is followed. Memory grows
    with the directories down to `depth`, not with the files.
    """
    return _Walk(root, depth, smallest).to_the_end(until, told)


class _Walk:
    """One walk. `sizes[i]` holds what lies in directory `paths[i]` and below it, but for listed ones inside."""

    def __init__(self, root: str, depth: int, smallest: int) -> None:
        status = os.lstat(root)
        self.device, self.depth, self.smallest = status.st_dev, depth, smallest
        self.paths, self.parents, self.sizes = [root], [0], [_bytes(status)]
        self.pending = [(root, 0, 0)]  # (directory, its depth, the listed directory that it counts for)
        self.seen = self.sizes[0]  # bytes, for who waits
        self.links: set[int] = set()  # inodes with several names that were counted
        self.files: list[Row] = []
        self.failures: list[str] = []

    def to_the_end(self, until: float, told: Told | None) -> Walked:
        """Walk, and sum up."""
        while self.pending and time.monotonic() < until:
            path, level, place = self.pending.pop()
            try:
                self._directory(path, level, place)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                self.failures.append(f"{path}: {error.strerror}")
            if told:
                told(self.seen, path)
        return self._summed()

    def _directory(self, path: str, level: int, place: int) -> None:
        fd = os.open(path, OPENING)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        self._entry(path, entry, level, place)
                    except FileNotFoundError:
                        continue
        finally:
            os.close(fd)

    def _entry(self, parent: str, entry: "os.DirEntry[str]", level: int, place: int) -> None:
        status = entry.stat(follow_symlinks=False)
        if status.st_dev != self.device:
            return  # another file system is mounted here
        if stat.S_ISDIR(status.st_mode):
            self._child(os.path.join(parent, entry.name), status, level + 1, place)
            return
        if status.st_nlink > 1:
            if status.st_ino in self.links:
                return
            self.links.add(status.st_ino)
        size = _bytes(status)
        self.sizes[place] += size
        self.seen += size
        if size >= self.smallest:
            self.files.append(Row(os.path.join(parent, entry.name), size, False))

    def _child(self, path: str, status: os.stat_result, level: int, place: int) -> None:
        size = _bytes(status)
        self.seen += size
        if level <= self.depth:
            self.paths.append(path)
            self.parents.append(place)
            self.sizes.append(size)
            place = len(self.paths) - 1
        else:
            self.sizes[place] += size
        self.pending.append((path, level, place))

    def _summed(self) -> Walked:
        for index in range(len(self.sizes) - 1, 0, -1):  # children stand behind their parents
            self.sizes[self.parents[index]] += self.sizes[index]
        sized = zip(self.paths, self.sizes, strict=True)
        rows = [Row(path, size, True) for path, size in sized if size >= self.smallest]
        first = self.failures[0] if self.failures else ""
        return Walked((*rows, *self.files), self.sizes[0], len(self.failures), first, bool(self.pending))


def _bytes(status: os.stat_result) -> int:
    return status.st_blocks * BLOCK_BYTES
