"""Archives that bomb, overlap, lie about their sizes, or name their records like paths."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import rewrite
from tests.corpus.damage import CHANGED, RESIZED, Claim, Damage, unjudged, wrong
from tests.corpus.records import _central_at as central_at
from tests.corpus.records import place

BAD = wrong("bad-record", "full")
NAMED = wrong("bad-record")  # by the directory alone
NAMES = {"upwards": "../../x", "absolute": "/etc/x", "backwards": "..\\x", "hidden": "optimizer/../../x"}
FOUND = "an archive whose records overlap, are compressed, lie about sizes, or are named like paths"


def damages() -> Iterator[Damage]:
    """All in optimizer.pt."""
    for how, name in NAMES.items():
        yield _damage(f"named_{how}", partial(_added, name, b"x", zipfile.ZIP_STORED), NAMED)
    yield _damage(
        "deflated_thousandfold", partial(_added, "optimizer/data/84", bytes(64 << 20), zipfile.ZIP_DEFLATED), BAD
    )
    yield _damage("deflated_pickle", partial(_all_deflated, zipfile.ZIP_DEFLATED), wrong("bad-record"))
    yield _damage("overlapping", _overlapping, BAD, manifested=CHANGED)
    yield _damage("a_thousand_times_the_same", _same_record, NAMED)
    yield _damage("doubled_name", partial(_added, "optimizer/data.pkl", b"N.", zipfile.ZIP_STORED), NAMED)
    yield _damage("name_in_another_case", partial(_added, "optimizer/DATA.PKL", b"N.", zipfile.ZIP_STORED), NAMED)
    for field, at in (("stored", 20), ("size", 24), ("offset", 42)):
        yield _damage(f"sizes_elsewhere_{field}", partial(_quoted_out, at), wrong("bad-directory"))
    for field, value, claims in (("huge", 2**63, LIES), ("longer", 1 << 20, LIES)):
        yield _damage(f"zip64_that_lies_{field}", partial(_zip64, value), claims)
    yield _damage("directory_of_2_32_bytes", partial(_end, 12, b"\xfe\xff\xff\xff"), LIES)
    yield _damage("too_many_records", _many_records, unjudged("too-large"), LARGE)


LIES = wrong("bad-directory")
LARGE = "an archive's directory of more records than are looked at"


def _damage(
    name: str, harm: Callable[[Path], object], claims: tuple[Claim, ...], what: str = FOUND,
    manifested: tuple[Claim, ...] = RESIZED,
) -> Damage:  # fmt: skip
    """What full alone sees, a manifest sees too; by the size, if that is another."""
    manifested = manifested if claims[0].level == "full" else claims
    return Damage(f"hostile/zip/{name}", "lora", harm, claims, what, manifested, hostile=True)


def _added(name: str, content: bytes, method: int, path: Path) -> None:
    """One record more, by Python's own writer."""
    file = io.BytesIO((path / "optimizer.pt").read_bytes())
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that stands there already: that is the point
        archive.writestr(zipfile.ZipInfo(name), content, method)
    rewrite(path / "optimizer.pt", lambda raw: file.getvalue())


def _all_deflated(method: int, path: Path) -> None:
    old, new = io.BytesIO((path / "optimizer.pt").read_bytes()), io.BytesIO()
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for record in source.namelist():
            target.writestr(zipfile.ZipInfo(record), source.read(record), method)
    rewrite(path / "optimizer.pt", lambda raw: new.getvalue())


def _entry(path: Path, record: str) -> int:
    """Where the record's entry in the central directory begins."""
    raw = (path / "optimizer.pt").read_bytes()
    return raw.index(f"optimizer/{record}PK".encode(), central_at(path / "optimizer.pt")) - 46


def _put(path: Path, at: int, content: bytes) -> None:
    rewrite(path / "optimizer.pt", lambda raw: raw[:at] + content + raw[at + len(content) :])


def _overlapping(path: Path) -> None:
    """data/0 grows, by both of its headers, into all that follow."""
    begin, _ = place(path / "optimizer.pt", "data/0")
    size = central_at(path / "optimizer.pt") - begin
    _put(path, _entry(path, "data/0") + 20, struct.pack("<2L", size, size))


def _same_record(path: Path) -> None:
    """A thousand entries of one local header."""
    rewrite(path / "optimizer.pt", lambda raw: _directory(raw, central_at(path / "optimizer.pt"), 1000))


def _many_records(path: Path) -> None:
    """400,000 entries, 27 MB of directory, in a ZIP64 end that says so."""
    rewrite(path / "optimizer.pt", lambda raw: _directory(raw, central_at(path / "optimizer.pt"), 400_000))


def _directory(raw: bytes, at: int, count: int) -> bytes:
    """The archive's records, and a directory that lists the first of them `count` times."""
    name, extra, comment = struct.unpack_from("<3H", raw, at + 28)
    entry = raw[at : at + 46 + name + extra + comment]
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, count * len(entry), at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + count * len(entry), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return raw[:at] + entry * count + end + locator + last


def _quoted_out(at: int, path: Path) -> None:
    """A field that says "see the ZIP64 extra", and there is none."""
    _put(path, _entry(path, "data/0") + at, b"\xff\xff\xff\xff")


def _zip64(value: int, path: Path) -> None:
    """An entry whose sizes stand in a ZIP64 extra field that lies."""
    file, entry = path / "optimizer.pt", _entry(path, "data/0")
    extra = struct.pack("<2H2Q", 1, 16, value, value)
    name = int.from_bytes(file.read_bytes()[entry + 28 : entry + 30], "little")
    _put(path, entry + 20, b"\xff" * 8)
    _put(path, entry + 30, struct.pack("<H", len(extra)))
    behind = entry + 46 + name
    rewrite(file, lambda raw: _longer(raw[:behind] + extra + raw[behind:], len(extra), entry))


def _longer(raw: bytes, count: int, entry: int) -> bytes:
    """The ends of an archive whose directory grew: sizes in both, and where the ZIP64 one lies."""
    changed = bytearray(raw)
    for at, form in ((raw.rindex(b"PK\x06\x06") + 40, "<Q"), (raw.rindex(b"PK\x06\x07") + 8, "<Q"),
                     (raw.rindex(b"PK\x05\x06") + 12, "<L")):  # fmt: skip
        struct.pack_into(form, changed, at, struct.unpack_from(form, changed, at)[0] + count)
    return bytes(changed)


def _end(at: int, content: bytes, path: Path) -> None:
    size = (path / "optimizer.pt").stat().st_size
    _put(path, size - 22 + at, content)
