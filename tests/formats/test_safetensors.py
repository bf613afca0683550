"""The safetensors reader against the format's own library: it must condemn nothing that loads, nor pass what is cut."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
import safetensors
from safetensors.numpy import save

from ckptkit.formats import TORN
from ckptkit.formats.safetensors import faults


def found(raw: bytes) -> list[str]:
    """The codes of the faults."""
    return [code for code, _ in faults(io.BytesIO(raw), len(raw))[0]]


def loads(raw: bytes) -> bool:
    """Whether the format's own library takes it."""
    try:
        safetensors.deserialize(raw)
    except safetensors.SafetensorError:
        return False
    return True


def file_of(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int) -> dict[str, Sequence[object]]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


WHOLE = {
    "several_types": {"b": numpy.ones((2, 3), "f4"), "c": numpy.array(5), "d": numpy.ones(7, "?")},
    "a_scalar": {"x": numpy.array(1.5, "f8")},
    "an_empty_tensor": {"x": numpy.zeros((0, 4), "f4")},
    "empty_among_full": {"a": numpy.zeros((0,), "f4"), "b": numpy.ones(9, "u1"), "c": numpy.zeros((3, 0), "i8")},
    "no_tensor": {},
    "names_of_any_text": {"a b\n\"\\ü": numpy.ones(1), "__metadata": numpy.ones(2), "": numpy.ones(3)},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_whole_file_has_no_fault(name: str) -> None:
    raw = save(WHOLE[name], {"format": "pt"})
    assert loads(raw) and found(raw) == []


@pytest.mark.parametrize("name", WHOLE)
def test_file_cut_anywhere_is_torn(name: str) -> None:
    raw = save(WHOLE[name])
    assert {code for end in range(len(raw)) for code in found(raw[:end])} <= TORN
    assert all(found(raw[:end]) for end in range(len(raw)))


def test_real_weights_cut_anywhere_are_torn(real: str) -> None:
    raw = Path(real, "lora/checkpoint-100/adapter_model.safetensors").read_bytes()
    ends = {*range(64), *range(64, len(raw), 97), len(raw) - 1}
    assert found(raw) == [] and all(found(raw[:end]) for end in ends)


def test_no_flipped_bit_of_a_header_that_still_loads_is_condemned() -> None:
    raw = save(WHOLE["several_types"], {"format": "pt"})
    header_end = 8 + int.from_bytes(raw[:8], "little")
    both = [0, 0]
    for bit in range(header_end * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        if loads(bytes(changed)):
            both[0] += 1
            assert found(bytes(changed)) == [], changed[:header_end]
        else:
            both[1] += 1
    assert min(both) > 50, "the flips did not reach both sides"


DAMAGED = {
    "zeros": (b"\0" * 4096, "zeroed-header"),
    "header_larger_than_the_format_allows": ((100_000_001).to_bytes(8, "little") + b"{", "bad-header"),
    "header_of_2_64_less_1": (b"\xff" * 8 + b"{}", "bad-header"),
    "header_that_is_no_json": (file_of(b"nothing here"), "bad-header"),
    "header_that_is_a_list": (file_of([]), "bad-header"),
    "header_in_no_encoding": (file_of(b'{"\xff": 1}'), "bad-header"),
    "header_nested_too_deep": (file_of(b"[" * 200_000), "bad-header"),
    "tensor_without_offsets": (file_of({"x": {"dtype": "U8", "shape": [1]}}, b"1"), "bad-header"),
    "three_offsets": (file_of({"x": {"data_offsets": [0, 1, 2]}}, b"12"), "bad-header"),
    "offsets_that_are_text": (file_of({"x": {"data_offsets": ["0", "1"]}}, b"1"), "bad-header"),
    "hole_between_tensors": (file_of({"a": tensor(0, 2), "b": tensor(3, 5)}, b"12345"), "bad-offsets"),
    "overlapping_tensors": (file_of({"a": tensor(0, 3), "b": tensor(2, 5)}, b"12345"), "bad-offsets"),
    "end_before_begin": (file_of({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, -1]}}), "bad-header"),
    "first_tensor_not_at_0": (file_of({"a": tensor(1, 3)}, b"123"), "bad-offsets"),
    "bytes_after_the_last": (file_of({"a": tensor(0, 2)}, b"123"), "trailing-bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage(name: str) -> None:
    raw, code = DAMAGED[name]
    assert not loads(raw) and found(raw) == [code]


def test_only_the_header_is_read() -> None:
    raw = save({"x": numpy.ones(1_000_000, "f4")})
    file = io.BytesIO(raw)
    _, count = faults(file, len(raw))
    assert file.tell() == count == 8 + int.from_bytes(raw[:8], "little") < 200
