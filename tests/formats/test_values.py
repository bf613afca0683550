"""NaN and Inf in a tensor's bytes, against numpy and torch: the same answer for any bytes, in any pieces."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.formats.safetensors import BITS
from ckptkit.formats.values import KINDS, Values

NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "C64": "c8"}
TORCH = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
EACH = [*NUMPY, *TORCH]
CHUNK_BYTES = 1 << 20

# Most significant byte first, as the formats' texts have them: NaN quiet and signalling (its lowest bit alone), of both
# signs; Inf of both signs; the largest finite, the smallest above zero, and minus zero.
BAD = {
    "F64": "7ff8000000000000 fff8000000000000 7ff0000000000001 fff0000000000001 7ff0000000000000 fff0000000000000",
    "F32": "7fc00000 ffc00000 7f800001 ff800001 7fffffff 7f800000 ff800000",
    "F16": "7e00 fe00 7c01 fc01 7fff 7c00 fc00",
    "BF16": "7fc0 ffc0 7f81 ff81 7fff 7f80 ff80",
    "C64": "7fc0000000000000 000000007f800001 3f800000ff800000 ffc0000042f70000",
    "F8_E4M3": "7f ff",
    "F8_E5M2": "7e fe 7d fd 7f ff 7c fc",
    "F8_E8M0": "ff",
    "F8_E4M3FNUZ": "80",
    "F8_E5M2FNUZ": "80",
}
EXTREME = {
    "F64": "7fefffffffffffff ffefffffffffffff 0000000000000001 000fffffffffffff 8000000000000000",
    "F32": "7f7fffff ff7fffff 7f000000 00000001 007fffff 80000000",
    "F16": "7bff fbff 7800 0001 03ff 8000",
    "BF16": "7f7f ff7f 7f00 0001 007f 8000",
    "C64": "7f7fffffff7fffff 7f7fffff00000001 8000000000000001",
    "F8_E4M3": "7e fe 78 01 07 80",  # 448; this format has no Inf: 0x78 is 256
    "F8_E5M2": "7b fb 01 03 80",
    "F8_E8M0": "fe 00 7f 80",
    "F8_E4M3FNUZ": "7f ff 01 81",
    "F8_E5M2FNUZ": "7f ff 01 81",
}


def patterns(listed: str) -> list[bytes]:
    """Each pattern as it lies in a file, little-endian: the two numbers of a complex one one after the other."""
    return [bytes.fromhex(text)[::-1] for text in listed.split()]


def width(dtype: str) -> int:
    return BITS[dtype] // 8


def as_numbers(dtype: str, raw: bytes) -> numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]:
    """The values as the format's own library reads them, widened."""
    if dtype in NUMPY:
        return numpy.frombuffer(raw, "<" + NUMPY[dtype])
    import torch

    array: numpy.ndarray[Any, Any] = (
        torch.frombuffer(bytearray(raw), dtype=getattr(torch, TORCH[dtype])).float().numpy()
    )
    return array


def fed(dtype: str, raw: bytes | bytearray, cuts: Sequence[int] = ()) -> Values:
    """The values after all of it came, cut there. The memory of a chunk is used again, as `stream.read_all` does."""
    values = Values(dtype)
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for begin, end in itertools.pairwise(edges):
        chunk = memoryview(bytearray(raw[begin:end]))
        values.feed(chunk)
        chunk[:] = b"\xa5" * len(chunk)
    return values


def told(code: str, at: int) -> list[tuple[str, str]]:
    return [(code, f"value {at:,} is {'NaN' if code == 'nan' else 'Inf'}")]


def kinds(dtype: str, raw: bytes) -> numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]:
    """Of each number "nan", "inf" or "", by the format's own library; a complex one is two."""
    numbers = as_numbers(dtype, raw)
    numbers = numbers.view("f4") if dtype == "C64" else numbers
    return numpy.where(numpy.isnan(numbers), "nan", numpy.where(numpy.isinf(numbers), "inf", ""))


def expected(dtype: str, raw: bytes) -> list[tuple[str, str]]:
    """The fault by the format's own library."""
    judged = kinds(dtype, raw)
    bad = numpy.flatnonzero(judged)
    return told(str(judged[bad[0]]), int(bad[0]) // KINDS[dtype].numbers) if len(bad) else []


def healthy(dtype: str, count: int, seed: int = 1) -> bytearray:
    """Random bytes of `count` values, without those that are NaN or Inf."""
    raw = random.Random(seed).randbytes(count * width(dtype))
    numbers = numpy.frombuffer(raw, f"V{width(dtype) // KINDS[dtype].numbers}").copy()
    numbers[kinds(dtype, raw) != ""] = bytes(numbers.itemsize)
    return bytearray(numbers.tobytes())


@pytest.mark.parametrize("dtype", [d for d in EACH if BITS[d] <= 16])
def test_every_bit_pattern_of_small_formats_is_judged_as_its_library_does(dtype: str) -> None:
    size = width(dtype)
    whole = b"".join(pattern.to_bytes(size, "little") for pattern in range(1 << 8 * size))
    for pattern, code in enumerate(kinds(dtype, whole)):
        found = fed(dtype, pattern.to_bytes(size, "little")).faults()
        assert found == (told(code, 0) if code else []), hex(pattern)


@pytest.mark.parametrize("dtype", EACH)
@settings(max_examples=60, deadline=None)
@given(raw=st.binary(min_size=8, max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5), bias=st.booleans())
def test_any_bytes_in_any_pieces(dtype: str, raw: bytes, cuts: list[int], bias: bool) -> None:
    if bias:  # else a set exponent is too rare
        raw = raw.replace(raw[3:4], b"\x7f").replace(raw[5:6], b"\xff").replace(raw[6:7], b"\x80")
    raw = raw[: len(raw) // 8 * 8]
    values = fed(dtype, raw, cuts)
    assert values.faults() == expected(dtype, raw)
    assert values.all_zero == (not any(raw))


@pytest.mark.parametrize("dtype", EACH)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_mix_of_the_extreme_and_the_bad_in_any_pieces(dtype: str, data: Any) -> None:
    known = st.sampled_from(patterns(EXTREME[dtype]) * 4 + patterns(BAD[dtype]) + [bytes(width(dtype))])
    raw = b"".join(data.draw(st.lists(known, min_size=1, max_size=60)))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=5))
    assert fed(dtype, raw, cuts).faults() == expected(dtype, raw)


