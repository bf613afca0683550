"""When is the volume full: a staircase of checkpoints on a floor that everything else raises.

Walked save by save, from the newest sample to the last step: what a save takes, what the policy frees after it, and
what the others have written by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckptkit.forecast.drift import Drift, drift
from ckptkit.forecast.saves import Saves, saves
from ckptkit.model.events import Outlook, Sample

HORIZON = 10_000  # saves that are looked ahead at, where no last step is known


class Course(NamedTuple):
    """What is walked. step and at: where training is now; save_bytes: of the next save; keep None: nothing goes."""

    step: int
    at: float
    checkpoints: int
    checkpoint_bytes: float
    save_bytes: float
    growth: float
    save_steps: int
    max_steps: int
    keep: int | None
    peak_extra: int
    seconds_per_step: float
    others: Drift


def outlook(
    samples: Sequence[Sample],
    now: float,
    save_bytes: int = 0,
    save_steps: int = 0,
    max_steps: int = 0,
    keep: int | None = None,
    seconds_per_step: float = 0.0,
    peak_extra: int = 0,
) -> Outlook:
    """Given samples of one volume with one run on it, in the order of time, return when it is full, or its peak.

    Of bytes, steps and seconds 0 means: take it from the samples. save_bytes: of the newest save. keep: checkpoints
    that stay after a save, None if none is deleted. peak_extra: how many more there are while one is written: 0 with
    the guard, 1 with the Trainer alone.
    """
    if not samples:
        return Outlook(None, None, 0, None)
    last, seen = samples[-1], saves(samples)
    save_steps = save_steps or seen.every or seen.step
    course = _course(samples, now, seen, save_steps)
    course = course._replace(
        max_steps=max_steps or course.step + HORIZON * save_steps,
        save_bytes=(save_bytes or seen.last_bytes) + seen.growth,
        keep=_in_force(keep, peak_extra, last, seen),
        peak_extra=peak_extra,
        seconds_per_step=seconds_per_step or seen.seconds_per_step,
    )
    return _walk(course, now, last)


def _course(samples: Sequence[Sample], now: float, seen: Saves, save_steps: int) -> Course:
    last = samples[-1]
    others = drift([(s.at, s.used_bytes - s.checkpoint_bytes) for s in samples])
    risen = others.bytes_per_second * max(0.0, now - last.at)
    return Course(
        last.step, seen.began_at or last.at, last.checkpoints, last.checkpoint_bytes, 0.0, seen.growth, save_steps, 0,
        None, 0, 0.0, others._replace(level=others.level + risen),
    )  # fmt: skip


def _in_force(keep: int | None, extra: int, last: Sample, seen: Saves) -> int | None:
    """The limit that holds. More than it allows, and one more than before: deletion fails, perhaps without a word."""
    count = last.checkpoints
    if keep is None or count <= keep + extra:
        return keep
    before = keep if seen.kept is None else seen.kept
    return None if count > before else count  # as many as before stay for a reason of their own, such as a pin


def _walk(course: Course, now: float, last: Sample) -> Outlook:
    """Climb until it is full or training ends."""
    capacity = last.used_bytes + last.available_bytes
    peak, peak_step = last.used_bytes, last.step
    step, at = course.step, now
    for next_step, next_at, before, during in _climb(course, now):
        if before > capacity and course.others.bytes_per_second:  # the others filled it between two saves
            over = (before - capacity) / course.others.bytes_per_second
            full_at = max(at, next_at - over)
            share = (full_at - at) / (next_at - at) if next_at > at else 0.0
            return Outlook(full_at, step + int((next_step - step) * share), capacity, next_step)
        if during > capacity:
            return Outlook(next_at, next_step, capacity, next_step)
        if during > peak:
            peak, peak_step = int(during), next_step
        step, at = next_step, next_at
    return Outlook(None, None, peak, peak_step)


def _climb(course: Course, now: float) -> Iterator[tuple[int, float, float, float]]:
    """(step, when, bytes used just before the save, bytes used while it is written) of each save to come."""
    held = _standing(course)
    size, total = course.save_bytes, sum(held)
    for step in _steps(course):
        at = max(now, course.at + (step - course.step) * course.seconds_per_step)
        floor = course.others.level + course.others.bytes_per_second * (at - now)
        before = floor + total
        if course.keep is not None:
            total -= _pruned(held, course.keep + course.peak_extra - 1)
        yield step, at, before, floor + course.others.crest + total + size
        held.append(size)
        total, size = total + size, size + course.growth
        if course.keep is not None:
            total -= _pruned(held, course.keep)


def _steps(course: Course) -> Iterator[int]:
    """Every multiple, and the last step: the Trainer saves there too."""
    every = course.save_steps
    if every:
        yield from range((course.step // every + 1) * every, course.max_steps, every)
        if course.step < course.max_steps:
            yield course.max_steps


def _standing(course: Course) -> deque[float]:
    """About the sizes of the checkpoints that stand, oldest first: each as much larger than the last as saves grow."""
    count = course.checkpoints
    average = course.checkpoint_bytes / count if count else 0.0
    return deque(average + course.growth * (index - (count - 1) / 2) for index in range(count))


def _pruned(held: deque[float], keep: int) -> float:
    """Let the oldest go until `keep` are left; the bytes that went."""
    return sum(held.popleft() for _ in range(len(held) - keep))
