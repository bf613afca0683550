"""The same walk by GNU `du`, which is in every image that can hold PyTorch.

A stat from Python costs as much again in objects as in the kernel: a tree of a million files takes the walk in
`walking` 1.3 to 1.7 times as long as `du -sx`, and the lock of the interpreter leaves threads no gain. `du` with a
threshold takes hardly longer than without, and says all that is worth telling (`python -m benchmarks.diskreport`).
"""

import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import IO

from ckptkit.disk.walking import FOREVER, Row, Told, Walked

VANISHED = "No such file or directory"
CHUNK_BYTES = 1 << 16


def walk_with_du(root: str, depth: int, smallest: int, until: float = FOREVER, told: Told | None = None) -> Walked | None:
    """As `walk`, but None where there is no `du` that can do it."""
    command = ("du", "-xac0", "--block-size=1", f"--threshold={smallest}", "--", root)
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    except OSError:
        return None
    failures = _Failures(process.stderr)
    watch = threading.Timer(max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX)), process.kill)
    watch.start()
    try:
        reading = _Reading(root, depth)
        for size, path in _records(process.stdout):
            reading.take(size, path)
            if told and reading.total is None:
                told(reading.seen, path)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        failures.thread.join()
    return _walked(reading, failures, until)


def _walked(reading: "_Reading", failures: "_Failures", until: float) -> Walked | None:
    if reading.total is None and time.monotonic() < until:
        return None  # it ended at once: BusyBox has no --threshold
    total = reading.seen if reading.total is None else reading.total
    return Walked(tuple(reading.rows), total, failures.count, failures.first, reading.total is None)


class _Reading:
    """What `du` says, as it comes: what lies in a directory stands before the directory."""

    def __init__(self, root: str, depth: int) -> None:
        self.within = os.path.join(root, "")
        self.deepest = root.rstrip("/").count("/") + depth
        self.rows: list[Row] = []
        self.total: int | None = None
        self.seen = 0
        self._open: list[tuple[str, int]] = []  # seen, and their parent not yet

    def take(self, size: int, path: str) -> None:
        """The next record: a file, a directory, or the grand total."""
        if path == "total":  # others begin with the root, which is absolute
            self.total = size
            return
        inside = os.path.join(path, "")
        while self._open and self._open[-1][0].startswith(inside):
            self.seen -= self._open.pop()[1]
        self._open.append((path, size))
        self.seen += size
        row = _row(path, size)
        if row and not (row.directory and path.rstrip("/").count("/") > self.deepest):
            self.rows.append(row)


def _row(path: str, size: int) -> Row | None:
    try:
        return Row(path, size, stat.S_ISDIR(os.lstat(path).st_mode))
    except OSError:
        return None  # deleted meanwhile


def _records(stream: IO[bytes] | None) -> Iterator[tuple[int, str]]:
    """(bytes, path) of each record: `du -0` ends it with a NUL, so any name can stand in it."""
    rest = b""
    while stream and (chunk := os.read(stream.fileno(), CHUNK_BYTES)):
        *whole, rest = (rest + chunk).split(b"\0")
        for record in whole:
            size, _, path = record.partition(b"\t")
            yield int(size), os.fsdecode(path)


class _Failures:
    """What `du` complains of, counted beside the reading, so that neither pipe fills."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.count, self.first, self.stream = 0, "", stream
        self.thread = threading.Thread(target=self._count)
        self.thread.start()

    def _count(self) -> None:
        for line in self.stream or ():
            said = os.fsdecode(line).strip()
            if said.startswith("du: cannot ") and not said.endswith(VANISHED):
                self.count += 1
                self.first = self.first or said.removeprefix("du: ")
