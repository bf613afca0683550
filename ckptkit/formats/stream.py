"""One pass over a file: each byte is read once, in order, and handed to all that want to look at it.

It leaves the page cache of a running training alone: what was read here is not kept (posix_fadvise(2)).
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from ckptkit.formats import Fault

CHUNK_BYTES = 1 << 20  # stays in the processor's second cache while several look at it
DROP_BYTES = 16 << 20  # how much is read before its pages are given back
LONGEST_SLEEP = 0.5
MOST_FAULTS = 100  # of one file: what is wrong with it is plain by then


class ByteSink(Protocol):
    """Somebody who looks at the bytes as they pass, and says what is wrong at the end."""

    def feed(self, chunk: memoryview) -> None:
        """The next bytes; the memory is used again afterwards."""

    def faults(self) -> list[Fault]:
        """What is wrong with what passed."""


class Pace:
    """How fast to read: `max_rate` in bytes a second (None: no limit). `on_read` is called with each count of bytes."""

    def __init__(self, max_rate: float | None = None, on_read: Callable[[int], None] | None = None) -> None:
        self.max_rate, self.on_read = max_rate, on_read
        self._began, self._read = time.monotonic(), 0

    def spend(self, count: int) -> None:
        """`count` bytes were read: wait until the average is below the limit again."""
        if self.on_read:
            self.on_read(count)
        if self.max_rate:
            self._read += count
            ahead = self._read / self.max_rate - (time.monotonic() - self._began)
            while ahead > 0:  # in short naps: Ctrl-C is heard, and a clock that jumps costs little
                time.sleep(min(ahead, LONGEST_SLEEP))
                ahead = self._read / self.max_rate - (time.monotonic() - self._began)


class Span(NamedTuple):
    """The bytes from `begin` to before `end` of a file, and what makes the sink for them."""

    begin: int
    end: int
    make: Callable[[], ByteSink]


class SpanSink:
    """A sink that hands each part of a file to a sink of its own, which lives no longer than its part passes.

    Parts come in file order and do not overlap; a hundred thousand of them cost no more memory than one.
    """

    def __init__(self, parts: Iterable[Span]) -> None:
        self._parts = iter(parts)
        self._part: Span | None = next(self._parts, None)
        self._sink: ByteSink | None = None
        self._faults: list[Fault] = []
        self._at = 0

    def feed(self, chunk: memoryview) -> None:
        """Cut the chunk at the parts' ends."""
        end = self._at + len(chunk)
        while self._part and self._part.begin < end:
            sink = self._sink = self._sink or self._part.make()
            sink.feed(chunk[max(0, self._part.begin - self._at) : self._part.end - self._at])
            if self._part.end > end:
                break
            self._finish()
        self._at = end

    def _finish(self) -> None:
        if self._sink and len(self._faults) < MOST_FAULTS:
            self._faults += self._sink.faults()
        self._part, self._sink = next(self._parts, None), None

    def faults(self) -> list[Fault]:
        """All parts' faults, in file order. What the file never came to is judged by the nothing that was there."""
        while self._part:
            self._sink = self._sink or self._part.make()
            self._finish()
        return self._faults


def read_all(file: BinaryIO, sinks: Iterable[ByteSink], pace: Pace) -> int:
    """Given an open file, feed all of it to each sink; returns the bytes that it has. Raises OSError.

    Holes are not read: the kernel would fill the page cache with their zeros.
    """
    fd, at = file.fileno(), 0
    readers = list(sinks)
    buffer, zeros = memoryview(bytearray(CHUNK_BYTES)), memoryview(bytes(CHUNK_BYTES))
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    for end, is_data in _extents(fd, os.fstat(fd).st_size):
        while at < end:
            chunk = zeros[: end - at] if not is_data else buffer[: os.preadv(fd, [buffer[: end - at]], at)]
            if not chunk:
                return at  # shorter than it was a moment ago
            for sink in readers:
                sink.feed(chunk)
            at += len(chunk)
            if is_data:
                pace.spend(len(chunk))
                _drop(fd, at)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return at


def _drop(fd: int, at: int) -> None:
    """Give the pages of what was read back, some at a time."""
    if at % DROP_BYTES < CHUNK_BYTES:
        os.posix_fadvise(fd, max(0, at - DROP_BYTES - CHUNK_BYTES), DROP_BYTES + CHUNK_BYTES, os.POSIX_FADV_DONTNEED)


def hole_bytes(file: BinaryIO, size: int) -> int:
    """Given an open file, return how many of its bytes take no block. Raises OSError."""
    begin = holes = 0
    for end, is_data in _extents(file.fileno(), size):
        holes += 0 if is_data else end - begin
        begin = end
    file.seek(0, os.SEEK_END)  # lseek(2) went behind the buffer's back: what it holds is no longer followed by the rest
    return holes


def _extents(fd: int, size: int) -> Iterator[tuple[int, bool]]:
    """(end, whether there is data) for each stretch of a file, by lseek(2). Where that can't tell, all is data."""
    at = 0
    while at < size:
        data = min(_seek(fd, at, os.SEEK_DATA, size), size)
        if data > at:
            yield data, False
        at = size
        if data < size:
            at = max(data + 1, min(_seek(fd, data, os.SEEK_HOLE, size), size))
            yield at, True


def _seek(fd: int, at: int, whence: int, size: int) -> int:
    try:
        return os.lseek(fd, at, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data from here to the end
            return size
        return at if whence == os.SEEK_DATA else size
