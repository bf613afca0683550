"""A configuration on a volume, for a person and as `ckptkit.plan/1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckptkit.render.text import table
from ckptkit.units import human, percent, printable

if TYPE_CHECKING:
    from ckptkit.model.training_plan import Peak, SaveSettings, TrainingPlan
    from ckptkit.render.json import Document

APPROXIMATE = "; approximate: --model gives the exact sizes"
GB = 1000**3  # vendors sell volumes by it


class Price(NamedTuple):
    """Dollars per GB and hour, and the number of hours."""

    per_gb_hour: float
    hours: float

    def an_hour(self, size: int) -> float:
        """Return the dollars per hour for so many bytes more."""
        return size / GB * self.per_gb_hour


def sizing(plan: TrainingPlan, max_steps: int, price: Price) -> str:
    """Given a training plan, return the page: a checkpoint's size, ways of pruning, what fits, what more room costs.

    max_steps: that it trains for. price: of more room.
    """
    asked = plan.asked
    head = f"{'about ' if plan.approximate else ''}{human(plan.checkpoint_bytes)} per checkpoint"
    parts = (("weights", plan.weights_bytes), ("optimizer", plan.optimizer_bytes), ("the rest", plan.rest_bytes))
    ways = [(name, _peak(peak, plan), _end(peak, max_steps)) for name, peak in _ways(asked)]
    volume = f"volume {human(plan.volume_bytes)}, of which {human(plan.other_bytes)} is other data"
    steps = f"one every {asked.save_steps:,} of {max_steps:,} steps, save_total_limit {asked.limit}"
    return "\n".join([
        f"{head}: {', '.join(f'{name} {human(size)}' for name, size in parts)}",
        f"  from {printable(plan.basis)}{APPROXIMATE if plan.approximate else ''}",
        f"{plan.saves:,} saves, {steps}; {volume}",
        *table(ways),
        *_settings(plan),
        *_costs(plan, price),
    ])  # fmt: skip


def document(plan: TrainingPlan, max_steps: int, price: Price) -> Document:
    """Return the content of `ckptkit.plan/1`. max_steps: that it trains for. price: of more room."""
    guard, trainer = plan.lacking_bytes
    return {
        "fits": plan.asked.guard.fits,
        "basis": plan.basis,
        "approximate": plan.approximate,
        "checkpoint": {
            "bytes": plan.checkpoint_bytes,
            "weights_bytes": plan.weights_bytes,
            "optimizer_bytes": plan.optimizer_bytes,
            "rest_bytes": plan.rest_bytes,
        },
        "volume_bytes": plan.volume_bytes,
        "other_bytes": plan.other_bytes,
        "max_steps": max_steps,
        "saves": plan.saves,
        **_setting(plan.asked),
        "settings_that_fit": [_setting(setting) for setting in plan.others],
        "larger_volume": {"guard": _larger(guard, price), "trainer": _larger(trainer, price)},
    }


def _ways(asked: SaveSettings) -> tuple[tuple[str, Peak], ...]:
    return (
        ("with the guard", asked.guard),
        ("the Trainer alone", asked.trainer),
        ("the Trainer alone, if deleting fails", asked.failing),
    )


def _peak(peak: Peak, plan: TrainingPlan) -> str:
    return f"peak {human(peak.used_bytes)} ({percent(peak.used_bytes / plan.volume_bytes)})"


def _end(peak: Peak, max_steps: int) -> str:
    return f"fits to step {max_steps:,}" if peak.fits else f"disk full at step {peak.full_step:,}"


def _settings(plan: TrainingPlan) -> list[str]:
    if not plan.others:
        return ["no settings near these fit, not even two checkpoints: take a larger volume or a smaller model"]
    rows: list[tuple[str, ...]] = [("save_steps", "limit", "with the guard", "the Trainer alone", "if deleting fails")]
    for setting in plan.others:
        ways = (setting.guard, setting.trainer, setting.failing)
        ends = [f"peak {human(p.used_bytes)}" if p.fits else f"full at {p.full_step:,}" for p in ways]
        rows.append((f"{setting.save_steps:,}", str(setting.limit), *ends))
    return ["settings that fit:", *table(rows)]


def _costs(plan: TrainingPlan, price: Price) -> list[str]:
    """What a volume that fits costs more; the price of 50 GB as an example where it fits already."""
    guard, trainer = plan.lacking_bytes
    lacking = [("the guard", guard), ("the Trainer alone", trainer)]
    lines = [f"{name} needs {human(size)} more: {_dollars(size, price)}" for name, size in lacking if size]
    return lines or [f"for comparison, 50 GB more: {_dollars(50 * GB, price)}"]


def _dollars(size: int, price: Price) -> str:
    hour = price.an_hour(size)
    return f"${hour:.3f} per hour, ${hour * price.hours:.2f} for {price.hours:g} h"


def _setting(setting: SaveSettings) -> Document:
    ways = ("guard", setting.guard), ("trainer", setting.trainer), ("trainer_deletion_failing", setting.failing)
    peaks = {name: {"peak_bytes": p.used_bytes, "fits": p.fits, "full_step": p.full_step} for name, p in ways}
    return {"save_steps": setting.save_steps, "save_total_limit": setting.limit, **peaks}


def _larger(size: int, price: Price) -> Document:
    hour = price.an_hour(size)
    return {"lacking_bytes": size, "dollars_per_hour": round(hour, 6), "dollars": round(hour * price.hours, 4)}
