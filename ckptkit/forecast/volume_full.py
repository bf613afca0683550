"""PURE: when a volume is full, by what was seen of it: a staircase of saves on a floor that everything else raises."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import NamedTuple

from ckptkit.model.events import Outlook, Sample

POINTS = 64  # the newest points that are looked at; pairs of them grow with its square

SELDOM = 3  # as many jumps make a habit

JUMP = 8.0  # times the usual step from one point to the next

Points = Sequence[tuple[float, float]]  # (seconds, bytes) in the order of time


class Drift(NamedTuple):
    """bytes_per_second: 0 or more. level: bytes now; crest: how far above the line a habit of bursts goes, in bytes."""

    bytes_per_second: float
    level: float
    crest: float = 0.0


def drift(points: Points) -> Drift:
    """Given how much was used when, return where it goes. A single point stands still."""
    recent = list(points)[-POINTS:]
    if len(recent) < 2:
        return Drift(0.0, recent[-1][1] if recent else 0.0)
    smooth = _without_one_offs(recent)
    slope = _significant(smooth, theil_sen(smooth))
    line = smooth[-1][1] - slope * smooth[-1][0]
    # Only where it went up and down often: the next save may meet a crest, although now is a trough.
    above = max(value - slope * at - line for at, value in smooth)
    return Drift(slope, recent[-1][1], above if _swings(smooth) else 0.0)


def _significant(points: Points, slope: float) -> float:
    """The slope if it rises, and by more than the points stray from it: less is noise, or half of a swing."""
    strays = [value - slope * at for at, value in points]
    return slope if slope * (points[-1][0] - points[0][0]) > max(strays) - min(strays) else 0.0


def theil_sen(points: Points) -> float:
    """Given points, return the median slope of all pairs: a third of them may be wrong."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return median(slopes) if slopes else 0.0


def _without_one_offs(points: Points) -> list[tuple[float, float]]:
    """The points with each seldom jump taken out: what came before it is moved to where it ended."""
    steps = [b[1] - a[1] for a, b in pairwise(points)]
    usual, large = median(steps), JUMP * median(abs(step) for step in steps)
    if sum(abs(step) > large for step in steps) >= SELDOM:
        return list(points)
    moved, smooth = 0.0, [points[-1]]
    for point, step in zip(reversed(points[:-1]), reversed(steps), strict=True):
        if abs(step) > large:
            moved += step - usual
        smooth.append((point[0], point[1] + moved))
    return smooth[::-1]


def _swings(points: Points) -> bool:
    """Whether it went down about as often as up, and often."""
    steps = [b[1] - a[1] for a, b in pairwise(points)]
    large = max(map(abs, steps)) / 2
    return large > 0 and min(sum(s > large for s in steps), sum(s < -large for s in steps)) >= SELDOM - 1


SAVES = 32  # the newest saves that are looked at

Pairs = Sequence[tuple[Sample, Sample]]  # the settled samples of one save and of the next


class Saves(NamedTuple):
    """last_bytes: of the newest save; growth: bytes from one save to the next; began_at: when `step` was first seen.

    kept: checkpoints that stood at the end of the interval before the newest save, None if that was not seen.
    every: steps from one save to the next, 0 if only one was seen.
    """

    step: int = 0
    began_at: float = 0.0
    seconds_per_step: float = 0.0
    last_bytes: int = 0
    growth: float = 0.0
    kept: int | None = None
    every: int = 0


def saves(samples: Sequence[Sample]) -> Saves:
    """Given one run's samples in the order of time, return what they tell."""
    spans = _spans(samples)[-SAVES:]
    if not spans:
        return Saves()
    first, last = spans[-1]
    pairs = [(before, after) for (_, before), (_, after) in pairwise(spans)]
    growth = _growth(pairs)
    kept = pairs[-1][0].checkpoints if pairs else None
    every = _every([begin.step for begin, _ in spans])
    return Saves(first.step, first.at, _pace(spans), int(_size(last, pairs, growth)), growth, kept, every)


def _spans(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """(first, last) sample of each newest step: at the last one, what was to be deleted has been."""
    spans: list[tuple[Sample, Sample]] = []
    for sample in samples:
        if not sample.step:
            continue
        if spans and spans[-1][0].step == sample.step:
            spans[-1] = spans[-1][0], sample
        else:
            spans.append((sample, sample))
    return spans


def _every(steps: Sequence[int]) -> int:
    """The usual distance of two saves; a sampler that slept through one saw twice that."""
    distances = [after - before for before, after in pairwise(steps) if after > before]
    return int(median(distances)) if distances else 0


def _pace(spans: Sequence[tuple[Sample, Sample]]) -> float:
    """Seconds a step, 0 if unknown; a pause between two saves is outvoted by the others."""
    firsts = [first for first, _ in spans]
    paces = [(b.at - a.at) / (b.step - a.step) for a, b in pairwise(firsts) if b.step > a.step]
    return median(paces) if paces else 0.0


def _growth(pairs: Pairs) -> float:
    """Bytes from one save to the next: by the sizes where one was added, by the sum where one came and one went."""
    sizes = [added for pair in pairs if (added := _added(*pair)) is not None]
    growths: list[float] = [b - a for a, b in pairwise(sizes)]
    growths += [
        (after.checkpoint_bytes - before.checkpoint_bytes) / after.checkpoints
        for before, after in pairs
        if after.checkpoints == before.checkpoints > 0
    ]
    return median(growths) if growths else 0.0


def _size(last: Sample, pairs: Pairs, growth: float) -> float:
    """Bytes of the newest save: what it added; else half of their growth above the average of those that stand."""
    added = _added(*pairs[-1]) if pairs else None
    if added is not None:
        return added
    count = max(1, last.checkpoints)
    return last.checkpoint_bytes / count + growth * (count - 1) / 2


def _added(before: Sample, after: Sample) -> int | None:
    one_more = after.checkpoints == before.checkpoints + 1
    return after.checkpoint_bytes - before.checkpoint_bytes if one_more else None


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
    last, past_saves = samples[-1], saves(samples)
    save_steps = save_steps or past_saves.every or past_saves.step
    course = _course(samples, now, past_saves, save_steps)
    course = course._replace(
        max_steps=max_steps or course.step + HORIZON * save_steps,
        save_bytes=(save_bytes or past_saves.last_bytes) + past_saves.growth,
        keep=_in_force(keep, peak_extra, last, past_saves),
        peak_extra=peak_extra,
        seconds_per_step=seconds_per_step or past_saves.seconds_per_step,
    )
    return _walk(course, now, last)


def _course(samples: Sequence[Sample], now: float, past_saves: Saves, save_steps: int) -> Course:
    last = samples[-1]
    others = drift([(s.at, s.used_bytes - s.checkpoint_bytes) for s in samples])
    risen = others.bytes_per_second * max(0.0, now - last.at)
    return Course(
        last.step, past_saves.began_at or last.at, last.checkpoints, last.checkpoint_bytes, 0.0, past_saves.growth,
        save_steps, 0, None, 0, 0.0, others._replace(level=others.level + risen),
    )  # fmt: skip


def _in_force(keep: int | None, extra: int, last: Sample, past_saves: Saves) -> int | None:
    """The limit that holds. More than it allows, and one more than before: deletion fails, perhaps without a word."""
    count = last.checkpoints
    if keep is None or count <= keep + extra:
        return keep
    before = keep if past_saves.kept is None else past_saves.kept
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
