"""torch.save's file: a ZIP archive of stored records whose central directory comes last.

ZIP: APPNOTE.TXT 4.3 (end of central directory 4.3.16, its ZIP64 form 4.3.14 and 4.3.15, local headers 4.3.7). Torch
writes it since 1.6 (`caffe2/serialize/inline_container.cc`): records stored without compression, sizes and CRC-32 in
the directory alone (flag bit 3), ZIP64 where needed, a `data.pkl` record. Before that, or with
`_use_new_zipfile_serialization=False`, the file is a bare pickle, which `LEGACY` recognises (torch_legacy.py).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptkit.formats import Fault

END = struct.Struct("<4s4H2LH")  # signature, disks and counts, directory's size and offset, comment length
END_64_LOCATOR = struct.Struct("<4sLQL")
END_64 = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
ZIP = b"PK\x03\x04"
LEGACY = b"\x80"  # pickle's PROTO opcode
LARGEST_COMMENT = 0xFFFF
LARGEST_DIRECTORY_BYTES = 64 << 20
LARGEST_RECORDS = 350_000  # three a parameter, and a hundred bytes each here
SIZES_FOLLOW = 0x8  # flag bit 3: the local header leaves CRC and sizes to the directory
IN_64 = 0xFFFFFFFF
MOST_PLAIN = (0xFFFF, IN_64, IN_64)  # records, bytes, offset: "see the ZIP64 end"


class Record(NamedTuple):
    """One record as the central directory lists it."""

    name: bytes
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    header_at: int


class Directory:
    """A central directory that was looked through: it makes its records when they are asked for, at the full level."""

    def __init__(self, raw: bytes = b"", count: int = 0) -> None:
        self.raw, self.count = raw, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, self.offsets())

    def offsets(self) -> Iterator[int]:
        """Where in the directory each record's entry begins."""
        at = 0
        for _ in range(self.count):
            yield at
            name_length, extra_length, comment_length = ENTRY.unpack_from(self.raw, at)[10:13]
            at += ENTRY.size + name_length + extra_length + comment_length

    def record(self, at: int) -> Record:
        """The record of the entry that begins there."""
        fields = ENTRY.unpack_from(self.raw, at)
        name_at, extra_at = at + ENTRY.size, at + ENTRY.size + fields[10]
        sizes = _with_64(fields[8], fields[9], fields[16], self.raw[extra_at : extra_at + fields[11]])
        return Record(self.raw[name_at:extra_at], fields[3], fields[4], fields[7], *sizes)


NOTHING = Directory()


def faults(file: BinaryIO, size: int) -> tuple[list[Fault], int]:
    """Given an open file and its size in bytes, return ((code, message) for each fault, bytes read).

    Reads the end and the central directory only: no record is read, nothing is unpickled. Raises OSError.
    """
    faults, count, _ = read(file, size)
    return faults, count


def read(file: BinaryIO, size: int) -> tuple[list[Fault], int, Directory]:
    """As `faults`, with the directory; an empty one if it is a legacy file."""
    if size == 0:
        return [("empty", "0 bytes")], 0, NOTHING
    start = file.read(len(ZIP))
    if start.startswith(LEGACY):
        return [], len(start), NOTHING
    if start == b"\0" * len(start):
        return [("zeroed-header", "starts with zeros: its beginning never reached the disk")], len(start), NOTHING
    if len(start) < len(ZIP) and ZIP.startswith(start):
        return [("truncated", "is cut off (its end is missing)")], len(start), NOTHING
    if start != ZIP:
        return [("bad-header", "neither a ZIP archive nor a pickle, so torch did not write it")], len(start), NOTHING
    return _directory(file, size)


def _directory(file: BinaryIO, size: int) -> tuple[list[Fault], int, Directory]:
    tail_bytes = min(size, END.size + LARGEST_COMMENT)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < END.size:
        return [("truncated", "is cut off (its end is missing)")], tail_bytes, NOTHING
    end_at = size - tail_bytes + at
    _, _, _, _, count, length, offset, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail):
        return [("bad-directory", "bytes after the archive's end")], tail_bytes, NOTHING
    ends = _one_end(file, end_at, (count, length, offset))
    if ends is None:
        return [("bad-directory", "the archive's two ends tell of two directories")], tail_bytes, NOTHING
    count, length, offset = ends
    if length > LARGEST_DIRECTORY_BYTES or count > LARGEST_RECORDS:
        return [("too-large", f"a directory of {count:,} records, more than are looked at")], tail_bytes, NOTHING
    if offset + length > end_at:
        return [("bad-directory", "the archive's directory points outside of the file")], tail_bytes, NOTHING
    file.seek(offset)
    directory = Directory(file.read(length), count)
    faults = _listed(directory.raw, count, offset)
    return faults, tail_bytes + length, NOTHING if faults else directory


def _one_end(file: BinaryIO, end_at: int, plain: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Return (records, directory's bytes, its offset), None if a ZIP64 end before the plain one tells of another.

    Torch's reader goes by a ZIP64 end wherever a locator names one, also where the plain fields need none: an archive
    with two directories would be judged by one and loaded by the other.
    """
    if end_at < END_64_LOCATOR.size:
        return plain
    file.seek(end_at - END_64_LOCATOR.size)
    signature, _, at, _ = END_64_LOCATOR.unpack(file.read(END_64_LOCATOR.size))
    if signature != b"PK\x06\x07":
        return plain
    if at + END_64.size > end_at - END_64_LOCATOR.size:
        return None
    file.seek(at)
    fields = END_64.unpack(file.read(END_64.size))
    large = (fields[7], fields[8], fields[9])
    agree = all(field in (wide, most) for field, wide, most in zip(plain, large, MOST_PLAIN, strict=True))
    return large if fields[0] == b"PK\x06\x06" and agree else None


def _listed(directory: bytes, count: int, data_end: int) -> list[Fault]:
    """Walk the directory. Nothing is kept of it: at the quick level this is what a checkpoint costs."""
    at, unpack = 0, ENTRY.unpack_from
    for number in range(1, count + 1):
        try:
            fields = unpack(directory, at)
            stored, header_at = fields[8], fields[16]
            if stored == IN_64 or header_at == IN_64 or fields[9] == IN_64:
                extra = directory[at + ENTRY.size + fields[10] : at + ENTRY.size + fields[10] + fields[11]]
                stored, _, header_at = _with_64(stored, fields[9], header_at, extra)
        except (struct.error, ValueError):
            return [("bad-directory", f"lists {number - 1} records, its end says {count}")]
        if fields[0] != b"PK\x01\x02":
            return [("bad-directory", f"record {number} of {count} has no header in the directory")]
        if header_at + LOCAL.size + stored > data_end:
            return [("bad-directory", f"record {number} of {count} reaches past the records' end")]
        at += ENTRY.size + fields[10] + fields[11] + fields[12]
    if at != len(directory):
        return [("bad-directory", f"lists more than {count} records, its end says {count}")]
    return []


def _with_64(stored: int, size: int, header_at: int, extra: bytes) -> tuple[int, int, int]:
    """The sizes, from the ZIP64 extra field (APPNOTE 4.5.3) where the plain ones say so, in its fixed order."""
    if IN_64 not in (stored, size, header_at):
        return stored, size, header_at
    values = _extra_64(extra)
    size = next(values) if size == IN_64 else size
    stored = next(values) if stored == IN_64 else stored
    header_at = next(values) if header_at == IN_64 else header_at
    return stored, size, header_at


def _extra_64(extra: bytes) -> Iterator[int]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            yield from (value for (value,) in struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8]))
        at += 4 + length
    raise ValueError("no ZIP64 field")
