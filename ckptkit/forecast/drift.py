"""How fast the rest of a volume grows: everything on it but the run's checkpoints, by a robust slope.

A one-off jump (a cache, a download) is no slope: it moves the level and is then forgotten. Jumps that come again and
again count: in one direction they are somebody else's staircase, up and down they are a swing, whose crest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import NamedTuple

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
