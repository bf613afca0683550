"""torch's archives: a bit in each record, each local header, the directory and the end."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import flip, put
from tests.corpus.damage import CHANGED, UNSEEN, Claim, Damage, hint, in_file, torn, wrong

FIRST = ("data.pkl", ".format_version", ".storage_alignment", "byteorder")
LAST = ("version", ".data/serialization_id")
STORAGES = {"optimizer.pt": 84, "scheduler.pt": 0, "rng_state.pth": 1, "training_args.bin": 0}  # of kind lora
BAD = wrong("bad-record", "full")
# The pickle comes first, and is looked at from quick on where a resume loads it.
BAD_PICKLE = (*wrong("bad-record"), *BAD)
DIRECTORY = wrong("bad-directory")
# Fields of the first record's local header: (offset, what is claimed of a flipped bit there). APPNOTE.TXT 4.3.7.
LOCAL = {
    "signature": (0, wrong("bad-header")), "version": (4, UNSEEN), "flags": (6, BAD), "method": (8, BAD),
    "time": (10, UNSEEN), "crc": (14, BAD), "size": (22, BAD), "name_length": (26, BAD), "extra_length": (28, BAD),
    "name": (30, BAD),
}  # fmt: skip
# Fields of an entry of the central directory (4.3.12).
CENTRAL = {
    "signature": (0, DIRECTORY), "made_by": (4, UNSEEN), "flags": (8, BAD), "method": (10, BAD), "time": (12, UNSEEN),
    "crc": (16, BAD), "stored_size": (20, BAD), "size": (24, BAD), "name_length": (28, DIRECTORY),
    "extra_length": (30, DIRECTORY), "attributes": (38, UNSEEN), "header_offset": (42, BAD), "name": (46, BAD),
}  # fmt: skip
# Fields of the end (4.3.16), from its start.
END = {
    "signature": (0, torn()), "count": (10, DIRECTORY), "directory_size": (12, DIRECTORY),
    "directory_offset": (16, DIRECTORY), "comment_length": (20, DIRECTORY),
}  # fmt: skip
Place = Callable[[Path], int]
HARMLESS = "a bit of a ZIP header flipped that no reader looks at: time, version, attributes, padding"


def records(archive: str) -> Iterator[str]:
    """The records of an archive of the kind lora, in file order."""
    yield from FIRST
    yield from (f"data/{number}" for number in range(STORAGES[archive]))
    yield from LAST


def damages() -> Iterator[Damage]:
    """A bit of each part of each archive."""
    for archive in STORAGES:
        for record in records(archive):
            claims = _seen(archive, BAD, record == FIRST[0])
            yield Damage(f"bit/{archive}/{record.replace('/', '_')}", "lora", partial(_in_record, archive, record),
                         in_file(archive, claims), "a bit of any record of a torch archive flipped",
                         in_file(archive, _changed_too(claims)))  # fmt: skip
        yield from _fields(archive, "local header", LOCAL, _local_at)
        yield from _fields(archive, "central directory", CENTRAL, _central_at)
        yield from _fields(archive, "end", END, _end_at)
        yield Damage(f"bit/{archive}/padding", "lora", partial(_in_padding, archive), UNSEEN, HARMLESS,
                     in_file(archive, CHANGED))  # fmt: skip
    yield Damage("value/optimizer_nan", "lora", partial(_not_a_number, "optimizer.pt"), hint("nonfinite", "deep"),
                 "one value of the optimizer state NaN, its CRC-32 right", CHANGED)  # fmt: skip


def _changed_too(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """What the format sees at full, the manifest sees too; at quick both are as they were."""
    if claims == BAD_PICKLE:
        return (claims[0], *CHANGED)
    return CHANGED if claims and claims[0].level == "full" else claims


def _seen(archive: str, claims: tuple[Claim, ...], in_pickle: bool) -> tuple[Claim, ...]:
    """No resume loads training_args.bin, so its pickle is followed at full alone."""
    return BAD_PICKLE if claims == BAD and in_pickle and archive != "training_args.bin" else claims


def _fields(
    archive: str, where: str, fields: dict[str, tuple[int, tuple[Claim, ...]]], begin: Place
) -> Iterator[Damage]:
    for field, (offset, claims) in fields.items():
        claims = _seen(archive, claims, in_pickle=True)
        what = HARMLESS if not claims else f"a bit flipped in an archive's {where}"
        harm = partial(_in_field, archive, begin, offset)
        known = CHANGED if not claims else _changed_too(claims)
        name = f"bit/{archive}/{where.replace(' ', '_')}/{field}"
        yield Damage(name, "lora", harm, in_file(archive, claims), what, in_file(archive, known))


def _in_field(archive: str, begin: Place, offset: int, path: Path) -> None:
    file = path / archive
    flip(file, begin(file) + offset)


def _in_record(archive: str, record: str, path: Path) -> None:
    begin, size = place(path / archive, record)
    flip(path / archive, begin + size // 2)


def _in_padding(archive: str, path: Path) -> None:
    """torch fills the local extra field so that data begins at a multiple of 64."""
    begin, _ = place(path / archive, "data.pkl")
    flip(path / archive, begin - 1)


def _local_at(file: Path) -> int:
    return 0


def _central_at(file: Path) -> int:
    with zipfile.ZipFile(file) as archive:
        return archive.start_dir


def _end_at(file: Path) -> int:
    return file.stat().st_size - 22


def place(file: Path, record: str) -> tuple[int, int]:
    """(where the record's bytes begin, how many they are)."""
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{file.stem}/{record}")
    raw = file.read_bytes()
    name, extra = struct.unpack_from("<2H", raw, info.header_offset + 26)
    return info.header_offset + 30 + name + extra, info.file_size


def names(file: Path) -> list[str]:
    """The records that are really there, as `records` lists them."""
    with zipfile.ZipFile(file) as archive:
        return [name.partition("/")[2] for name in archive.namelist()]


def _not_a_number(archive: str, path: Path) -> None:
    """The value, and the CRC-32 that belongs to it: as a training that went wrong would have saved it."""
    import zlib

    file, record = path / archive, "data/1"
    begin, size = place(file, record)
    put(file, begin, struct.pack("<f", float("nan")))
    raw = file.read_bytes()
    entry = raw.rindex(f"{file.stem}/{record}".encode() + b"PK\1\2") - 46
    put(file, entry + 16, zlib.crc32(raw[begin : begin + size]).to_bytes(4, "little"))
