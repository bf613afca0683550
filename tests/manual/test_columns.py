"""Text in columns: what is to be copied stays in one piece."""

import pytest

from ckptkit.manual import columns

LONG = "/volume/" + "a-long-name-" * 6 + "end"


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_word_that_is_longer_than_the_line_is_neither_folded_nor_broken_at_a_hyphen(width: int) -> None:
    assert LONG in columns.filled(f"see {LONG} for more", width).split("\n")
    assert LONG in columns.folded(f"ckptkit prune {LONG} --dry-run", width).replace(" \\", "").split()
