"""One file read whole, once: its digests, its records, its values, and whether its end ever reached the disk."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from ckptkit.formats import Fault, dcp, stream, torch_legacy, torch_zip
from ckptkit.formats.digests import Digests
from ckptkit.formats.pickles import LARGEST_BYTES
from ckptkit.formats.torch_records import Archive, RecordSink, parts, placed, placed_pickle
from ckptkit.formats.values import Values
from ckptkit.formats.zero_tail import ZeroTail
from ckptkit.model.checkpoint import FileDigest, Level

if TYPE_CHECKING:
    from ckptkit.formats.safetensors import Tensor
    from ckptkit.verify.facts import FileFacts, Reading

UNLIMITED = stream.Pace()
MOST_NAMED, LONGEST_NAME = 100, 200  # tensors with NaN or Inf: the first show it
MOST_HOLES = 16 << 30  # bytes; even zeros that need no reading take their time to look at


class Inspection(NamedTuple):
    """Who looks at the file as it passes, and what was wrong before it began."""

    sinks: list[stream.ByteSink]
    faults: list[Fault]
    archive: Archive | None = None
    together: Together | None = None


def read_whole(
    file: BinaryIO, name: str, facts: FileFacts, level: Level, reading: Reading, known: FileDigest | None
) -> FileFacts:
    """Given an open file and what the quick look saw, return what all of its bytes tell. Raises OSError."""
    before = os.fstat(file.fileno())
    if (holes := stream.hole_bytes(file, before.st_size)) > MOST_HOLES:
        return facts._replace(faults=(*facts.faults, ("too-large", f"{holes:,} bytes of holes: too large to check")))
    digests = Digests({*reading.digests, *(set(known.digests) & {"crc32"} if known else ())})
    inspection = _inspection(file, name, facts, level, reading)
    count = stream.read_all(file, [digests, *inspection.sinks], reading.pace or UNLIMITED)
    after = os.fstat(file.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, count):
        return facts._replace(faults=(("changed", "changed while it was read: something is writing here"),))
    faults = [*inspection.faults, *(fault for sink in inspection.sinks for fault in sink.faults())]
    return facts._replace(
        faults=(*facts.faults, *faults),
        bytes_read=facts.bytes_read + count,
        whole=True,
        digest=FileDigest(count, after.st_mtime_ns, digests.values()),
        pickled=inspection.archive.scan if inspection.archive else None,
        nonfinite=tuple(inspection.together.nonfinite) if inspection.together else None,
    )


def follow_pickle(file: BinaryIO, name: str, facts: FileFacts, reading: Reading) -> FileFacts:
    """Given an open torch file and what the quick look saw, return what its pickles name; no tensor is read."""
    if facts.damaged:
        return facts
    if not facts.records:
        legacy = _is_legacy(file, name)
        faults = torch_legacy.faults(file, facts.size, full=True, trust=reading.trust)[0] if legacy else []
        return facts._replace(faults=(*facts.faults, *(f for f in faults if f not in facts.faults)))
    faults, place = placed_pickle(file, facts.records)
    if place and place.record.size <= LARGEST_BYTES:
        sink = RecordSink(place.record, Archive(trust=reading.trust))
        file.seek(place.begin)
        sink.feed(memoryview(file.read(place.record.size)))
        faults = sink.faults()
    return facts._replace(faults=(*facts.faults, *faults))


def _inspection(file: BinaryIO, name: str, facts: FileFacts, level: Level, reading: Reading) -> Inspection:
    if facts.damaged:
        return Inspection([], [])
    if facts.pieces:
        return _at_pieces(file, facts, level, reading)
    if facts.header:
        return _at_tensors(facts, level, reading)
    if facts.records:
        only = "state_dict" if name.endswith(".ckpt") else ""
        archive = Archive(values=level == "deep", trust=reading.trust, only=only)
        faults, places = placed(file, facts.records)
        return Inspection([stream.SpanSink(parts(places, archive))], faults, archive)
    if facts.size and _is_legacy(file, name):
        return Inspection([], torch_legacy.faults(file, facts.size, full=True, trust=reading.trust)[0])
    return Inspection([], [])


def _at_pieces(file: BinaryIO, facts: FileFacts, level: Level, reading: Reading) -> Inspection:
    """A shard of torch.distributed.checkpoint: an archive after the other, each looked at as one of torch.save."""
    faults: list[Fault] = []
    spans: list[stream.Span] = []
    for item, part in dcp.archives(file, facts.pieces):
        archive_file = cast("BinaryIO", part)  # it has what is asked of it: seek and read
        directory_faults, _, records = torch_zip.read(archive_file, item.end - item.begin)
        record_faults, places = placed(archive_file, records) if not directory_faults else ([], ())
        faults += [*directory_faults, *record_faults]
        archive = Archive(values=level == "deep", trust=reading.trust)
        spans += [
            span._replace(begin=span.begin + item.begin, end=span.end + item.begin) for span in parts(places, archive)
        ]
    return Inspection([stream.SpanSink(spans)], faults)


def _is_legacy(file: BinaryIO, name: str) -> bool:
    """Whether torch wrote it before its archives were ZIP: what is no archive of that name was let through for it."""
    if not name.endswith((".pt", ".pth", ".bin")):
        return False
    file.seek(0)
    return True


def _at_tensors(facts: FileFacts, level: Level, reading: Reading) -> Inspection:
    assert facts.header
    tensors = [t for t in facts.header.tensors if t.end > t.begin]
    sinks: list[stream.ByteSink] = [ZeroTail([t.begin for t in tensors])]
    if level == "deep" or reading.values:
        together, names = Together(level == "deep"), {t.name for t in tensors}
        each = (stream.Span(t.begin, t.end, partial(TensorValues, t.name, _dtype(t, names), together)) for t in tensors)
        return Inspection([*sinks, stream.SpanSink(each), together], [], together=together)
    return Inspection(sinks, [])


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
        faults = self.values.faults()
        if faults and len(self.together.nonfinite) < MOST_NAMED:
            self.together.nonfinite.append(self.name[:LONGEST_NAME])
        return [(code, f"{self.name}: {message}") for code, message in faults]
