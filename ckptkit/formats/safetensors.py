"""safetensors: 8 bytes little-endian header length, JSON header, then the tensors' bytes without a hole.

Format and its limits: the safetensors project's README ("Format") and `safetensors/src/tensor.rs` (100 MB header,
offsets contiguous from 0 to the end of the file, each tensor as long as its dtype and shape say).
"""

from __future__ import annotations

import sys
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ckptkit.formats import Fault, bounded
from ckptkit.formats.bounded import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 100_000_000
MOST_TENSORS, PARTS_A_TENSOR = 110_000, 9
MOST_DIMENSIONS = 64  # torch's and numpy's own bound; a product of more, of any size, could take minutes
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


class Tensor(NamedTuple):
    """One tensor of a header; `begin` and `end` are offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a header says, in the order of the data."""

    tensors: tuple[Tensor, ...]
    data_at: int


def faults(file: BinaryIO, size: int) -> tuple[list[Fault], int]:
    """As `read`, without the header."""
    faults, count, _ = read(file, size)
    return faults, count


def read(file: BinaryIO, size: int) -> tuple[list[Fault], int, Header | None]:
    """Given an open file and its size in bytes, return (faults, bytes read, the header if it is one).

    Reads the header only. Raises OSError if it can't be read.
    """
    if size == 0:
        return [("empty", "0 bytes")], 0, None
    if size < LENGTH_BYTES:
        return [("truncated", f"{size} bytes, the header's length alone takes {LENGTH_BYTES}")], 0, None
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if fault := _length_fault(length, size):
        return [fault], LENGTH_BYTES, None
    faults, header = _parsed(file.read(length), LENGTH_BYTES + length)
    if header:
        faults += _space_faults(header, size) or _dtype_faults(header)
    return faults, LENGTH_BYTES + length, header


def _length_fault(length: int, size: int) -> Fault | None:
    if length == 0:
        return "zeroed-header", "starts with zeros: its beginning never reached the disk"
    if length > LARGEST_HEADER_BYTES:
        return "bad-header", f"claims a header of {length} bytes, the format allows {LARGEST_HEADER_BYTES}"
    if LENGTH_BYTES + length > size:
        return "truncated", f"{size} bytes, its header alone needs {LENGTH_BYTES + length}"
    return None


def _parsed(raw: bytes, data_at: int) -> tuple[list[Fault], Header | None]:
    try:
        entries = bounded.loads(raw, _compact, _largest_parts(raw))
        entries.pop("__metadata__", None)
        shapes: Shapes = {}  # each entry goes as its tensor comes
        tensors = [_tensor(name, entry, data_at, shapes) for name, entry in _emptied(entries)]
    except TooLargeError as error:
        return [("too-large", f"a header of {error}")], None
    except (ValueError, TypeError, KeyError, AttributeError):
        return [("bad-header", "the header is not the JSON object that the format asks for")], None
    return [], Header(tuple(sorted(tensors, key=lambda t: (t.begin, t.end))), data_at)


def _emptied(entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    while entries:
        yield entries.popitem()


def _largest_parts(raw: bytes) -> int:
    """What a tensor takes is made small at once, so as many as say what one is may stand there: a hundred thousand."""
    tensors = raw.count(b'"data_offsets"')
    return max(bounded.LARGEST_PARTS, min(MOST_TENSORS, tensors) * PARTS_A_TENSOR)


ENTRY = {"dtype", "shape", "data_offsets"}
Shapes = dict[tuple[int, ...], tuple[int, ...]]  # a model has a few shapes, and many tensors of each


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """A JSON object; what says a tensor becomes a tuple at once, since a hundred thousand objects cost 70 MB."""
    entry = dict(pairs)
    if len(entry) != len(pairs):
        raise ValueError("a name appears twice, which would hide a tensor")
    if entry.keys() != ENTRY:
        return entry
    begin, end = entry["data_offsets"]
    return sys.intern(entry["dtype"]), tuple(entry["shape"]), begin, end


def _tensor(name: str, entry: Any, data_at: int, shapes: Shapes) -> Tensor:
    if type(entry) is not tuple:
        raise ValueError(name)
    dtype, shape, begin, end = entry
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(name)
    for number in (begin, end, *shape):
        if type(number) is not int or not 0 <= number < 1 << 63:
            raise ValueError(name)
    return Tensor(name, dtype, shapes.setdefault(shape, shape), data_at + begin, data_at + end)


def _space_faults(header: Header, size: int) -> list[Fault]:
    expected = header.data_at
    for tensor in header.tensors:
        if tensor.begin != expected or tensor.end < tensor.begin:
            return [("bad-offsets", "tensors overlap or leave a hole")]
        expected = tensor.end
    if expected > size:
        return [("truncated", f"{size - header.data_at} of {expected - header.data_at} data bytes are there")]
    if expected < size:
        return [("trailing-bytes", f"{size - expected} bytes after the last tensor")]
    return []


def _dtype_faults(header: Header) -> list[Fault]:
    for tensor in header.tensors:
        bits = BITS.get(tensor.dtype)
        if bits is None:
            return [("unknown-dtype", f"{tensor.name} is of dtype {tensor.dtype}, which ckptkit does not know")]
        if prod(tensor.shape) * bits != (tensor.end - tensor.begin) * 8:
            expected = f"{tensor.dtype} {list(tensor.shape)} takes {prod(tensor.shape) * bits // 8} bytes"
            return [("bad-shape", f"{tensor.name}: {expected}, the file has {tensor.end - tensor.begin}")]
    return []
