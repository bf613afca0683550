"""A configuration on a volume: what it peaks at, and where it dies, by the staircase with nothing but the run on it."""

from __future__ import annotations

from typing import NamedTuple

from ckptkit.forecast.staircase import outlook
from ckptkit.model.events import Sample
from ckptkit.model.training_plan import Peak, Setting

BOUNDLESS = 1 << 62
# Other settings worth a look, as shares of the save_steps asked for, and the limits beside them.
SHARES = (0.5, 1, 2, 5)
LIMITS = (1, 2, 3, 5)
FLOOR = 2  # the guard never deletes the only intact one, so it needs room for two at least


class VolumeSize(NamedTuple):
    """Bytes that checkpoints and others share, and what the others take of them."""

    total_bytes: int
    other_bytes: int


def setting(volume: VolumeSize, save_bytes: int, save_steps: int, limit: int, max_steps: int) -> Setting:
    """Given bytes and steps, return what the three ways of pruning come to."""
    course = (volume, save_bytes, save_steps, max_steps)
    return Setting(
        save_steps, limit, _peak(*course, max(FLOOR, limit), 0), _peak(*course, limit, 1), _peak(*course, None, 0)
    )


def others(volume: VolumeSize, save_bytes: int, save_steps: int, max_steps: int) -> tuple[Setting, ...]:
    """Given the same, return the settings near it that fit with the guard."""
    every = sorted({max(1, round(save_steps * share)) for share in SHARES})
    found = (setting(volume, save_bytes, steps, limit, max_steps) for steps in every for limit in LIMITS)
    return tuple(s for s in found if s.guard.fits)


def _peak(volume: VolumeSize, size: int, save_steps: int, max_steps: int, keep: int | None, extra: int) -> Peak:
    """The peak as if the volume had no end, and where the real one ends."""
    boundless, real = (
        outlook([_empty(total, volume.other_bytes)], 0.0, size, save_steps, max_steps, keep, 1.0, extra)
        for total in (BOUNDLESS, volume.total_bytes)
    )
    return Peak(boundless.peak_used_bytes, real.full_step)


def _empty(total: int, other: int) -> Sample:
    return Sample(0.0, "", total, other, total - other)
