"""The records of a torch archive, as its bytes pass: local headers, CRC-32, and what the pickle inside would call.

Nothing is decompressed (torch stores), nothing is unpickled, no name is used as a path.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, BinaryIO, NamedTuple

from ckptkit.formats import NAMES_TOO_MUCH, Fault, pickles
from ckptkit.formats.crc import crc32
from ckptkit.formats.inert import InertCall, Persistent
from ckptkit.formats.stream import Span
from ckptkit.formats.torch_zip import LOCAL, NOTHING, SIZES_FOLLOW, ZIP, Directory, Record
from ckptkit.formats.values import Values

PICKLE = b"/data.pkl"
PROGRAM = b"/constants.pkl"  # by which torch.load tells TorchScript
DATA = "/data/"
DTYPES = {"torch.FloatStorage": "F32", "torch.DoubleStorage": "F64", "torch.HalfStorage": "F16",
          "torch.BFloat16Storage": "BF16", "torch.ComplexFloatStorage": "C64"}  # fmt: skip


class Placed(NamedTuple):
    """A record and where its bytes lie in the file."""

    record: Record
    begin: int
    end: int


class Places:
    """Where each record of an archive lies, in file order. Sixteen bytes a record: it is made again when asked for."""

    def __init__(self, directory: Directory, entries: "array[int]", begins: "array[int]") -> None:
        self._directory, self._entries, self._begins = directory, entries, begins

    def __len__(self) -> int:
        return len(self._begins)

    def __iter__(self) -> Iterator[Placed]:
        for entry, begin in zip(self._entries, self._begins, strict=True):
            record = self._directory.record(entry)
            yield Placed(record, begin, begin + record.stored)


def placed(file: BinaryIO, directory: Directory) -> tuple[list[Fault], Places]:
    """Given an open archive and its directory, return (faults, each record's place in file order).

    Reads the local headers. A record that is compressed, lies in another or is another's by its local header is a
    fault: torch's own reader would take one for the other. Raises OSError.
    """
    entries = array("Q", sorted(directory.offsets(), key=lambda at: directory.record(at).header_at))
    begins, end = array("Q"), 0
    for record in map(directory.record, entries):
        fault, begin = _local(file, record)
        if not fault and record.header_at < end:
            fault = "lies inside the record before it"
        if fault:
            return [("bad-record", f"{_shown(record.name)} {fault}")], NOWHERE
        begins.append(begin)
        end = begin + record.stored
    faults = _name_faults(directory)
    return faults, NOWHERE if faults else Places(directory, entries, begins)


def placed_pickle(file: BinaryIO, directory: Directory) -> tuple[list[Fault], Placed | None]:
    """Given an open archive and its directory, return (faults, the place of data.pkl): one local header is read."""
    if faults := _name_faults(directory):
        return faults, None
    record = next(record for record in directory if _is_pickle(record.name))
    fault, begin = _local(file, record)
    if fault:
        return [("bad-record", f"{_shown(record.name)} {fault}")], None
    return [], Placed(record, begin, begin + record.stored)


NOWHERE = Places(NOTHING, array("Q"), array("Q"))


class Archive:
    """What the records of one archive tell each other: the pickle, which torch writes first, of the storages."""

    def __init__(self, values: bool = False, trust: Sequence[str] = (), only: str = "") -> None:
        """values: whether the storages' values are looked at too. trust: as in `pickles.scan`.

        only: the key of the tensors whose values are looked at, "" for all: a callback's best score begins as Inf.
        """
        self.values, self.trust, self.only = values, trust, only
        self.scan: pickles.Scan | None = None

    @cached_property
    def _wanted(self) -> set[str]:
        """Asked for when the storages pass, which is after the pickle did."""
        return _keys_below(self.scan.value if self.scan else None, self.only)

    def dtype(self, record: Record) -> str | None:
        """Of a storage's record, as safetensors names it; None if it is no storage, or nobody asked."""
        storages = self.scan.storages if self.values and self.scan else {}
        key = _shown(record.name).rpartition(DATA)[2]
        if self.only and self.scan and key not in self._wanted:
            return None
        return DTYPES.get(storages.get(key, ""))


def _keys_below(value: Any, name: str) -> set[str]:
    """The keys of the storages that the tensors of one entry of a dict lie in."""
    table = value.get(name) if type(value) is dict else None
    calls = [tensor for tensor in table.values() if type(tensor) is InertCall] if type(table) is dict else []
    ids = [call.arguments[0].id for call in calls if call.arguments and type(call.arguments[0]) is Persistent]
    return {id_[2] for id_ in ids if type(id_) is tuple and len(id_) > 2 and type(id_[2]) is str}


def parts(places: Iterable[Placed], archive: Archive) -> Iterator[Span]:
    """Given the places, yield what looks at each as the file passes: CRC-32, the pickle's opcodes, perhaps values."""
    return (Span(p.begin, p.end, partial(RecordSink, p.record, archive)) for p in places)


class RecordSink:
    """A sink that holds one record's bytes against its CRC-32; it keeps the pickle's own to scan its opcodes."""

    def __init__(self, record: Record, archive: Archive) -> None:
        self.record, self.archive = record, archive
        self._crc = 0
        self._is_pickle = _is_pickle(record.name)
        keep = self._is_pickle and record.size <= pickles.LARGEST_BYTES
        self._kept: bytearray | None = bytearray() if keep else None
        dtype = archive.dtype(record)
        self._values = Values(dtype) if dtype else None

    def feed(self, chunk: memoryview) -> None:
        """The record's next bytes."""
        self._crc = crc32(chunk, self._crc)
        if self._values:
            self._values.feed(chunk)
        if self._kept is not None:
            self._kept += chunk

    def faults(self) -> list[Fault]:
        """What is wrong with the record."""
        name = _shown(self.record.name)
        if self._crc != self.record.crc:
            return [("bad-record", f"{name}: its CRC-32 is {self._crc:08x}, the archive says {self.record.crc:08x}")]
        if self._is_pickle and self._kept is None:
            return [("too-large", f"{name} of {self.record.size:,} bytes, more than is looked at")]
        faults = self._values.faults() if self._values else []
        if self._kept is not None:
            self.archive.scan = pickles.scan(self._kept, self.archive.trust)
            faults = self.archive.scan.faults
        # What it names is told without the record: the file has one pickle, and a person knows the file.
        return [(code, message if code in NAMES_TOO_MUCH else f"{name}: {message}") for code, message in faults]


def _local(file: BinaryIO, record: Record) -> tuple[str, int]:
    """(what is wrong with the local header or "", where the record's bytes begin)."""
    file.seek(record.header_at)
    raw = file.read(LOCAL.size)
    if len(raw) < LOCAL.size or not raw.startswith(ZIP):
        return "has no local header", 0
    _, _, flags, method, _, _, crc, stored, size, name_length, extra_length = LOCAL.unpack(raw)
    if file.read(name_length) != record.name or flags != record.flags or method != record.method:
        return "is another by its local header", 0
    if method or record.stored != record.size or flags & ~(SIZES_FOLLOW | 0x800):
        return "is compressed or encrypted, which torch never does", 0
    same = (crc, stored, size) in ((record.crc, record.stored, record.size), (record.crc, 0xFFFFFFFF, 0xFFFFFFFF))
    if not same and not (flags & SIZES_FOLLOW and (crc, stored, size) == (0, 0, 0)):
        return "has another size or CRC-32 by its local header", 0
    return "", record.header_at + LOCAL.size + name_length + extra_length


def _name_faults(directory: Directory) -> list[Fault]:
    """Torch's reader asks for a record without regard to case, and takes any of several: there must be one."""
    names = {record.name.lower() for record in directory}
    if len(names) != len(directory):
        return [("bad-record", "two records of one name")]
    for name in names:
        if name.startswith((b"/", b"\\")) or b".." in name.replace(b"\\", b"/").split(b"/") or b"\0" in name:
            return [("bad-record", f"{_shown(name)} has a name that leads out of the archive")]
    pickled = sum(map(_is_pickle, names))
    if pickled != 1:
        return [("bad-record", f"{pickled} records data.pkl, torch writes one")]
    if any(name.endswith(PROGRAM) and name.count(b"/") == 1 for name in names):
        return [("unsafe-pickle", "is a TorchScript program, which torch.load runs or refuses")]
    return []


def _is_pickle(name: bytes) -> bool:
    return name.lower().endswith(PICKLE) and name.count(b"/") == 1


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
