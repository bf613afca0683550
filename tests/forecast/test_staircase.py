"""Nine ways in which a volume fills, and four in which it does not: death is told within one save, and never else."""

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.forecast.patterns import DYING, GB, HEALTHY, PATTERNS, outlooks
from ckptkit.forecast.volume_full import drift, outlook, theil_sen
from ckptkit.model.events import Outlook, Sample
from tests.support.typed import present


@pytest.mark.parametrize("name", DYING)
def test_death_is_told_within_one_save_interval(name: str) -> None:
    pattern = PATTERNS[name]
    told, death = outlooks(pattern)
    assert death and len(told) >= 4
    assert [(step, seen) for step, seen in told if abs((seen.full_step or 0) - death) > pattern.save_steps] == []


@pytest.mark.parametrize("name", HEALTHY)
def test_the_healthy_raise_no_false_alarm(name: str) -> None:
    pattern = PATTERNS[name]
    told, death = outlooks(pattern)
    assert death is None and len(told) > 50
    assert [(step, seen) for step, seen in told if seen.full_step] == []


@pytest.mark.parametrize("keep", [1, 2])
def test_one_more_that_is_pinned_is_no_failing_deletion(keep: int) -> None:
    held = [sample(n * 500.0, 70 * GB, 1_000 * (n // 2 + 1), keep + 1, 9 * GB) for n in range(20)]
    assert outlook(held, 9_500.0, 3 * GB, 1_000, 28_000, keep).full_step is None


def test_there_are_twelve_patterns_or_more_and_four_are_healthy() -> None:
    assert len(PATTERNS) >= 12 and len(HEALTHY) == 4


# --- the parts ------------------------------------------------------------------------------------------------------


def sample(at: float, used: int, step: int = 0, checkpoints: int = 0, held: int = 0, total: Any = 100 * GB) -> Sample:
    return Sample(at, "/", total, used, total - used, "/run", step, checkpoints, held)


def line(values: Sequence[int], every: float = 60.0) -> list[tuple[float, float]]:
    return [(index * every, float(value)) for index, value in enumerate(values)]


SLOPES = {
    "no point": ([], 0.0),
    "one point": (line([5]), 0.0),
    "flat": (line([5] * 20), 0.0),
    "rising": (line(range(0, 6000, 60)), 1.0),
    "falling counts as standing still": (line(range(6000, 0, -60)), 0.0),
    "one step in the middle": (line([5] * 10 + [9000] * 10), 0.0),
    "a burst and its end": (line([5] * 7 + [9000] * 7 + [5] * 7), 0.0),
    "rising, with a step in the middle": (line([*range(0, 600, 60), *range(90_000, 90_600, 60)]), 1.0),
    "two points": (line([0, 60]), 1.0),
    "points at the same moment": ([(0.0, 1.0), (0.0, 9.0)], 0.0),
}


@pytest.mark.parametrize("name", SLOPES)
def test_slope_of_the_rest(name: str) -> None:
    points, slope = SLOPES[name]
    assert drift(points).bytes_per_second == pytest.approx(slope, rel=0.02, abs=1e-9)


def test_a_third_of_the_points_may_be_wrong() -> None:
    points = [(float(at), 2.0 * at + (1e6 if at % 5 == 0 else 0)) for at in range(50)]
    assert theil_sen(points) == pytest.approx(2.0)


def test_a_swing_counts_with_its_crest_when_it_is_in_its_trough() -> None:
    seen = drift(line(([0] * 4 + [500] * 4) * 4 + [0]))
    assert (seen.bytes_per_second, seen.level, seen.crest) == (0.0, 0.0, 500.0)


def test_no_samples_say_nothing() -> None:
    assert outlook([], 0.0) == Outlook(None, None, 0, None)


def test_one_sample_and_the_settings_are_enough() -> None:
    seen = outlook([sample(0.0, 40 * GB)], 0.0, 10 * GB, 100, 1_000, None, 1.0)
    assert (seen.full_step, seen.full_at) == (700, 700.0)


@pytest.mark.parametrize(("keep", "extra", "peak"), [(2, 0, 60), (2, 1, 70), (5, 0, 90), (5, 1, 100)])
def test_the_peak_is_keep_with_the_guard_and_one_more_with_the_trainer_alone(keep: int, extra: int, peak: int) -> None:
    seen = outlook([sample(0.0, 40 * GB)], 0.0, 10 * GB, 100, 1_000, keep, 1.0, extra)
    assert (seen.full_step, seen.peak_used_bytes) == (None, peak * GB)


def test_the_last_step_is_saved_too() -> None:
    seen = outlook([sample(0.0, 85 * GB)], 0.0, 10 * GB, 100, 150, None, 1.0)
    assert (seen.full_step, seen.full_at) == (150, 150.0)


def test_done_training_fills_nothing() -> None:
    seen = outlook([sample(0.0, 95 * GB, 1_000, 3, 30 * GB)], 50.0, 10 * GB, 100, 1_000, None, 1.0)
    assert seen == Outlook(None, None, 95 * GB, 1_000)


def test_the_reserve_of_root_is_not_for_the_saves() -> None:
    reserved = sample(0.0, 40 * GB)._replace(available_bytes=15 * GB)
    assert outlook([reserved], 0.0, 10 * GB, 100, 1_000, None, 1.0).full_step == 200


def test_others_fill_it_between_two_saves() -> None:
    samples = [sample(60.0 * n, (50 + n) * GB) for n in range(10)]
    seen = outlook(samples, 540.0, GB, 100_000, 1_000_000, 1, 1.0)
    assert seen.full_at == pytest.approx(540 + 41 * 60, rel=0.01) and present(seen.full_step) < 100_000
