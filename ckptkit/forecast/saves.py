"""What samples tell of a run's saves: how long a step takes, how large a save is, how it grows, whether old ones go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from ckptkit.model.events import Sample

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
