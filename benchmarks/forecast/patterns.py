"""Volumes as a monitor would sample them: nine that fill, four that do not. Their end is known, so it can be held."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from ckptkit.forecast.volume_full import outlook
from ckptkit.model.events import Outlook, Sample

GB = 10**9
STEP_SECONDS = 1.3
SAMPLES_A_SAVE = 5


class Pattern(NamedTuple):
    """One volume and one run. other: bytes of everything else at a time; size: of the save at a step; keep: at a step.

    known_from: the first step at which what kills it can be seen; keep: None deletes nothing. works: deletion does.
    """

    other: Callable[[float], float]
    size: Callable[[int], int] = lambda step: 3 * GB
    keep: Callable[[int], int | None] = lambda step: None
    peak_extra: int = 0
    works: bool = True
    total: int = 100 * GB
    max_steps: int = 28_000
    save_steps: int = 1_000
    known_from: int = 3_000
    pause: tuple[int, float] = (0, 0.0)


class Moment(NamedTuple):
    """What is known at a sample, and the limit that holds then."""

    samples: list[Sample]
    keep: int | None


def _noise(amount: float, seed: int = 7) -> Callable[[Any], float]:
    """Bytes that come and go by chance, the same at each call."""
    return lambda at: random.Random(f"{seed}{int(at)}").uniform(-amount, amount)


def _burst(at: float, size: int, since: int, until: float = float("inf")) -> int:
    return size if since <= at < until else 0


def _swinging(at: float, size: int, every: int) -> int:
    return size if (at // every) % 2 else 0


HOUR = 3600
LITTLE = _noise(0.05 * GB)
PATTERNS = {
    "steady, nothing deleted": Pattern(lambda t: 70 * GB + LITTLE(t)),
    "deletion fails in silence": Pattern(
        lambda t: 60 * GB + LITTLE(t), keep=lambda s: 2, peak_extra=1, works=False, known_from=4_000
    ),
    "another writer": Pattern(lambda t: 70 * GB + 4 * GB * t / HOUR + LITTLE(t), keep=lambda s: 2),
    "another writer, in steps of its own": Pattern(
        lambda t: 60 * GB + 1.25 * GB * (t // (HOUR / 4)) + LITTLE(t), keep=lambda s: 2
    ),
    "checkpoints that grow": Pattern(lambda t: 40 * GB + LITTLE(t), size=lambda s: 2 * GB + s * 200_000),
    "checkpoints that grow, two kept": Pattern(
        lambda t: 60 * GB + LITTLE(t), size=lambda s: 5 * GB + s * 1_000_000, keep=lambda s: 2
    ),
    "limit raised midway": Pattern(
        lambda t: 82 * GB + LITTLE(t), keep=lambda s: 2 if s < 8_000 else 9, peak_extra=1, known_from=8_000
    ),
    "a download early, then steady": Pattern(lambda t: 40 * GB + _burst(t, 20 * GB, 2_500) + LITTLE(t)),
    "a pause of two hours": Pattern(lambda t: 60 * GB + LITTLE(t), pause=(6_000, 2 * HOUR)),
    "healthy: the guard keeps two": Pattern(lambda t: 70 * GB + LITTLE(t), keep=lambda s: 2),
    "healthy: a cache that swings": Pattern(
        lambda t: 60 * GB + _swinging(t, 12 * GB, 700) + LITTLE(t), keep=lambda s: 3, peak_extra=1
    ),
    "healthy: one burst midway": Pattern(
        lambda t: 60 * GB + _burst(t, 25 * GB, 14_000, 20_000) + LITTLE(t), keep=lambda s: 2
    ),
    "healthy: all 28 just fit": Pattern(lambda t: 14 * GB + LITTLE(t)),
}
HEALTHY = [name for name in PATTERNS if name.startswith("healthy")]
DYING = [name for name in PATTERNS if name not in HEALTHY]


def play(pattern: Pattern) -> tuple[list[Moment], int | None]:
    """Given a pattern, return (the moments until it is full or done, the step at which it was full or None)."""
    samples: list[Sample] = []
    held: list[int] = []
    moments: list[Moment] = []
    at, step, between = 0.0, 0, pattern.save_steps // SAMPLES_A_SAVE
    while step < pattern.max_steps:
        step += between
        at += between * STEP_SECONDS + (pattern.pause[1] if pattern.pause[0] == step else 0.0)
        keep = pattern.keep(step)
        if step % pattern.save_steps == 0:
            if not _saved(pattern, held, step, at, keep):
                return moments, step
        elif pattern.other(at) + sum(held) > pattern.total:
            return moments, step
        samples.append(_sample(pattern, held, step // pattern.save_steps * pattern.save_steps, at))
        moments.append(Moment(list(samples), keep))
    return moments, None


def outlooks(pattern: Pattern) -> tuple[list[tuple[int, Outlook]], int | None]:
    """([(step, outlook)] at each sample from the third save on, the step at which it was full or None)."""
    moments, death = play(pattern)
    told = []
    for samples, keep in moments:
        step = samples[-1].step
        if step >= max(3 * pattern.save_steps, pattern.known_from) and step == samples[-2].step:
            settings: dict[str, Any] = dict(save_steps=pattern.save_steps, max_steps=pattern.max_steps, keep=keep)
            told.append((step, outlook(samples, samples[-1].at, peak_extra=pattern.peak_extra, **settings)))
    return told, death


def rows() -> list[str]:
    """Each pattern as docs/forecast.md has it: when it died, the farthest that an outlook was off, false alarms."""
    lines = ["| pattern | died at step | outlooks | farthest off, steps | false alarms |", "|---|---:|---:|---:|---:|"]
    for name, pattern in PATTERNS.items():
        told, death = outlooks(pattern)
        alarms = sum(seen.full_step is not None for _, seen in told)
        off = max(abs((seen.full_step or 0) - death) for _, seen in told) if death else None
        lines.append(
            f"| {name} | {death or 'never'} | {len(told)} | {'' if off is None else off} | {'' if death else alarms} |"
        )
    return lines


def _saved(pattern: Pattern, held: list[Any], step: int, at: float, keep: int | None) -> Any:
    """Write one checkpoint, as the guard (room first) or the Trainer (rotation after); whether it fit."""
    if keep and pattern.works:
        del held[: max(0, len(held) - (keep + pattern.peak_extra - 1))]
    held.append(pattern.size(step))
    fits = pattern.other(at) + sum(held) <= pattern.total
    if keep and pattern.works:
        del held[: max(0, len(held) - keep)]
    return fits


def _sample(pattern: Pattern, held: list[Any], step: int, at: float) -> Sample:
    used = int(pattern.other(at) + sum(held))
    return Sample(at, "/", pattern.total, used, pattern.total - used, "/run", step, len(held), int(sum(held)))
