"""One file read whole, once: its digests, its records, its values, and whether its end ever reached the disk."""

from __future__ import annotations

import os
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from ckptkit.formats import Fault, dcp, stream, torch_legacy, torch_zip
from ckptkit.formats.digests import Digests
from ckptkit.formats.pickles import LARGEST_BYTES
from ckptkit.formats.safetensors import Tensor
from ckptkit.formats.torch_records import Archive, RecordSink, parts, placed, placed_pickle
from ckptkit.formats.values import Values
from ckptkit.formats.zero_tail import ZeroTail
from ckptkit.model.checkpoint import FileDigest, Level
from ckptkit.verify.facts import Reading, Seen

UNLIMITED = stream.Pace()
MOST_NAMED, LONGEST_NAME = 100, 200  # tensors with NaN or Inf: the first show it
MOST_HOLES = 16 << 30  # bytes; even zeros that need no reading take their time to look at


class Looking(NamedTuple):
    """Who looks at the file as it passes, and what was wrong before it began."""

    sinks: list[stream.ByteSink]
    faults: list[Fault]
    archive: Archive | None = None
    together: Together | None = None


def read_whole(file: BinaryIO, name: str, seen: Seen, level: Level, reading: Reading, known: FileDigest | None) -> Seen:
    """Given an open file and what the quick look saw, return what all of its bytes tell. Raises OSError."""
    before = os.fstat(file.fileno())
    if (holes := stream.hole_bytes(file, before.st_size)) > MOST_HOLES:
        return seen._replace(faults=(*seen.faults, ("too-large", f"{holes:,} bytes of holes: too large to check")))
    digests = Digests({*reading.digests, *(set(known.digests) & {"crc32"} if known else ())})
    looking = _looking(file, name, seen, level, reading)
    count = stream.read_all(file, [digests, *looking.sinks], reading.pace or UNLIMITED)
    after = os.fstat(file.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, count):
        return seen._replace(faults=(("changed", "changed while it was read: something is writing here"),))
    faults = [*looking.faults, *(fault for sink in looking.sinks for fault in sink.faults())]
    return seen._replace(
        faults=(*seen.faults, *faults),
        bytes_read=seen.bytes_read + count,
        whole=True,
        digest=FileDigest(count, after.st_mtime_ns, digests.values()),
        pickled=looking.archive.scan if looking.archive else None,
        nonfinite=tuple(looking.together.nonfinite) if looking.together else None,
    )


def follow_pickle(file: BinaryIO, name: str, seen: Seen, reading: Reading) -> Seen:
    """Given an open torch file and what the quick look saw, return what its pickles name; no tensor is read."""
    if seen.damaged:
        return seen
    if not seen.records:
        legacy = _is_legacy(file, name)
        faults = torch_legacy.faults(file, seen.size, full=True, trust=reading.trust)[0] if legacy else []
        return seen._replace(faults=(*seen.faults, *(f for f in faults if f not in seen.faults)))
    faults, place = placed_pickle(file, seen.records)
    if place and place.record.size <= LARGEST_BYTES:
        sink = RecordSink(place.record, Archive(trust=reading.trust))
        file.seek(place.begin)
        sink.feed(memoryview(file.read(place.record.size)))
        faults = sink.faults()
    return seen._replace(faults=(*seen.faults, *faults))


def _looking(file: BinaryIO, name: str, seen: Seen, level: Level, reading: Reading) -> Looking:
    if seen.damaged:
        return Looking([], [])
    if seen.pieces:
        return _at_pieces(file, seen, level, reading)
    if seen.header:
        return _at_tensors(seen, level, reading)
    if seen.records:
        only = "state_dict" if name.endswith(".ckpt") else ""
        archive = Archive(values=level == "deep", trust=reading.trust, only=only)
        faults, places = placed(file, seen.records)
        return Looking([stream.SpanSink(parts(places, archive))], faults, archive)
    if seen.size and _is_legacy(file, name):
        return Looking([], torch_legacy.faults(file, seen.size, full=True, trust=reading.trust)[0])
    return Looking([], [])


def _at_pieces(file: BinaryIO, seen: Seen, level: Level, reading: Reading) -> Looking:
    """A shard of torch.distributed.checkpoint: an archive after the other, each looked at as one of torch.save."""
    faults: list[Fault] = []
    found: list[stream.Span] = []
    for item, part in dcp.archives(file, seen.pieces):
        archive_file = cast("BinaryIO", part)  # it has what is asked of it: seek and read
        told, _, records = torch_zip.read(archive_file, item.end - item.begin)
        more, places = placed(archive_file, records) if not told else ([], ())
        faults += [*told, *more]
        archive = Archive(values=level == "deep", trust=reading.trust)
        found += [p._replace(begin=p.begin + item.begin, end=p.end + item.begin) for p in parts(places, archive)]
    return Looking([stream.SpanSink(found)], faults)


def _is_legacy(file: BinaryIO, name: str) -> bool:
    """Whether torch wrote it before its archives were ZIP: what is no archive of that name was let through for it."""
    if not name.endswith((".pt", ".pth", ".bin")):
        return False
    file.seek(0)
    return True


def _at_tensors(seen: Seen, level: Level, reading: Reading) -> Looking:
    assert seen.header
    tensors = [t for t in seen.header.tensors if t.end > t.begin]
    sinks: list[stream.ByteSink] = [ZeroTail([t.begin for t in tensors])]
    if level == "deep" or reading.values:
        together, names = Together(level == "deep"), {t.name for t in tensors}
        each = (stream.Span(t.begin, t.end, partial(TensorValues, t.name, _dtype(t, names), together)) for t in tensors)
        return Looking([*sinks, stream.SpanSink(each), together], [], together=together)
    return Looking(sinks, [])


def _dtype(tensor: Tensor, names: set[str]) -> str:
    """The dtype of its values. Weights packed in 4 bits lie in any dtype (bitsandbytes' quant_storage): no floats."""
    return "U8" if f"{tensor.name}.absmax" in names else tensor.dtype


class Together:
    """A sink that looks at nothing itself: what the values of all tensors of a file say together."""

    def __init__(self, zeros_are_wrong: bool) -> None:
        self.tensors = self.zero = 0
        self.nonfinite: list[str] = []
        self.zeros_are_wrong = zeros_are_wrong

    def feed(self, chunk: memoryview) -> None:
        """The tensors see it."""

    def faults(self) -> list[Fault]:
        """One fault if there are tensors and all are zeros."""
        if self.zeros_are_wrong and self.tensors and self.zero == self.tensors:
            return [("all-zeros", f"each of its {self.tensors} tensors holds only zeros")]
        return []


class TensorValues:
    """A sink for one tensor's bytes; its faults carry the tensor's name, and `together` learns what it holds."""

    def __init__(self, name: str, dtype: str, together: Together) -> None:
        self.name, self.together, self.values = name, together, Values(dtype)
        self.feed = self.values.feed

    def faults(self) -> list[Fault]:
        """NaN or Inf, if there is one."""
        self.together.tensors += 1
        self.together.zero += self.values.all_zero
        found = self.values.faults()
        if found and len(self.together.nonfinite) < MOST_NAMED:
            self.together.nonfinite.append(self.name[:LONGEST_NAME])
        return [(code, f"{self.name}: {message}") for code, message in found]
