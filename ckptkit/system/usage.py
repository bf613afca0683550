"""Who takes the room of a volume: the largest directories and files below a path. Changes nothing."""

import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ckptkit.errors import NotInstalled
from ckptkit.model.disk import Eater, Eaters
from ckptkit.system import tools

BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's own block is, stat(2)

OPENING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Progress = Callable[[int, str], None]  # called with the bytes seen so far, and where the walk is

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


def walk(root: str, depth: int, smallest: int, until: float = FOREVER, progress: Progress | None = None) -> Walked:
    """Given a directory, return its files of at least `smallest` bytes and directories down to `depth` below it.

    until: on time.monotonic(). What vanishes or changes meanwhile is no error. No symlink is followed. Memory grows
    with the directories down to `depth`, not with the files.
    """
    return _Walk(root, depth, smallest).to_the_end(until, progress)


class _Walk:
    """One walk. `sizes[i]` holds what lies in directory `paths[i]` and below it, but for listed ones inside."""

    def __init__(self, root: str, depth: int, smallest: int) -> None:
        status = os.lstat(root)
        self.device, self.depth, self.smallest = status.st_dev, depth, smallest
        self.paths, self.parents, self.sizes = [root], [0], [_bytes(status)]
        self.pending = [(root, 0, 0)]  # (directory, its depth, the listed directory that it counts for)
        self.bytes_seen = self.sizes[0]  # bytes, for who waits
        self.links: set[int] = set()  # inodes with several names that were counted
        self.files: list[Row] = []
        self.failures: list[str] = []

    def to_the_end(self, until: float, progress: Progress | None) -> Walked:
        """Walk, and sum up."""
        while self.pending and time.monotonic() < until:
            path, level, place = self.pending.pop()
            try:
                self._directory(path, level, place)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                self.failures.append(f"{path}: {error.strerror}")
            if progress:
                progress(self.bytes_seen, path)
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
        self.bytes_seen += size
        if size >= self.smallest:
            self.files.append(Row(os.path.join(parent, entry.name), size, False))

    def _child(self, path: str, status: os.stat_result, level: int, place: int) -> None:
        size = _bytes(status)
        self.bytes_seen += size
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


VANISHED = "No such file or directory"

PIECE_BYTES = 1 << 14


def walk_with_du(
    root: str, depth: int, smallest: int, until: float = FOREVER, progress: Progress | None = None
) -> Walked | None:
    """As `walk`, but None where there is no `du` that can do it, or no sh that calls it."""
    command = ("du", "-xac0", "--block-size=1", f"--threshold={smallest}", "--", root)
    reading, failures = _Reading(root, depth, progress), _Failures()
    try:
        tools.call(
            command, "", until - time.monotonic(), _out=reading.read, _out_bufsize=PIECE_BYTES, _err=failures.read
        )
    except NotInstalled:
        return None
    if reading.total is None and time.monotonic() < until:
        return None  # there is none, or it ended at once: BusyBox has no --threshold
    total = reading.bytes_seen if reading.total is None else reading.total
    return Walked(tuple(reading.rows), total, failures.count, failures.first, reading.total is None)


class _Reading:
    """What `du` says, as it comes: what lies in a directory stands before the directory."""

    def __init__(self, root: str, depth: int, progress: Progress | None) -> None:
        self._progress, self._rest = progress, b""
        self.deepest = root.rstrip("/").count("/") + depth
        self.rows: list[Row] = []
        self.total: int | None = None
        self.bytes_seen = 0
        self._open: list[tuple[str, int]] = []  # seen, and their parent not yet

    def read(self, piece: str) -> None:
        """The next piece: `du -0` ends each record with a NUL, so any name can stand in it."""
        *whole, self._rest = (self._rest + os.fsencode(piece)).split(b"\0")  # a piece may end within a character
        for record in whole:
            size, _, path = record.partition(b"\t")
            self._take(int(size), os.fsdecode(path))
            if self._progress and self.total is None:
                self._progress(self.bytes_seen, os.fsdecode(path))

    def _take(self, size: int, path: str) -> None:
        """The next record: a file, a directory, or the grand total."""
        if path == "total":  # others begin with the root, which is absolute
            self.total = size
            return
        inside = os.path.join(path, "")
        while self._open and self._open[-1][0].startswith(inside):
            self.bytes_seen -= self._open.pop()[1]
        self._open.append((path, size))
        self.bytes_seen += size
        row = _row(path, size)
        if row and not (row.directory and path.rstrip("/").count("/") > self.deepest):
            self.rows.append(row)


def _row(path: str, size: int) -> Row | None:
    try:
        return Row(path, size, stat.S_ISDIR(os.lstat(path).st_mode))
    except OSError:
        return None  # deleted meanwhile


class _Failures:
    """What `du` complains of, counted."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def read(self, line: str) -> None:
        """The next line, behind the program's name and path."""
        complaint = line.strip().partition(": ")[2]
        if complaint.startswith("cannot ") and not complaint.endswith(VANISHED):
            self.count += 1
            self.first = self.first or complaint


SMALLEST_SHARE = 1000  # what takes less than a thousandth of the used bytes eats nobody's disk

SMALLEST_BYTES = 4096

EXPLAINED = 0.9  # a directory that is nearly all one other would only say the same again

SECONDS = 60.0  # a report that comes after the disk is full helps nobody: it then tells what it saw so far


def eaters(
    root: str,
    depth: int = 3,
    top: int = 10,
    progress: Progress | None = None,
    seconds: float = SECONDS,
    runs: Sequence[str] = (),
) -> Eaters:
    """Given a directory, return the `top` largest directories (down to `depth` below it) and files (at any depth).

    One file system, hard links once, no symlink followed. progress: called with the bytes seen so far and a path.
    seconds: after which it tells what it saw so far. runs: what stands beside one of them, or beside a directory above
    it, is listed at any depth: the data set of a training does. Raises OSError if `root` is no directory.
    """
    root = os.path.realpath(root)
    status = os.statvfs(root)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    smallest = max(SMALLEST_BYTES, used // SMALLEST_SHARE)  # so no more than a thousand rows a level are kept
    until = time.monotonic() + seconds
    above = _above(root, runs)
    deepest = max([depth, *(_depth(root, path) + 1 for path in above)])
    walked = walk_with_du(root, deepest, smallest, until, progress) or walk(root, deepest, smallest, until, progress)
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
