"""The reader of torch.save's files against torch itself: all that it writes is whole, all that is cut is not."""

import io
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ckptkit.formats import TORN
from ckptkit.formats.stream import SpanSink
from ckptkit.formats.torch_records import Archive, RecordSink, parts, placed, placed_pickle
from ckptkit.formats.torch_zip import faults, read
from tests.support.typed import present

KINDS: dict[str, Callable[[Any], object]] = {
    "tensors": lambda torch: {"step": 3, "state": [torch.ones(5), torch.zeros(2, 2, dtype=torch.bfloat16)]},
    "nothing": lambda torch: {},
    "no_tensor": lambda torch: {"base_lrs": [0.1], "last_epoch": 7},
    "many_records": lambda torch: [torch.tensor([i]) for i in range(300)],
}


def found(raw: bytes) -> list[str]:
    """The codes of the faults that the directory alone tells."""
    return [code for code, _ in faults(io.BytesIO(raw), len(raw))[0]]


def in_records(raw: bytes) -> list[tuple[str, str]]:
    """The faults that reading every record tells."""
    file = io.BytesIO(raw)
    told, places = placed(file, read(file, len(raw))[2])
    sink = SpanSink(parts(places, Archive()))
    sink.feed(memoryview(raw))
    return told + sink.faults()


@pytest.fixture(scope="module", params=KINDS)
def raw(request: pytest.FixtureRequest) -> bytes:
    """What torch.save writes of each kind."""
    import torch

    file = io.BytesIO()
    torch.save(KINDS[request.param](torch), file)
    return file.getvalue()


def test_whole_file_has_no_fault_in_its_directory_nor_its_records(raw: bytes) -> None:
    assert found(raw) == [] and in_records(raw) == []


def test_file_cut_anywhere_is_noticed_and_is_torn(raw: bytes) -> None:
    ends = sorted({*range(300), *range(300, len(raw), 41), *range(len(raw) - 150, len(raw))} & {*range(len(raw))})
    assert all(found(raw[:end]) for end in ends)
    assert {code for end in ends if end >= 4 for code in found(raw[:end])} <= TORN


def test_a_byte_behind_the_end_is_noticed(raw: bytes) -> None:
    assert found(raw + b"\1") == ["bad-directory"]


