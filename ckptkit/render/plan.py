"""A configuration on a volume, for a person and as `ckptkit.plan/1`."""

from __future__ import annotations

from typing import Any, NamedTuple

from ckptkit.model.training_plan import Peak, SaveSettings, TrainingPlan
from ckptkit.render.text import table
from ckptkit.units import human, percent, printable

APPROXIMATE = "; approximate: --model gives the exact sizes"
GB = 1000**3  # vendors sell volumes by it


class Price(NamedTuple):
    """Dollars per GB and hour, and the number of hours."""

    per_gb_hour: float
    hours: float

    def an_hour(self, size: int) -> float:
        """Return the dollars per hour for so many bytes more."""
        return size / GB * self.per_gb_hour


def sizing(made: TrainingPlan, max_steps: int, price: Price) -> str:
    """Given a training plan, return the page: a checkpoint's size, ways of pruning, what fits, what more room costs."""
    asked = made.asked
    head = f"{'about ' if made.approximate else ''}{human(made.checkpoint_bytes)} per checkpoint"
    parts = (("weights", made.weights_bytes), ("optimizer", made.optimizer_bytes), ("the rest", made.rest_bytes))
    ways = [(name, _peak(peak, made), _end(peak, max_steps)) for name, peak in _ways(asked)]
    volume = f"volume {human(made.volume_bytes)}, of which {human(made.other_bytes)} is other data"
    steps = f"one every {asked.save_steps:,} of {max_steps:,} steps, save_total_limit {asked.limit}"
    return "\n".join([
        f"{head}: {', '.join(f'{name} {human(size)}' for name, size in parts)}",
        f"  from {printable(made.basis)}{APPROXIMATE if made.approximate else ''}",
        f"{made.saves:,} saves, {steps}; {volume}",
        *table(ways),
        *_settings(made),
        *_costs(made, price),
    ])  # fmt: skip


def document(made: TrainingPlan, max_steps: int, price: Price) -> dict[str, Any]:
    """Return the content of `ckptkit.plan/1`."""
    guard, trainer = made.lacking_bytes
    return {
        "fits": made.asked.guard.fits,
        "basis": made.basis,
        "approximate": made.approximate,
        "checkpoint": {
            "bytes": made.checkpoint_bytes,
            "weights_bytes": made.weights_bytes,
            "optimizer_bytes": made.optimizer_bytes,
            "rest_bytes": made.rest_bytes,
        },
        "volume_bytes": made.volume_bytes,
        "other_bytes": made.other_bytes,
        "max_steps": max_steps,
        "saves": made.saves,
        **_setting(made.asked),
        "settings_that_fit": [_setting(setting) for setting in made.others],
        "larger_volume": {"guard": _larger(guard, price), "trainer": _larger(trainer, price)},
    }


def _ways(asked: SaveSettings) -> tuple[tuple[str, Peak], ...]:
    return (
        ("with the guard", asked.guard),
        ("the Trainer alone", asked.trainer),
        ("the Trainer alone, if deleting fails", asked.failing),
    )


def _peak(peak: Peak, made: TrainingPlan) -> str:
    return f"peak {human(peak.used_bytes)} ({percent(peak.used_bytes / made.volume_bytes)})"


def _end(peak: Peak, max_steps: int) -> str:
    return f"fits to step {max_steps:,}" if peak.fits else f"disk full at step {peak.full_step:,}"


def _settings(made: TrainingPlan) -> list[str]:
    if not made.others:
        return ["no settings near these fit, not even two checkpoints: take a larger volume or a smaller model"]
    rows: list[tuple[str, ...]] = [("save_steps", "limit", "with the guard", "the Trainer alone", "if deleting fails")]
    for setting in made.others:
        ways = (setting.guard, setting.trainer, setting.failing)
        ends = [f"peak {human(p.used_bytes)}" if p.fits else f"full at {p.full_step:,}" for p in ways]
        rows.append((f"{setting.save_steps:,}", str(setting.limit), *ends))
    return ["settings that fit:", *table(rows)]


def _costs(made: TrainingPlan, price: Price) -> list[str]:
    """What a volume that fits costs more; the price of 50 GB as an example where it fits already."""
    guard, trainer = made.lacking_bytes
    lacking = [("the guard", guard), ("the Trainer alone", trainer)]
    lines = [f"{name} needs {human(size)} more: {_dollars(size, price)}" for name, size in lacking if size]
    return lines or [f"for comparison, 50 GB more: {_dollars(50 * GB, price)}"]


def _dollars(size: int, price: Price) -> str:
    hour = price.an_hour(size)
    return f"${hour:.3f} per hour, ${hour * price.hours:.2f} for {price.hours:g} h"


def _setting(setting: SaveSettings) -> dict[str, Any]:
    ways = ("guard", setting.guard), ("trainer", setting.trainer), ("trainer_deletion_failing", setting.failing)
    peaks = {name: {"peak_bytes": p.used_bytes, "fits": p.fits, "full_step": p.full_step} for name, p in ways}
    return {"save_steps": setting.save_steps, "save_total_limit": setting.limit, **peaks}


def _larger(size: int, price: Price) -> dict[str, Any]:
    hour = price.an_hour(size)
    return {"lacking_bytes": size, "dollars_per_hour": round(hour, 6), "dollars": round(hour * price.hours, 4)}
