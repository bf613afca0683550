"""What the Trainer tells the guard while it trains: begin, steps, end; and what of it the guard puts right, or logs.

The saves themselves pass through the guard.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from transformers import Trainer, TrainerCallback

from ckptkit.guard import ranks
from ckptkit.guard.trainer_like import ArgumentsLike, ControlLike, StateLike, TrainerLike

SHARE = 0.5  # of the time that is left, in steps, until ranks look at the clock together again


class BestInState(NamedTuple):
    """What the Trainer's state says of the best checkpoint."""

    metric: float | None
    step: int | None
    checkpoint: str | None

    @classmethod
    def of(cls, state: StateLike) -> "BestInState":
        """As it is now. `best_global_step` came with transformers 4.51."""
        return cls(state.best_metric, getattr(state, "best_global_step", None), state.best_model_checkpoint)

    def put_back(self, state: StateLike) -> None:
        """Make the state say this again."""
        state.best_metric, state.best_model_checkpoint = self.metric, self.checkpoint
        if hasattr(state, "best_global_step"):
            state.best_global_step = self.step

    def comes_back(self, state: StateLike, name: str) -> float | None:
        """After the save of that name was not written: if the Trainer named it as the best before that, it is not.

        Else the end would load none, or the wrong one: what is the best again is the best of those that are there.
        Return the metric that it had, None if it was not the best.
        """
        step = getattr(state, "best_global_step", None)
        if step != state.global_step and os.path.basename(state.best_model_checkpoint or "") != name:
            return None
        metric = state.best_metric
        self.put_back(state)
        return metric


class StateBefore(NamedTuple):
    """What a save changes in the Trainer's state, so that a failed one can be undone.

    exported: the states of the callbacks, of which `_save_checkpoint` appends each again to a list.
    """

    best: BestInState
    exported: dict[str, object]

    @classmethod
    def of(cls, state: StateLike) -> "StateBefore":
        """As it is now."""
        exported = getattr(state, "stateful_callbacks", None) or {}
        return cls(BestInState.of(state), {k: list(v) if isinstance(v, list) else v for k, v in exported.items()})

    def put_back(self, state: StateLike) -> None:
        """Make the state say this again."""
        self.best.put_back(state)
        if self.exported:
            state.stateful_callbacks.update(self.exported)


class GuardCallback(TrainerCallback):
    """best: before this step was evaluated. The Trainer names a step as the best before it is saved.

    clock: None where steps alone say when to save.
    """

    def __init__(self, began: Callable[[int], None], ended: Callable[[], None]) -> None:
        """began: called with the step at which training begins. ended: as it ends, before the best model is loaded."""
        self._began, self._ended = began, ended
        self.best = BestInState(None, None, None)
        self.clock: Clock | None = None

    def on_train_begin(self, _args: ArgumentsLike, state: StateLike, _control: ControlLike, **_: object) -> None:
        """The state's step is where training resumes."""
        self.best = BestInState.of(state)
        self._began(state.global_step)

    def on_step_end(self, _args: ArgumentsLike, state: StateLike, control: ControlLike, **_: object) -> None:
        """Before the evaluation and the save of this step."""
        self.best = BestInState.of(state)
        clock = self.clock
        if clock is not None:
            at_the_end = state.global_step >= state.max_steps or control.should_training_stop
            control.should_save = clock.is_due(state.global_step) or at_the_end or control.should_save

    def on_epoch_end(self, _args: ArgumentsLike, state: StateLike, control: ControlLike, **_: object) -> None:
        """Before the evaluation and the save of this epoch.

        Training that ends passes here too: the last chance to save its last step, where a callback after this one ended
        it, or an evaluation decided that the step is none to save (save_strategy="best").
        """
        self.best = BestInState.of(state)
        clock = self.clock
        if clock is not None and control.should_training_stop and clock.saved_step != state.global_step:
            control.should_save = True

    def on_train_end(self, _args: ArgumentsLike, _state: StateLike, _control: ControlLike, **_: object) -> None:
        """The best model is loaded after this, and the process may exit: nothing may be under way."""
        self._ended()


class Clock:
    """When the next save is due, by rank 0's clock, the same answer on every rank.

    Ranks that train together ask it at a step that they agreed on: half of the time that is left, by the pace so far.
    """

    def __init__(self, every: float, now: Callable[[], float] = time.monotonic) -> None:
        """every: seconds from one save to the next. now: seconds, of a clock that only goes on."""
        self.every, self._now = every, now
        self.began(0)

    def began(self, step: int) -> None:
        """Training begins, or a save was attempted, at this step: the time counts from here."""
        self._saved_at, self.saved_step, self._look_at = self._now(), step, step + 1

    def is_due(self, step: int) -> bool:
        """Whether this step is to be saved. Every rank must ask at every step."""
        if not ranks.together():
            return self._now() - self._saved_at >= self.every
        if step < self._look_at:
            return False
        left: float = ranks.decide(lambda: self.every - (self._now() - self._saved_at))
        done = max(1, step - self.saved_step)
        pace = max(1e-6, (self.every - left) / done)  # seconds a step
        self._look_at = step + max(1, int(SHARE * left / pace))
        return left <= 0


def log(trainer: TrainerLike, scalars: dict[str, float]) -> None:
    """As the Trainer logs: a child's own `log` may count what it has logged. What is due at this step still is."""
    is_due = trainer.control.should_log
    with suppress(OSError):  # a log on the full disk must not end training
        Trainer.log(trainer, scalars)
    trainer.control.should_log = is_due
