"""One pass over a file: every byte once, in order, to each that looks; holes cost nothing; the pace is kept."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.formats.digests import Digests
from ckptkit.formats.stream import CHUNK_BYTES, Pace, Span, SpanSink, hole_bytes, read_all


class Kept:
    """A sink that keeps what it is fed."""

    def __init__(self) -> None:
        self.bytes, self.pieces = b"", 0

    def feed(self, chunk: Any) -> None:
        self.bytes += bytes(chunk)
        self.pieces += 1

    def faults(self) -> list[tuple[str, str]]:
        return [("kept", f"{len(self.bytes)}")]


def written(path: Path, content: bytes) -> io.BufferedReader:
    path.write_bytes(content)
    return open(path, "rb")


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_each_byte_is_fed_once_and_in_order(tmp_path: Path, size: int) -> None:
    content, kept, told = os.urandom(size), Kept(), list[int]()
    with written(tmp_path / "file", content) as file:
        assert read_all(file, [kept], Pace(on_read=told.append)) == size
    assert kept.bytes == content and sum(told) == size


def giving(sink: Kept) -> Callable[[], Kept]:
    return lambda: sink


def test_parts_get_their_bytes_wherever_chunks_end(tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 1000)
    edges = [(0, 5), (5, 9), (100, CHUNK_BYTES), (CHUNK_BYTES, CHUNK_BYTES + 1), (CHUNK_BYTES + 3, len(content))]
    sinks = [Kept() for _ in edges]
    parts = SpanSink([Span(begin, end, giving(sink)) for (begin, end), sink in zip(edges, sinks, strict=True)])
    with written(tmp_path / "file", content) as file:
        read_all(file, [parts], Pace())
    assert [sink.bytes for sink in sinks] == [content[begin:end] for begin, end in edges]
    assert len(parts.faults()) == len(edges)


@pytest.mark.parametrize("digest", ["crc32", "sha256"])
def test_holes_count_as_the_zeros_that_they_are_and_are_not_read(tmp_path: Path, digest: str) -> None:
    import hashlib

    path, told = tmp_path / "file", list[int]()
    with open(path, "wb") as file:
        file.write(b"begin")
        file.seek(40 << 20)
        file.write(b"middle")
        file.truncate(90 << 20)
    content = path.read_bytes()
    sink = Digests([digest])
    with open(path, "rb") as file:
        assert hole_bytes(file, len(content)) > 80 << 20
        assert read_all(file, [sink], Pace(on_read=told.append)) == len(content)
    expected = {"crc32": f"{zlib.crc32(content):08x}", "sha256": hashlib.sha256(content).hexdigest()}
    assert sink.values() == {digest: expected[digest]}
    assert sum(told) < 1 << 20


def test_a_file_without_holes_has_none(tmp_path: Path) -> None:
    with written(tmp_path / "file", os.urandom(3 << 20)) as file:
        assert hole_bytes(file, 3 << 20) == 0


def test_a_file_that_shrinks_while_it_is_read_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "file"

    class Cutter(Kept):
        def feed(self, chunk: Any) -> None:
            super().feed(chunk)
            os.truncate(path, CHUNK_BYTES)

    with written(path, os.urandom(4 * CHUNK_BYTES)) as file:
        assert read_all(file, [Cutter()], Pace()) < 4 * CHUNK_BYTES