@pytest.mark.parametrize("dtype,pattern", [(d, p) for d in EACH for p in patterns(BAD[d])], ids=str)
def test_one_bad_value_among_healthy_ones_is_found_where_it_is(dtype: str, pattern: bytes) -> None:
    size = width(dtype)
    raw = healthy(dtype, count := 2 * CHUNK_BYTES // size)
    (code, _) = expected(dtype, pattern)[0]
    border = CHUNK_BYTES // size
    for at in (0, 1, border - 1, border, random.Random(pattern).randrange(count), count - 1):
        before = raw[at * size : (at + 1) * size]
        raw[at * size : (at + 1) * size] = pattern
        assert fed(dtype, raw, [CHUNK_BYTES]).faults() == told(code, at)
        raw[at * size : (at + 1) * size] = before


@pytest.mark.parametrize("dtype", [d for d in EACH if BITS[d] > 8])
def test_bad_value_is_found_wherever_chunks_cut_it(dtype: str) -> None:
    size = width(dtype)
    for pattern in patterns(BAD[dtype]):
        raw = bytes(healthy(dtype, 5)) + pattern + bytes(healthy(dtype, 4, seed=2))
        found = expected(dtype, pattern)[0][0]
        for cut in range(5 * size, 6 * size + 1):
            assert fed(dtype, raw, [cut]).faults() == told(found, 5), cut
        assert fed(dtype, raw, range(len(raw))).faults() == told(found, 5), "a byte a chunk"


@pytest.mark.parametrize("dtype", EACH)
def test_the_largest_the_smallest_and_minus_zero_are_healthy(dtype: str) -> None:
    raw = b"".join(patterns(EXTREME[dtype])) * 999
    assert not expected(dtype, raw)
    values = fed(dtype, raw, range(0, len(raw), 777))
    assert values.faults() == [] and not values.all_zero


@pytest.mark.parametrize("dtype", EACH)
def test_one_bad_value_among_the_largest_is_found(dtype: str) -> None:
    largest, bad = patterns(EXTREME[dtype])[0], patterns(BAD[dtype])[0]
    raw = largest * 9_999 + bad + largest * 9_999
    assert fed(dtype, raw, [30_001]).faults() == told("nan", 9_999)


@pytest.mark.parametrize("dtype", EACH)
def test_weights_of_random_bytes_are_judged_as_their_library_does(dtype: str) -> None:
    raw = bytes(healthy(dtype, 300_000))
    assert fed(dtype, raw, range(0, len(raw), 100_003)).faults() == expected(dtype, raw) == []


def test_the_first_bad_value_is_told_whatever_comes_later() -> None:
    inf, nan, one = b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x3f"
    assert fed("F32", one + inf + nan + nan, [8, 12]).faults() == told("inf", 1)
    assert fed("F32", one + nan + inf + inf, [8, 12]).faults() == told("nan", 1)


@pytest.mark.parametrize("dtype", [d for d in BITS if d not in KINDS])
def test_what_has_no_nan_never_has_one(dtype: str) -> None:
    values = fed(dtype, b"\xff\x7f" * 800)
    assert values.faults() == [] and not values.all_zero
    assert fed(dtype, bytes(800)).all_zero


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E4M3", "I64"])
def test_zeros_are_zeros_until_the_last_byte(dtype: str) -> None:
    assert fed(dtype, bytes(3_000_000), [1_000_001]).all_zero
    assert not fed(dtype, bytes(2_999_999) + b"\1", [1_000_001]).all_zero
    assert not fed(dtype, b"\1" + bytes(2_999_999), [1_000_001]).all_zero
    assert not fed(dtype, bytes(63) + b"\1" + bytes(99)).all_zero and not fed(dtype, bytes(64) + b"\1").all_zero


def test_minus_zeros_are_no_zeros() -> None:
    assert not fed("F32", b"\0\0\0\x80" * 99).all_zero


@pytest.mark.parametrize("dtype", ["F32", "I64"])
def test_empty_chunks_change_nothing(dtype: str) -> None:
    assert fed(dtype, b"").all_zero and fed(dtype, b"").faults() == []
    assert fed(dtype, b"\0" * 8, [0, 0, 3, 3, 8]).all_zero


def test_complex_value_is_counted_as_one() -> None:
    raw = numpy.array([1 + 2j, complex(0, float("inf"))], "c8").tobytes()
    assert fed("C64", raw).faults() == told("inf", 1)


def test_nothing_more_is_looked_at_once_a_bad_value_is_found() -> None:
    values = fed("F32", b"\0\0\xc0\x7f" * 9)
    values.feed(object())  # type: ignore[arg-type]  # would raise: it holds no bytes
    assert values.faults() == told("nan", 0)
