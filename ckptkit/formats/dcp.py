"""`.metadata` of torch.distributed.checkpoint: which bytes of which shard hold what. Followed opcode by opcode.

A pickle of `torch.distributed.checkpoint.metadata.Metadata`; its `storage_data` gives for each item a `_StorageInfo`
with the shard's name, the offset and the length there (torch `distributed/checkpoint/filesystem.py`). A shard is its
items in a row, so the largest offset + length is the exact size of the file (run and seen with torch 2.13). Each item
is an archive of torch.save, unless the writer was given a transform such as compression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ckptkit.formats import Fault, pickles
from ckptkit.formats.inert import OPAQUE, Global, InertCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METADATA = "torch.distributed.checkpoint.metadata.Metadata"
ROOM = 128_000_000  # bytes, as in `pickle_machine`: 150,000 items, 64 ranks of a model of 800 tensors with Adam
END = b"PK\5\6"  # of an archive's last record, 22 bytes before its end where it has no comment
END_BYTES = 22


class ShardItem(NamedTuple):
    """Where one item lies in its shard, in bytes."""

    begin: int
    end: int


class Shards(NamedTuple):
    """What a `.metadata` promises: {shard's name: its items in order}, and the keys of the state that was saved.

    plain: whether the items are archives of torch.save, and not transformed by somebody's own writer.
    """

    items: Mapping[str, tuple[ShardItem, ...]]
    keys: frozenset[str]
    plain: bool = True

    @property
    def holds_optimizer(self) -> bool:
        """Whether any key is an optimizer's, as torch's, torchtitan's and most people's states are keyed."""
        return any("optim" in key or "exp_avg" in key for key in self.keys)

    def size(self, name: str) -> int:
        """The exact size of a shard in bytes."""
        return max(item.end for item in self.items[name])


def read(file: BinaryIO, size: int) -> tuple[list[Fault], int, Shards | None]:
    """Given an open `.metadata` and its size, return (faults, bytes read, what it promises). Raises OSError."""
    if size == 0:
        return [("empty", "0 bytes")], 0, None
    if size > pickles.LARGEST_BYTES:
        return [("too-large", f"{size:,} bytes, more than are looked at")], 0, None
    raw = file.read()
    if not raw.strip(b"\0"):
        return [("zeroed-header", "holds zeros alone: it never reached the disk")], len(raw), None
    scan = pickles.scan(raw, room=ROOM)
    if any(code in ("truncated", "bad-pickle", "too-large") for code, _ in scan.faults):
        return scan.faults, len(raw), None
    if scan.value is OPAQUE:
        return [*scan.faults, ("too-large", "lists more items than are looked at")], len(raw), None
    try:
        shards = _shards(scan.value)
        empty = [] if shards.items else [("no-weights", "lists nothing that was saved")]
        return [*scan.faults, *empty], len(raw), shards
    except _NoMetadataError as error:
        return [*scan.faults, ("bad-metadata", str(error))], len(raw), None


class _NoMetadataError(Exception):
    """It is a whole pickle, and not of the kind that torch writes here."""


def _shards(value: Any) -> Shards:
    state = value.state if _is_of(value, METADATA) and type(value.state) is dict else {}
    stored, keys = state.get("storage_data"), state.get("state_dict_metadata")
    if type(stored) is not dict or type(keys) is not dict:
        raise _NoMetadataError("is a pickle, and not of torch.distributed.checkpoint")
    items: dict[str, list[ShardItem]] = {}
    plain = True
    for name, item, is_plain in map(_stored, stored.values()):
        items.setdefault(name, []).append(item)
        plain = plain and is_plain
    ordered = {name: tuple(sorted(parts)) for name, parts in sorted(items.items())}
    return Shards(ordered, frozenset(key for key in keys if isinstance(key, str)), plain)


def _stored(info: Any) -> tuple[str, ShardItem, bool]:
    state = info.state if isinstance(info, InertCall) and type(info.state) is dict else {}
    name, offset, length = (state.get(key) for key in ("relative_path", "offset", "length"))
    if type(name) is not str or type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        raise _NoMetadataError("does not say where each item lies")
    if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise _NoMetadataError(f"names a shard outside of its directory: {name[:99]!r}")
    return name, ShardItem(offset, offset + length), not state.get("transform_descriptors")


def _is_of(value: Any, name: str) -> bool:
    return type(value) is InertCall and type(value.function) is Global and value.function.name == name


def shard_faults(file: BinaryIO, size: int) -> list[Fault]:
    """Given an open shard and its size, return what its two ends tell; what was transformed tells nothing here."""
    start = file.read(4)
    file.seek(max(0, size - END_BYTES))
    end = file.read(END_BYTES)
    if size == 0:
        return [("empty", "0 bytes")]
    if start == b"\0" * len(start):
        return [("zeroed-header", "starts with zeros: its beginning never reached the disk")]
    if start == b"PK\3\4" and not end.startswith(END):
        if end == b"\0" * len(end):
            return [("zeroed-tail", "ends with zeros: its last block never reached the disk")]
        return [("truncated", "is cut off (its end is missing)")]
    return []


class Slice:
    """A part of an open file as a file of its own, for who reads an archive."""

    def __init__(self, file: BinaryIO, item: ShardItem) -> None:
        self._file, self._item = file, item
        self._at = 0

    def seek(self, offset: int) -> None:
        """Go there, counted from the part's begin."""
        self._at = offset

    def read(self, count: int = -1) -> bytes:
        """The next bytes, none beyond the part's end."""
        left = max(0, self._item.end - self._item.begin - self._at)
        self._file.seek(self._item.begin + self._at)
        raw = self._file.read(left if count < 0 else min(count, left))
        self._at += len(raw)
        return raw


def archives(file: BinaryIO, items: tuple[ShardItem, ...]) -> Iterator[tuple[ShardItem, Slice]]:
    """Given an open shard, yield each of its items that is an archive of torch.save, with a file of it."""
    for item in items:
        part = Slice(file, item)
        if part.read(4) == b"PK\3\4":
            part.seek(0)
            yield item, part
