"""The nouns of `plan`: a configuration on a volume, before it runs. Bytes as the volume counts them."""

from __future__ import annotations

from typing import NamedTuple


class Peak(NamedTuple):
    """What one way of pruning comes to: the most bytes used at once, and the save that does not fit, if any."""

    used_bytes: int
    full_step: int | None

    @property
    def fits(self) -> bool:
        """Whether every save fits."""
        return self.full_step is None


class SaveSettings(NamedTuple):
    """One choice of save_steps and save_total_limit: with the guard, with the Trainer alone, and if deletion fails."""

    save_steps: int
    limit: int
    guard: Peak
    trainer: Peak
    failing: Peak


class TrainingPlan(NamedTuple):
    """A configuration on a volume, as the verb `plan` tells it. What prune does is a `PrunePlan`.

    basis: where the sizes come from, in words. approximate: they are of a model like it. others: settings that fit
    with the guard. lacking_bytes: what the volume is short of for the guard, and for the Trainer alone.
    """

    basis: str
    approximate: bool
    weights_bytes: int
    optimizer_bytes: int
    rest_bytes: int
    volume_bytes: int
    other_bytes: int
    saves: int
    asked: SaveSettings
    others: tuple[SaveSettings, ...]

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of one checkpoint."""
        return self.weights_bytes + self.optimizer_bytes + self.rest_bytes

    @property
    def lacking_bytes(self) -> tuple[int, int]:
        """Bytes that the volume is short of with the guard, and with the Trainer alone; 0 where it fits."""
        peaks = self.asked.guard, self.asked.trainer
        guard, trainer = (max(0, peak.used_bytes - self.volume_bytes) for peak in peaks)
        return guard, trainer
