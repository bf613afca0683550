"""torch.save before 1.6 against torch itself: what it writes is whole, what is cut is not, and nothing is unpacked."""

import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.formats.torch_legacy import MAGIC, PROTOCOL, faults

SYSTEM = b"cos\nsystem\nVtouch executed\n\x85R"


def found(raw: bytes, full: bool = True) -> list[str]:
    return [code for code, _ in faults(io.BytesIO(raw), len(raw), full)[0]]


def saved(value: object) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def values() -> Iterator[tuple[str, object]]:
    import torch

    shared = torch.ones(10)
    parameter = torch.nn.Parameter(torch.ones(30, 40))
    parameter.grad = torch.ones(30, 40)
    optimizer = torch.optim.AdamW([parameter])
    optimizer.step()
    yield "optimizer", optimizer.state_dict()
    yield "module", torch.nn.Linear(3, 3).state_dict()
    yield "kinds", [torch.ones(3).to(t) for t in (torch.bfloat16, torch.half, torch.bool, torch.long, torch.complex128)]
    yield "float8", torch.ones(4).to(torch.float8_e4m3fn)
    yield "shared", [shared[:3], shared[5:], torch.ones(0)]
    yield "many", [torch.ones(1) for _ in range(20_000)]
    yield "no tensor", {"base_lrs": [0.1]}


@pytest.fixture(scope="module")
def raws() -> dict[str, bytes]:
    return {name: saved(value) for name, value in values()}


def test_whole_files_have_no_fault(raws: dict[str, bytes]) -> None:
    assert {name: (found(raw), found(raw, full=False)) for name, raw in raws.items()} == {n: ([], []) for n in raws}


def test_file_cut_anywhere_is_noticed(raws: dict[str, bytes]) -> None:
    for name in ("optimizer", "module", "kinds", "shared", "no tensor"):
        raw = raws[name]
        for end in (*range(min(len(raw), 1500)), *range(1500, len(raw), 997), len(raw) - 1):
            assert found(raw[:end]) in (["truncated"], ["empty"]), (name, end)


def test_file_that_goes_on_is_noticed(raws: dict[str, bytes]) -> None:
    assert {code for raw in raws.values() for code in found(raw + b"\0")} == {"trailing-bytes"}


def test_storage_of_another_size_than_its_tensor_asks_for_is_noticed(raws: dict[str, bytes]) -> None:
    raw = bytearray(raws["module"])
    at = raw.rindex(struct.pack("<q", 9))
    raw[at : at + 8] = struct.pack("<q", 8)
    assert found(bytes(raw)) == ["bad-storage"]
    raw[at : at + 8] = struct.pack("<q", -9)
    assert found(bytes(raw)) == ["bad-storage"]


def test_code_in_any_of_the_pickles_is_found() -> None:
    parts = [
        pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, {"little_endian": True}, dict[str, int](), list[int]())
    ]
    assert found(b"".join(parts)) == []
    for place in range(1, 5):
        changed = [*parts[:place], SYSTEM + b".", *parts[place + 1 :]]
        assert "unsafe-pickle" in found(b"".join(changed))
    assert found(b"".join([parts[0], pickle.dumps(1002, 2), *parts[2:]])) == ["bad-header"]


def test_bare_pickle(tmp_path: Path) -> None:
    raw = pickle.dumps({"step": 3, "numbers": list(range(5000))})
    assert found(raw) == found(raw, full=False) == []
    assert found(raw[:-1]) == found(raw[:-1], full=False) == ["truncated"]
    assert found(raw + b"N.") == ["bad-pickle"]
    assert found(b"\x80\x02" + SYSTEM + b".") == ["unsafe-pickle"]


def test_only_the_start_and_the_last_byte_are_read_at_the_quick_level(raws: dict[str, bytes]) -> None:
    for raw in (raws["many"], pickle.dumps([1] * 100_000)):
        assert faults(io.BytesIO(raw), len(raw), False)[1] <= 4097


def test_storages_are_stepped_over_not_read(tmp_path: Path) -> None:
    import torch

    torch.save(torch.ones(4_000_000), tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    with open(tmp_path / "a.bin", "rb") as file:
        found, read = faults(file, (tmp_path / "a.bin").stat().st_size, True)
    assert found == [] and read < 2_000_000


DAMAGED = {
    "nothing": (b"", "empty"),
    "zeros": (bytes(9000), "zeroed-header"),
    "text": (b"<html>quota exceeded</html>", "bad-header"),
    "magic alone": (pickle.dumps(MAGIC, 2), "truncated"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage(name: str) -> None:
    raw, code = DAMAGED[name]
    assert found(raw) == [code]


# -- tar -------------------------------------------------------------------------------------------------------------


def tar(**changed: Any) -> bytes:
    """Such a file as torch 0.1.1 wrote: its writer is gone, its reader in torch/serialization.py says the format."""

    float_storage = b"ctorch\nFloatStorage\n"
    entry = b"(I7\nVcpu\n" + float_storage + b"t."
    storages = pickle.dumps(1, 2) + entry + struct.pack("<q", 6) + bytes(24) + pickle.dumps([], 2)
    layout = struct.pack("<i", 2) + bytes(4) + struct.pack("<5q", 2, 3, 3, 1, 0)
    tensors = pickle.dumps(1, 2) + b"(I8\nI7\nctorch\nFloatTensor\nt." + layout
    members = {"sys_info": pickle.dumps({"little_endian": True}, 2), "pickle": b"}(Va\nP8\nu."}
    members |= {"storages": storages, "tensors": tensors, **changed}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_tar_is_what_torch_still_loads(tmp_path: Path) -> None:
    import torch

    (tmp_path / "old.pt").write_bytes(tar())
    assert torch.load(tmp_path / "old.pt", weights_only=False)["a"].shape == (2, 3)


def test_whole_tar_has_no_fault() -> None:
    assert found(tar()) == found(tar(), full=False) == []


def test_tar_cut_anywhere_is_noticed() -> None:
    raw = tar()
    end_of_members = raw.rindex(b"tensors") + 512 + 100
    for end in (*range(1, end_of_members, 101), end_of_members):
        assert found(raw[:end], full=False) and found(raw[:end]), end


def test_code_in_any_member_is_found() -> None:
    for name in ("sys_info", "pickle", "storages", "tensors"):
        assert found(tar(**{name: SYSTEM + b"."})) == ["unsafe-pickle"]


def test_tar_that_claims_more_than_it_holds_is_noticed() -> None:
    assert found(tar(tensors=pickle.dumps(2, 2))) == ["truncated"]
    assert found(tar(tensors=pickle.dumps(10**12, 2))) == ["too-large"]
    assert found(tar(storages=pickle.dumps(1, 2) + b"(I7\nVcpu\nctorch\nFloatStorage\nt." + b"\x7f" * 8)) == [
        "truncated"
    ]
    assert found(tar(storages=pickle.dumps(0, 2) + pickle.dumps([], 2) + b"x")) == ["trailing-bytes"]


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "other"])
def test_strange_member_is_a_fault_and_nothing_is_unpacked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(tar(**{name: b"x"})) == ["bad-member"]
    assert not list(Path(tmp_path).parent.glob("escaped")) and not list(tmp_path.iterdir())


def test_flipped_bits_never_raise(raws: dict[str, bytes]) -> None:
    for raw in (tar(), raws["module"]):
        for bit in range(0, 8 * len(raw), 37):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            assert isinstance(found(bytes(changed)), list)
