"""What a guard was asked for."""

from typing import Literal, NamedTuple

from ckptkit.policy.keep import Range, Rules

OnFull = Literal["skip", "wait", "stop", "weights-only", "raise"]
KeepTrials = Literal["all", "best"]
ON_FULL: tuple[OnFull, ...] = ("skip", "wait", "stop", "weights-only")
ON_FULL_OF_A_LOOP: tuple[OnFull, ...] = ("skip", "wait", "raise")
KEEP_TRIALS: tuple[KeepTrials, ...] = ("all", "best")


class GuardSettings(NamedTuple):
    """rules: with `keep_last`, a number of checkpoints, as the range. explicit: whether a person chose keep_last.

    on_full: one of ON_FULL, without a Trainer of ON_FULL_OF_A_LOOP; on_full_timeout: seconds to wait. trust: patterns
    of names that a pickle may hold though nobody here knows them. save_every: seconds from one save to the next, None:
    by steps alone. keep_trials: of a hyperparameter search.
    """

    rules: Rules
    keep_last: int
    explicit: bool
    on_full: OnFull
    on_full_timeout: float
    trust: tuple[str, ...] = ()
    save_every: float | None = None
    keep_trials: KeepTrials = "all"

    @property
    def before_a_save(self) -> Rules:
        """What may stay while the next one is written: one slot fewer, never less than the floor."""
        rest = max(1, self.keep_last - 1)
        return self.rules._replace(keep_last=Range(rest, rest))
