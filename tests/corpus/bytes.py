"""What is done to a file, with its times left as they were: a rotting disk tells nobody."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096


@contextmanager
def same_times(path: Path) -> Iterator[None]:
    """Whatever happens to the file, its times stay."""
    status = path.stat()
    yield
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Put what `change` makes of the content in its place."""
    with same_times(path):
        path.write_bytes(change(path.read_bytes()))


def cut(path: Path, keep: int) -> None:
    """Keep the first bytes; a negative number takes as many from the end."""
    with same_times(path):
        os.truncate(path, keep if keep >= 0 else path.stat().st_size + keep)


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of the byte at `at`."""
    rewrite(path, lambda raw: raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])


def zero(path: Path, begin: int) -> None:
    """Zeros from `begin` to the end, really written."""
    rewrite(path, lambda raw: raw[:begin] + bytes(len(raw) - begin))


def punch(path: Path, begin: int) -> None:
    """Zeros from `begin` to the end, as a hole."""
    size = path.stat().st_size
    with same_times(path):
        os.truncate(path, begin)
        os.truncate(path, size)


def page_within(path: Path, fraction: float) -> int:
    """The start of the page in which that part of the file ends."""
    return int(path.stat().st_size * fraction) // PAGE * PAGE


def put(path: Path, begin: int, content: bytes) -> None:
    """Other bytes in place of those from `begin` on."""
    rewrite(path, lambda raw: raw[:begin] + content + raw[begin + len(content) :])
