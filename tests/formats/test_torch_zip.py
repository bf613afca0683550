"""The reader of torch.save's files against torch itself: all that it writes is whole, all that is cut is not."""

import io
import pickle
import subprocess
import zipfile
from pathlib import Path

import pytest

from ckptkit.formats import TORN
from ckptkit.formats.stream import Parts
from ckptkit.formats.torch_records import Archive, parts, placed
from ckptkit.formats.torch_zip import faults, read

KINDS = {
    "tensors": lambda torch: {"step": 3, "state": [torch.ones(5), torch.zeros(2, 2, dtype=torch.bfloat16)]},
    "nothing": lambda torch: {},
    "no_tensor": lambda torch: {"base_lrs": [0.1], "last_epoch": 7},
    "many_records": lambda torch: [torch.tensor([i]) for i in range(300)],
}


def found(raw):
    """The codes of the faults that the directory alone tells."""
    return [code for code, _ in faults(io.BytesIO(raw), len(raw))[0]]


def in_records(raw):
    """The faults that reading every record tells."""
    file = io.BytesIO(raw)
    told, places = placed(file, read(file, len(raw))[2])
    sink = Parts(parts(places, Archive()))
    sink.feed(memoryview(raw))
    return told + sink.faults()


@pytest.fixture(scope="module", params=KINDS)
def raw(request):
    """What torch.save writes of each kind."""
    import torch

    file = io.BytesIO()
    torch.save(KINDS[request.param](torch), file)
    return file.getvalue()


def test_whole_file_has_no_fault_in_its_directory_nor_its_records(raw):
    assert found(raw) == [] and in_records(raw) == []


def test_file_cut_anywhere_is_noticed_and_is_torn(raw):
    ends = sorted({*range(300), *range(300, len(raw), 41), *range(len(raw) - 150, len(raw))} & {*range(len(raw))})
    assert all(found(raw[:end]) for end in ends)
    assert {code for end in ends if end >= 4 for code in found(raw[:end])} <= TORN


def test_file_whose_end_never_reached_the_disk_is_noticed(raw):
    """A delayed allocation that was lost: the right size, and zeros from some block on."""
    for keep in (512, 1024, len(raw) // 2, len(raw) - 100):
        if keep < len(raw):
            assert found(raw[:keep] + b"\0" * (len(raw) - keep))


def test_legacy_file_has_no_fault():
    import torch

    file = io.BytesIO()
    torch.save({"x": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    assert found(file.getvalue()) == []


def test_archive_of_more_records_than_16_bits_count_has_no_fault():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{number}"), b"")
    assert found(file.getvalue()) == []
    assert found(file.getvalue()[:-1]) and found(file.getvalue()[:-60])


def test_archive_larger_than_32_bits_count_has_no_fault(tmp_path):
    """A real ZIP64 file of 5 GB of which only the ends take blocks; at the quick level nobody reads between them."""
    path = tmp_path / "optimizer.pt"
    record = zipfile.ZipInfo("archive/data/0")
    size = 5 << 30
    with open(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open(record, "w", force_zip64=True) as content:
            content.write(b"\1")
            # The record's bytes as a hole: written as zipfile would have, without writing them.
            file.seek(size - 1, 1)
            content._file_size += size - 1
            content._compress_size += size - 1
    with open(path, "rb") as file:
        assert faults(file, path.stat().st_size)[0] == []
    listed = subprocess.run(["python3", "-m", "zipfile", "-l", str(path)], capture_output=True, text=True, check=True)
    assert str(size) in listed.stdout, "the file is not what this test means to make"


def test_every_flipped_bit_of_a_record_is_seen_by_reading_it(real):
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


def _extra(raw, record):
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
def test_damage(name):
    content, code = DAMAGED[name]
    assert found(content) == [code]


def test_only_the_ends_of_a_large_file_are_read(tmp_path):
    import torch

    torch.save(torch.zeros(4_000_000), tmp_path / "large.pt")
    with open(tmp_path / "large.pt", "rb") as file:
        _, count = faults(file, 16_000_000)
    assert count < 100_000


def test_pickle_inside_is_never_loaded(tmp_path):
    class Canary:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    for raw in (pickle.dumps(Canary()), _archived(pickle.dumps(Canary()))):
        found(raw)
        in_records(raw)
    assert not (tmp_path / "executed").exists()


def _archived(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()