def test_file_whose_end_never_reached_the_disk_is_noticed(raw: bytes) -> None:
    """A delayed allocation that was lost: the right size, and zeros from some block on."""
    for keep in (512, 1024, len(raw) // 2, len(raw) - 100):
        if keep < len(raw):
            assert found(raw[:keep] + b"\0" * (len(raw) - keep))


def test_legacy_file_has_no_fault() -> None:
    import torch

    file = io.BytesIO()
    torch.save({"x": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    assert found(file.getvalue()) == []


def test_archive_of_more_records_than_16_bits_count_has_no_fault() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{number}"), b"")
    assert found(file.getvalue()) == []
    assert found(file.getvalue()[:-1]) and found(file.getvalue()[:-60])


def test_archive_larger_than_32_bits_count_has_no_fault(tmp_path: Path) -> None:
    """A real ZIP64 file of 5 GB of which only the ends take blocks; at the quick level nobody reads between them."""
    path = tmp_path / "optimizer.pt"
    record = zipfile.ZipInfo("archive/data/0")
    size = 5 << 30
    with open(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open(record, "w", force_zip64=True) as content:
            content.write(b"\1")
            # The record's bytes as a hole: written as zipfile would have, without writing them.
            file.seek(size - 1, 1)
            content._file_size += size - 1  # type: ignore[attr-defined]
            content._compress_size += size - 1  # type: ignore[attr-defined]
    with open(path, "rb") as written:
        assert faults(written, path.stat().st_size)[0] == []
    listed = subprocess.run(["python3", "-m", "zipfile", "-l", str(path)], capture_output=True, text=True, check=True)
    assert str(size) in listed.stdout, "the file is not what this test means to make"


def test_every_flipped_bit_of_a_record_is_seen_by_reading_it(real: str) -> None:
    whole = Path(real, "lora/checkpoint-100/scheduler.pt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        records = [(r.header_offset + 30 + len(r.filename) + _extra(whole, r), r.file_size) for r in archive.infolist()]
    seen = 0
    for begin, size in records:
        for bit in range(begin * 8, (begin + size) * 8):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            assert found(bytes(changed)) == [] and in_records(bytes(changed)), bit
            seen += 1
    assert seen > 1000


def _extra(raw: bytes, record: zipfile.ZipInfo) -> int:
    """The length of a record's local extra field, which torch pads to align the data (APPNOTE 4.3.7)."""
    return int.from_bytes(raw[record.header_offset + 28 : record.header_offset + 30], "little")


DAMAGED = {
    "nothing": (b"", "empty"),
    "zeros": (b"\0" * 9000, "zeroed-header"),
    "text": (b"<html>quota exceeded</html>", "bad-header"),
    "start_alone": (b"PK\x03\x04" + b"\1" * 500, "truncated"),
    "directory_beyond_the_end": (b"PK\3\4PK\5\6" + b"\0\0\0\0\1\0\1\0" + b"\xf0\0\0\0" * 2 + b"\0\0", "bad-directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage(name: str) -> None:
    content, code = DAMAGED[name]
    assert found(content) == [code]


def test_only_the_ends_of_a_large_file_are_read(tmp_path: Path) -> None:
    import torch

    torch.save(torch.zeros(4_000_000), tmp_path / "large.pt")
    with open(tmp_path / "large.pt", "rb") as file:
        _, count = faults(file, 16_000_000)
    assert count < 100_000


def test_pickle_inside_is_never_loaded(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    for raw in (pickle.dumps(Canary()), _archived(pickle.dumps(Canary()))):
        found(raw)
        in_records(raw)
    assert not (tmp_path / "executed").exists()


def _archived(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()


# Archives in which torch's reader may find another pickle than one who reads the ZIP by the letter.
HOSTILE, GOOD, VERSION = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.", b"\x80\x02}.", b"3\n"
TWO_FACED = {
    "twice": [("h/data.pkl", GOOD), ("h/version", VERSION), ("h/data.pkl", HOSTILE)],
    "other_case_first": [("h/DATA.PKL", HOSTILE), ("h/data.pkl", GOOD), ("h/version", VERSION)],
    "other_case_last": [("h/data.pkl", GOOD), ("h/version", VERSION), ("h/DATA.PKL", HOSTILE)],
    "other_case_of_another_directory": [("a/version", VERSION), ("a/DATA.PKL", HOSTILE), ("b/data.pkl", GOOD)],
    "other_case_alone": [("h/DATA.PKL", HOSTILE), ("h/version", VERSION)],
    "program": [("h/data.pkl", GOOD), ("h/constants.pkl", b"\x80\x02)."), ("h/version", VERSION)],
}


def followed(raw: bytes) -> list[str]:
    """The codes of what is told of the one pickle that a resume would load, as `latest` follows it."""
    file = io.BytesIO(raw)
    told, _, directory = read(file, len(raw))
    told, place = (told, None) if told else placed_pickle(file, directory)
    sink = RecordSink(place.record, Archive()) if place else None
    if sink:
        sink.feed(memoryview(raw)[present(place).begin : present(place).end])
    return [code for code, _ in (sink.faults() if sink else told)]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", TWO_FACED)
def test_archive_in_which_torch_may_find_another_pickle_is_never_whole(name: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for record, content in TWO_FACED[name]:
            archive.writestr(record, content)
    assert followed(file.getvalue())
    assert in_records(file.getvalue())


@pytest.mark.parametrize("good_first", [True, False])
def test_archive_whose_two_ends_name_two_directories_is_not_whole(good_first: bool) -> None:
    raw = _two_directories(GOOD, HOSTILE) if good_first else _two_directories(HOSTILE, GOOD)
    assert found(raw) == ["bad-directory"]
    assert found(_two_directories(GOOD, GOOD)) == ["bad-directory"]


def test_torch_goes_by_the_end_that_is_refused(tmp_path: Path) -> None:
    import torch

    (tmp_path / "two.pt").write_bytes(_two_directories(GOOD, HOSTILE))
    assert torch._C.PyTorchFileReader(str(tmp_path / "two.pt")).get_record("data.pkl") == HOSTILE


def _two_directories(plain: bytes, large: bytes) -> bytes:
    """An archive whose plain end lists one pickle, and whose ZIP64 end, which nothing asks for, lists another."""
    raw, directories = b"", []
    for pickled in (plain, large):
        directory = b""
        for name, content in ((b"h/data.pkl", pickled), (b"h/version", VERSION)):
            head = (0, 0, 0, 0, crc32(content), len(content), len(content), len(name), 0)
            directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *head, 0, 0, 0, 0, len(raw)) + name
            raw += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *head) + name + content
        directories.append(directory)
    first, second = len(raw), len(raw) + len(directories[0])
    raw += b"".join(directories)
    ends = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(directories[1]), second)
    ends += struct.pack("<4sLQL", b"PK\6\7", 0, len(raw), 1)
    return raw + ends + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(directories[0]), first, 0)
