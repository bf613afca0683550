"""When a volume is full, in words."""

import pytest

from ckptkit.model.events import Outlook
from ckptkit.render.outlook import outlook, span

NOW = 1_000_000_000.0  # 2001-09-09 01:46:40 UTC
SENTENCES = {
    "the disk will be full at step 9,000, about 03:56 UTC (in 2 h 10 min)": Outlook(NOW + 7_800, 9_000, 100, 9_000),
    "the disk will be full at step 12, about 2001-09-12 05:46 UTC (in 3 d 4 h)": Outlook(NOW + 273_600, 12, 100, 12),
    "the disk will be full, about 01:47 UTC (in 40 s)": Outlook(NOW + 40, None, 100, None),
    "the disk is full now": Outlook(NOW - 10, 3, 100, 3),
    "the disk will not fill up in this run (peak 41 % at step 28,000)": Outlook(None, None, 41, 28_000),
    "the disk will not fill up in this run (peak 41 %)": Outlook(None, None, 41, None),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_outlook_in_words(sentence: str) -> None:
    assert outlook(SENTENCES[sentence], NOW, 100) == sentence


def test_a_volume_of_unknown_size_has_no_share() -> None:
    assert outlook(Outlook(None, None, 5, None), NOW, 0) == "the disk will not fill up in this run"


def test_minutes() -> None:
    assert span(119.6) == "2 min"
