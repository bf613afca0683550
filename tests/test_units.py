"""Bytes, times and shares as a person reads them: no false digit, no unit that is one too small."""

from collections.abc import Callable
from typing import Any

import pytest

from ckptkit import units

SHOWN: dict[Callable[..., str], dict[Any, str]] = {
    units.human: {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_940: "999.9 kB", 999_950: "1.0 MB", -2e9: "-2.0 GB"},
    units.age: {-5: "0 s", 119: "119 s", 120: "2 min", 7200: "2.0 h", 2 * 86400: "2.0 d"},
    units.percent: {0: "0 %", 0.004: "<1 %", 0.006: "1 %", 0.5: "50 %", 0.994: "99 %", 0.996: ">99 %", 1: "100 %"},
    units.saves: {
        0: "no save",
        0.04: "no save",
        0.05: "0.1 saves",
        1.94: "1.9 saves",
        10: "10 saves",
        1e4: "10,000 saves",
    },
}


@pytest.mark.parametrize("shown, value, text", [(f, v, t) for f, table in SHOWN.items() for v, t in table.items()])
def test_value_is_shown_as(shown: Callable[[float], str], value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("number, text", [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_one_is_no_plural(number: int, text: str) -> None:
    assert units.count(number, "run") == text
