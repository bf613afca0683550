"""A tail of zeros is a lost one from exactly one page on, and only where it begins with a page."""

from collections.abc import Sequence

import pytest

from ckptkit.formats.zero_tail import CLOSE_BYTES, PAGE_BYTES, ZeroTail


def codes(raw: bytes, starts: Sequence[int] = (), piece: int = 1 << 20) -> list[str]:
    """The codes of what a file of these bytes is faulted for, fed in pieces."""
    tail = ZeroTail(starts)
    for at in range(0, len(raw), piece):
        tail.feed(memoryview(raw[at : at + piece]))
    return [code for code, _ in tail.faults()]


FILLED = b"\1" * PAGE_BYTES


@pytest.mark.parametrize("piece", [7, PAGE_BYTES, 1 << 20])
@pytest.mark.parametrize(
    "raw, expected",
    [
        (FILLED, []),
        (FILLED + bytes(PAGE_BYTES - 1), []),
        (FILLED + bytes(PAGE_BYTES), ["zeroed-tail"]),
        (FILLED + bytes(PAGE_BYTES + 1), ["zeroed-tail"]),
        (FILLED[:-CLOSE_BYTES] + bytes(CLOSE_BYTES + PAGE_BYTES), ["zeroed-tail"]),
        (FILLED[: -CLOSE_BYTES - 1] + bytes(CLOSE_BYTES + 1 + PAGE_BYTES), []),
    ],
    ids=["no zeros", "a byte less than a page", "a page", "more than a page", "close to a page", "within a page"],
)
def test_zeros_are_a_lost_tail_from_one_whole_page_on(raw: bytes, expected: list[str], piece: int) -> None:
    assert codes(raw, piece=piece) == expected


def test_zeros_that_begin_with_a_tensor_are_its_own() -> None:
    assert codes(FILLED + bytes(PAGE_BYTES), starts=[PAGE_BYTES]) == []
    assert codes(FILLED + bytes(PAGE_BYTES), starts=[PAGE_BYTES + 1]) == ["zeroed-tail"]
