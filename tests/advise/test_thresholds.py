"""When the monitor warns, and when it stops: pure values."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ckptkit.advise.levels import LADDERS, condition, growth, judge, rung, wait
from ckptkit.model.disk import Volume
from ckptkit.model.events import Outlook, RunSight, Sample, Sight, VolumeSight
from tests.support.typed import present

NOW = 1_800_000_000.0
GB = 10**9


def volume(used: float = 0.3, inodes: float = 0.1, read_only: bool = False) -> Volume:
    free = round(1000 * (1 - used))
    return Volume("/v", "/v", "dev", "ext4", 1000, free, free, 1000, round(1000 * (1 - inodes)), read_only)


def run(**other: Any) -> RunSight:
    return RunSight(Sample(NOW, "/v", 1000, 300, other.pop("available", 700), run="/v/run"), **other)


def told(values: Sequence[Any], look: Callable[..., Sight], code: str) -> list[int | None]:
    """Rungs of the alerts of one code, look by look; None where there was none."""
    found = []
    standing: dict[Any, Any] = {}
    for value in values:
        alerts = [a for a in judge(look(value), standing) if a.code == code]
        assert len(alerts) <= 1
        standing |= {(a.subject, a.code): a.rung for a in alerts}
        found.append(alerts[0].rung if alerts else None)
    return found


def of_volume(**value: Any) -> Sight:
    return Sight(NOW, volumes=(VolumeSight(volume(**value)),))


def of_run(**value: Any) -> Sight:
    return Sight(NOW, runs=(run(**value),))


N = None
USED = {
    "below_50_says_nothing": ((0.30, 0.40, 0.50), (N, N, N)),
    "above_50_once": ((0.51, 0.52, 0.51), (1, N, N)),
    "each_threshold_is_told": ((0.51, 0.61, 0.81, 0.91), (1, 2, 3, 4)),
    "several_at_once_are_told_as_one": ((0.30, 0.95), (N, 4)),
    "flutter_at_a_threshold_is_told_once": ((0.61, 0.599, 0.61, 0.59, 0.61), (2, N, N, N, N)),
    "a_whole_band_below_clears": ((0.61, 0.57), (2, 1)),
    "exactly_a_band_below_clears": ((0.91, 0.88), (4, 3)),
    "straight_down_clears_all": ((0.95, 0.30), (4, 0)),
    "again_after_it_cleared": ((0.51, 0.40, 0.51), (1, 0, 1)),
    "falls_through_some_and_stays_in_a_band": ((0.91, 0.79), (4, 3)),
}


@pytest.mark.parametrize("values, expected", USED.values(), ids=USED)
def test_use(values: tuple[float, ...], expected: tuple[int | None, ...]) -> None:
    assert told(values, lambda used: of_volume(used=used), "used") == list(expected)


HEADROOM = {
    "two_saves_are_enough": ((200, 200), (N, N)),
    "less_than_two_then_less_than_one": ((199, 99), (1, 2)),
    "flutter_is_told_once": ((199, 201, 199, 215), (1, N, N, N)),
    "clears_a_band_above": ((99, 119, 120, 219, 220), (2, N, 1, N, 0)),
}


@pytest.mark.parametrize("values, expected", HEADROOM.values(), ids=HEADROOM)
def test_headroom_in_saves(values: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    assert told(values, lambda free: of_run(available=free, save_bytes=100), "headroom") == list(expected)


def test_headroom_without_any_save_yet_says_nothing() -> None:
    assert judge(of_run(available=1), {}) == ()


def test_inodes_and_read_only() -> None:
    assert told((0.85, 0.95, 0.5), lambda share: of_volume(inodes=share), "inodes") == [3, 4, 1]
    assert told((True, True, False), lambda yes: of_volume(read_only=yes), "read-only") == [1, N, 0]


def test_growth_above_5_gb_an_hour_and_back() -> None:
    def look(rate: Any) -> Sight:
        return Sight(NOW, volumes=(VolumeSight(volume(), rate),))

    assert told((None, 4.9 * GB, 5.1 * GB, None, 4.5 * GB, 3.9 * GB), look, "growth") == [N, N, 1, N, N, 0]


COUNT = ((0, N), (2, 1), (None, N), (1, N), (0, 0))


def test_count_above_the_policy_and_nothing_while_it_can_not_be_told() -> None:
    assert told([c for c, _ in COUNT], lambda over: of_run(over_policy=over), "count") == [r for _, r in COUNT]


def test_newest_one_damaged_until_an_intact_one_comes() -> None:
    states = ("intact", "in_progress", "incomplete", "unknown", "corrupt", "in_progress", "intact")
    assert told(states, lambda state: of_run(newest=state), "damaged") == [N, N, 1, N, N, N, 0]


LATE = {
    "within_three_intervals": ((600, 1800), (N, N)),
    "later": ((1801, 2400, 10), (1, N, 0)),
    "asleep_for_days_is_no_news": ((10 * 86400,), (N,)),
    "fell_asleep_stays_as_it_was_told": ((1801, 10 * 86400, 10), (1, N, 0)),
}


@pytest.mark.parametrize("values, expected", LATE.values(), ids=LATE)
def test_no_save_for_three_intervals(values: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    look = lambda silent: of_run(last_save_at=NOW - silent, save_interval=600.0)  # noqa: E731
    assert told(values, look, "no-save") == list(expected)


def test_copied_checkpoints_of_one_second_make_no_interval() -> None:
    assert judge(of_run(last_save_at=NOW - 170, save_interval=0.01), {}) == ()


def test_outlook_full_within_a_week_a_day_two_hours_never() -> None:
    def look(hours: Any) -> Sight:
        return of_run(outlook=Outlook(None if hours is None else NOW + hours * 3600, None, 0, None))

    assert told((None, 30, 23, 1.9, None), look, "full-soon") == [N, 1, 2, 3, 0]


def test_what_can_not_be_seen_is_told_once_and_when_it_can_be_again() -> None:
    bad, good = Sight(NOW, errors=(("/v", "gone"),)), of_volume()
    assert told((bad, bad, good, good), lambda sight: sight, "unreadable") == [1, N, 0, N]


def test_alert_names_the_command_and_a_cleared_one_none() -> None:
    (raised,) = judge(of_volume(used=0.95), {})
    assert (raised.level, raised.message) == ("red", "/v is 95 % used: the next save may fail") and raised.command
    (cleared,) = judge(of_volume(used=0.3), {("/v", "used"): 4})
    assert (cleared.level, cleared.command) == ("green", "")


OUTLOOKS = {
    "/v/run: the disk will be full in 114 min, at step 28,000: make room now": (
        Outlook(NOW + 6840, 28_000, 0, None),
        0,
    ),
    "/v/run: the disk is full now: make room now": (Outlook(NOW - 1, 28_000, 0, None), 0),
    "/v/run: the disk will not fill up in this run (peak 52 % at step 28,000)": (Outlook(None, None, 520, 28_000), 3),
}


@pytest.mark.parametrize("words", OUTLOOKS)
def test_outlook_is_told_in_words_that_stand_alone(words: str) -> None:
    outlook, before = OUTLOOKS[words]
    (raised,) = judge(of_run(outlook=outlook), {("/v/run", "full-soon"): before})
    assert raised.message == words


def test_every_rung_of_every_ladder_has_its_words() -> None:
    for ladder in LADDERS.values():
        assert all(rung.words and rung.level for rung in ladder.rungs)
        above = [rung.above for rung in ladder.rungs]
        assert above == sorted(above)
        assert rung(ladder, above[-1] + 1e12, 0) == len(above)


def samples(*used: int, apart: float = 600.0, total: int = 1000) -> list[Sample]:
    return [Sample(NOW + i * apart, "/v", total, u, total - u) for i, u in enumerate(used)]


def test_growth_is_the_slope_of_the_last_hour() -> None:
    assert growth(samples(*range(0, 700, 100))) == pytest.approx(600)
    assert growth(samples(*[0] * 20, *range(0, 700, 100))) == pytest.approx(600)


@pytest.mark.parametrize("teeth", [2, 3])
def test_growth_of_a_saw_without_a_trend_is_small(teeth: int) -> None:
    """Of two, every other sample is looked at, which are all alike; of three each kind of them."""
    saw = [3 * GB if i % teeth == 1 else 0 for i in range(60)]
    assert abs(present(growth(samples(*saw, apart=60.0, total=100 * GB)))) < 0.5 * GB


def test_growth_of_too_few_or_too_short_is_not_known() -> None:
    assert growth([]) is None
    assert growth(samples(1, 2)) is None
    assert growth(samples(1, 2, 3, apart=60.0)) is None


def test_condition_in_a_word() -> None:
    flat, seen = samples(350, 340, 360), VolumeSight(volume(), 0.0)
    assert condition(flat, seen) == "healthy"
    assert condition(samples(550, 540, 560), seen) == "stable"
    assert condition(samples(100, 300, 500), VolumeSight(volume(), 2 * GB)) == "growing 2.0 GB an hour"
    assert condition([], VolumeSight(volume())) == "no trend yet"


@pytest.mark.parametrize("free, seconds", [(10_000, 600), (200, 600), (100, 300), (50, 150), (1, 5), (0, 5)])
def test_looks_come_faster_as_headroom_shrinks(free: int, seconds: int) -> None:
    assert wait(600.0, of_run(available=free, save_bytes=100)) == seconds


def test_a_pace_that_was_asked_for_below_5_seconds_is_kept() -> None:
    assert wait(1.0, of_run(available=0, save_bytes=100)) == 1.0
