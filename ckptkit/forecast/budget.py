"""PURE: a configuration on a volume: what it peaks at, and where it dies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.errors import UsageError
from ckptkit.forecast.volume_full import outlook
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.training_plan import Peak, SaveSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptkit.model.disk import Volume

BOUNDLESS = 1 << 62

# Other settings worth a look, as shares of the save_steps asked for, and the limits beside them.
SHARES = (0.5, 1, 2, 5)

LIMITS = (1, 2, 3, 5)

FLOOR = 2  # the guard never deletes the only intact one, so it needs room for two at least


class VolumeSize(NamedTuple):
    """Bytes that checkpoints and others share, and what the others take of them."""

    total_bytes: int
    other_bytes: int


def setting(volume: VolumeSize, save_bytes: int, save_steps: int, limit: int, max_steps: int) -> SaveSettings:
    """Given the bytes of a save, and steps, return what the three ways of pruning come to.

    save_steps: between two saves. limit: save_total_limit. max_steps: the last step.
    """
    course = (volume, save_bytes, save_steps, max_steps)
    return SaveSettings(
        save_steps, limit, _peak(*course, max(FLOOR, limit), 0), _peak(*course, limit, 1), _peak(*course, None, 0)
    )


def others(volume: VolumeSize, save_bytes: int, save_steps: int, max_steps: int) -> tuple[SaveSettings, ...]:
    """Given the bytes of a save, and steps, return the settings near them that fit with the guard.

    save_steps: between two saves, as asked for. max_steps: the last step.
    """
    every = sorted({max(1, round(save_steps * share)) for share in SHARES})
    near = (setting(volume, save_bytes, steps, limit, max_steps) for steps in every for limit in LIMITS)
    return tuple(settings for settings in near if settings.guard.fits)


def _peak(volume: VolumeSize, size: int, save_steps: int, max_steps: int, keep: int | None, extra: int) -> Peak:
    """The peak as if the volume had no end, and where the real one ends."""
    boundless, real = (
        outlook([_empty(total, volume.other_bytes)], 0.0, size, save_steps, max_steps, keep, 1.0, extra)
        for total in (BOUNDLESS, volume.total_bytes)
    )
    return Peak(boundless.peak_used_bytes, real.full_step)


def _empty(total: int, other: int) -> Sample:
    return Sample(0.0, "", total, other, total - other)


NO_SAVES = ("no", "none", "false")

BY_EPOCH = ("epoch", "best")


class SaveSchedule(NamedTuple):
    """every: steps between two saves, 0 if only the training knows (epochs). limit None: all stay.

    max_steps: 0 if not known. saves: whether it saves at all.
    """

    every: int
    limit: int | None
    max_steps: int
    saves: bool = True


class Standing(NamedTuple):
    """Where a run is: the step of its newest checkpoint, and the bytes of each that stands, oldest first."""

    step: int
    sizes: tuple[int, ...]


def saving(settings: Mapping[str, object]) -> SaveSchedule:
    """Given the Trainer's settings by name, return how it saves. Raises UsageError for what is no number."""
    limit, max_steps = _number(settings, "save_total_limit", 0), max(0, int(_number(settings, "max_steps", 0)))
    every = _number(settings, "save_steps", 500)  # the Trainer's own default
    if 0 < every < 1:  # a share of all steps
        every = math.ceil(every * max_steps)
    strategy = str(getattr(value := settings.get("save_strategy", "steps"), "value", value)).lower()
    if strategy in BY_EPOCH:
        every = 0
    return SaveSchedule(max(0, int(every)), int(limit) if limit > 0 else None, max_steps, strategy not in NO_SAVES)


def _number(settings: Mapping[str, object], name: str, default: float) -> float:
    value: Any = settings.get(name)
    try:
        number = default if value is None else float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} {value!r}: must be a number")
    return number


def ahead(volume: Volume, standing: Standing, how: SaveSchedule, save_bytes: int, guarded: bool) -> Outlook:
    """Given a volume and a run on it, return when the volume is full, or its peak.

    save_bytes: of one save. how: it saves. guarded: the guard prunes, else the Trainer alone does.
    More checkpoints than the limit count as gone: whatever prunes, prunes them before it saves the next.
    """
    keep = max(FLOOR, how.limit or FLOOR) if guarded else how.limit
    held = _newest(standing.sizes, keep)
    gone = sum(standing.sizes) - sum(held)
    used = volume.total_bytes - volume.free_bytes - gone
    last = Sample(
        0.0,
        volume.mount,
        volume.total_bytes,
        used,
        volume.available_bytes + gone,
        "",
        standing.step,
        len(held),
        sum(held),
    )
    every, last_step = (how.every, how.max_steps) if how.every else (1, 0)
    return outlook([last], 0.0, save_bytes, every, last_step, keep, 1.0, 0 if guarded else 1)


def _newest(sizes: Sequence[int], keep: int | None) -> Sequence[int]:
    return sizes if keep is None else sizes[-keep:]
