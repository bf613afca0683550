"""What torch.save wrote before 1.6, and bare pickles. Nothing is unpickled, and no member of a tar is extracted.

Formats, all from `torch/serialization.py`:
- `_legacy_save` (`_use_new_zipfile_serialization=False`): five pickles in a row (magic number, protocol version, system
  information, the object, the sorted list of its storages' keys), then for each key its number of elements as a
  little-endian int64 and its bytes, without a hole. How wide an element is, the object's persistent ids tell.
- `legacy_load` (torch 0.1, 2016): a tar of `sys_info`, `pickle`, `storages` (a count; for each a pickled (key,
  location, type), an int64 and bytes; then pickled views), `tensors` (a count; for each a pickled (key, storage, type)
  and a layout).
- one bare pickle, as `pickle.dump` writes it.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from ckptkit.formats import Fault
from ckptkit.formats.inert import OPAQUE, Global, InertCall, Persistent
from ckptkit.formats.pickles import LARGEST_BYTES, Scan, scan, scan_stream

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
PICKLES = 5
PIECE_BYTES = 4096  # holds the first two pickles, or one of a tar's small ones
FIRST_BYTES = 1 << 20  # of the five pickles; four times as much is read as long as they go on
COUNT = struct.Struct("<q")
BLOCK = 512
MEMBERS = frozenset({"sys_info", "storages", "tensors", "pickle"})
MOST_MEMBERS = 16  # pax headers included
MOST_ENTRIES = 100_000
WIDTHS = {
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4", "storage.Untyped"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}


def faults(file: BinaryIO, size: int, full: bool, trust: Sequence[str] = ()) -> tuple[list[Fault], int]:
    """Given an open file and its size, return ((code, message) for each fault, bytes read). trust: as in `scan`.

    Not full: the start, and the last byte of a bare pickle. Full: every pickle, and whether the storages' bytes add up
    to the file's; the storages themselves, which have no checksum, are stepped over. Raises OSError.
    """
    start = _at(file, 0, min(size, PIECE_BYTES))
    if not start:
        return [("empty", "0 bytes")], 0
    if start == b"\0" * len(start):
        return [("zeroed-header", "starts with zeros: its beginning never reached the disk")], len(start)
    if start[257:262] == b"ustar":
        return _tar_faults(file, size, full, trust)
    scans, _ = scan_stream(start, 2)
    if scans[0].value != MAGIC:
        return _bare_faults(file, size, full, start, trust)
    if len(scans) == 2 and scans[1].value != PROTOCOL and not scans[1].faults:
        # Only a number is shown: the text of a value that holds itself many times over would not end.
        version = scans[1].value if type(scans[1].value) is int else "that is no number"
        return [("bad-header", f"is of a protocol version {version}, torch knows {PROTOCOL}")], len(start)
    if not full:
        return (scans[-1].faults if size <= len(start) else []), len(start)
    return _legacy_faults(file, size, trust)


def _bare_faults(file: BinaryIO, size: int, full: bool, start: bytes, trust: Sequence[str]) -> tuple[list[Fault], int]:
    if start[:1] != b"\x80":
        return [("bad-header", "neither a ZIP archive, a tar, nor a pickle, so torch did not write it")], len(start)
    if full and size <= LARGEST_BYTES:
        return scan(_at(file, 0, size), trust).faults, size
    if _at(file, size - 1, 1) != b".":
        return [("truncated", "a pickle whose last byte does not end it")], len(start) + 1
    return ([("too-large", f"a pickle of {size} bytes, {LARGEST_BYTES} can be judged")] if full else []), len(start) + 1


def _legacy_faults(file: BinaryIO, size: int, trust: Sequence[str]) -> tuple[list[Fault], int]:
    scans, end, read = _pickles(file, size, trust)
    faults = [fault for scan in scans for fault in scan.faults]
    keys = scans[-1].value
    if len(scans) < PICKLES or type(keys) is not list:
        return faults or [("bad-pickle", "its fifth pickle is not a list of keys")], read
    if scans[3].value is not OPAQUE:  # too large to keep: without the widths the storages can't be stepped over
        faults += _storage_faults(file, size, end, keys, _storages(scans[3].value))
    return faults, read + COUNT.size * len(keys)


def _pickles(file: BinaryIO, size: int, trust: Sequence[str]) -> tuple[list[Scan], int, int]:
    """Return what the five pickles say, where they end, and how much of the file it took to know."""
    length, read = min(size, FIRST_BYTES), 0
    while True:
        raw = _at(file, 0, length)
        scans, end = scan_stream(raw, PICKLES, trust=trust)
        read += len(raw)
        if length in (size, LARGEST_BYTES) or all(code != "truncated" for code, _ in scans[-1].faults):
            return scans, end, read
        length = min(size, LARGEST_BYTES, 4 * length)


def _storage_faults(
    file: BinaryIO, size: int, at: int, keys: list[Any], known: dict[Any, tuple[int, int] | None]
) -> list[Fault]:
    for number, key in enumerate(keys, 1):
        elements = _count(file, at)
        if elements is None:
            return [("truncated", f"{size} bytes, storage {number} of {len(keys)} is missing")]
        if type(key) is not str or key not in known:
            return [("bad-storage", f"storage {number} of {len(keys)} belongs to no tensor")]
        if (expected := known[key]) is None:
            return []  # of a type unknown here
        if elements != expected[0]:
            return [("bad-storage", f"storage {number} has {elements} elements, its tensor asks for {expected[0]}")]
        at += COUNT.size + elements * expected[1]
        if at > size:
            return [("truncated", f"{size} bytes, storage {number} of {len(keys)} ends at {at}")]
    return [("trailing-bytes", f"{size - at} bytes after the last storage")] if at < size else []


def _storages(value: Any) -> dict[Any, tuple[int, int] | None]:
    """Given an object's inert value, return each storage's (elements, bytes of one), None where that is not clear."""
    sizes: dict[Any, tuple[int, int] | None] = {}
    for id_ in _persistent_ids(value):
        if type(id_) is tuple and len(id_) == 6 and id_[0] == "storage" and type(id_[2]) is str:
            width = _width(id_[1])
            entry = (id_[4], width) if width and type(id_[4]) is int and id_[4] >= 0 else None
            sizes[id_[2]] = entry if sizes.get(id_[2], entry) == entry else None
    return sizes


def _persistent_ids(root: Any) -> Iterator[Any]:
    """Walk an inert value, each part once, since it may hold itself."""
    waiting, visited = [root], {id(root)}
    while waiting:
        value = waiting.pop()
        if type(value) is Persistent:
            yield value.id
        for part in _parts(value):
            if type(part) in (dict, list, tuple, InertCall, Persistent) and id(part) not in visited:
                visited.add(id(part))
                waiting.append(part)


def _parts(value: Any) -> list[Any]:
    if type(value) is dict:
        return list(value.values())
    if type(value) is InertCall:
        return [value.function, value.arguments, value.state]
    return list(value) if type(value) in (list, tuple) else []


def _width(type_: Any) -> int:
    """Given a storage's type, as `torch.cuda.FloatStorage`, return an element's bytes, 0 if it is unknown."""
    if type(type_) is not Global:
        return 0
    return WIDTHS.get(type_.name.removeprefix("torch.").removeprefix("cuda.").removesuffix("Storage"), 0)


# -- tar --------------------------------------------------------------------------------------------------------------


def _tar_faults(file: BinaryIO, size: int, full: bool, trust: Sequence[str]) -> tuple[list[Fault], int]:
    members: dict[str, tuple[int, int]] = {}
    at, blocks = 0, 0
    while any(header := _at(file, at, BLOCK)):
        blocks += 1
        length = _octal(header[124:136])
        if (
            blocks > MOST_MEMBERS
            or len(header) < BLOCK
            or length is None
            or _octal(header[148:156]) != _checksum(header)
        ):
            return [("bad-header", f"member {blocks} of the tar has no whole header")], blocks * BLOCK
        name, at = header[:100].split(b"\0")[0].decode("latin1"), at + BLOCK
        if header[156:157] not in b"xgL":
            if name not in MEMBERS or name in members or header[156:157] not in b"0\0":
                return [("bad-member", f"member {name[:60]!r} is none that torch wrote")], blocks * BLOCK
            members[name] = at, length
        at += -(-length // BLOCK) * BLOCK
    if at >= size or members.keys() != MEMBERS:
        return [("truncated", f"{size} bytes, and the tar's end is not among them")], blocks * BLOCK
    return ([], blocks * BLOCK) if not full else _member_faults(file, members, trust)


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else None


def _checksum(header: bytes) -> int:
    return sum(header) - sum(header[148:156]) + 8 * ord(" ")


def _member_faults(
    file: BinaryIO, members: dict[str, tuple[int, int]], trust: Sequence[str]
) -> tuple[list[Fault], int]:
    faults: list[Fault] = []
    read = 0
    for name in ("sys_info", "pickle"):
        begin, length = members[name]
        raw = _at(file, begin, min(length, LARGEST_BYTES + 1))
        faults += scan(raw, trust).faults
        read += len(raw)
    for name in ("storages", "tensors"):
        begin, length = members[name]
        faults += _entry_faults(file, begin, begin + length, name)
    return faults, read


def _entry_faults(file: BinaryIO, at: int, end: int, name: str) -> list[Fault]:
    """Step through `storages` or `tensors`: a pickled count, then as many pickles with bytes after each."""
    scans, at = _small(file, at, end)
    left, faults = scans.value, scans.faults
    if faults or type(left) is not int:
        return faults or [("bad-pickle", f"{name} begins without a count")]
    if left > MOST_ENTRIES:
        return [("too-large", f"{name} claims {left} entries")]
    while left > 0:
        scans, at = _small(file, at, end)
        if scans.faults:
            return scans.faults
        at += _bytes_after(file, at, name, scans.value)
        left -= 1
        if at > end:
            return [("truncated", f"{name} ends within an entry")]
    if name == "storages":
        scans, at = _small(file, at, end, LARGEST_BYTES)
        return scans.faults or ([("trailing-bytes", f"{end - at} bytes after the storages")] if at < end else [])
    return [("trailing-bytes", f"{end - at} bytes after the tensors")] if at < end else []


def _small(file: BinaryIO, at: int, end: int, longest: int = PIECE_BYTES) -> tuple[Scan, int]:
    scans, length = scan_stream(_at(file, at, min(longest, end - at)), 1)
    return scans[0], at + length


def _bytes_after(file: BinaryIO, at: int, name: str, entry: Any) -> int:
    """Given where an entry's pickle ended, return how many bytes follow: a storage's own, or a tensor's layout."""
    if name == "tensors":
        dimensions = int.from_bytes(_at(file, at, 4), "little")
        return 8 + 16 * dimensions + 8
    elements = _count(file, at) or 0
    return COUNT.size + max(elements, 0) * (_width(entry[2]) if type(entry) is tuple and len(entry) == 3 else 0)


def _count(file: BinaryIO, at: int) -> int | None:
    """The number of elements at `at`, or None if it is not there."""
    raw = _at(file, at, COUNT.size)
    return COUNT.unpack(raw)[0] if len(raw) == COUNT.size else None


def _at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(max(length, 0))
