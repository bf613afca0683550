"""The trials of a hyperparameter search: each has a run of its own, with the same rules and a floor of its own.

With keep_trials="best" the checkpoints of a trial that ended and is not the best so far are deleted. Which one is the
best, the search knows: Optuna's study, of which a trial is part (transformers `integration_utils.py`).
"""

from collections.abc import Callable
from typing import Any

from ckptkit import discover, ops
from ckptkit.errors import CkptkitError
from ckptkit.guard.room import LOCK_SECONDS, WHO, Room, inform, warn
from ckptkit.report import text


class Trials:
    """What this guard saved of each trial."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._runs: dict[int, str] = {}
        self._current: int | None = None
        self._told = False

    @property
    def _wanted(self) -> bool:
        return self.room.settings.keep_trials == "best"

    def begin(self, trial: Any) -> None:
        """A trial begins, None where there is no search: the ones before it have ended."""
        self._current = getattr(trial, "number", None)
        study = getattr(trial, "study", None)
        if trial is not None and not self._wanted:
            self._tell_once(
                "each trial of this search keeps its own checkpoints; the best trial's alone: keep_trials='best'"
            )
        if trial is None or not self._wanted:
            return
        if study is None:
            self._tell_once("keep_trials='best' needs Optuna, whose trials tell which is the best: all trials stay")
        else:
            self.keep_only(_best_of(study))

    def saved_in(self, run: str) -> None:
        """The current trial's run."""
        if self._current is not None:
            self._runs[self._current] = run

    def ended(self, best: Any) -> None:
        """The search is over. best: what it returned, transformers' BestRun, or a list of them."""
        self._current = None
        number = getattr(best, "run_id", None)
        if self._wanted and isinstance(number, str) and number.isdigit():
            self.keep_only(int(number))

    def keep_only(self, best: int | None) -> None:
        """Delete the checkpoints of each trial that ended and is not the best one."""
        for number, run in self._runs.items():
            if best is not None and best in self._runs and number not in (best, self._current):
                self._delete(run, self._runs[best])

    def _delete(self, run: str, best: str) -> None:
        try:
            there = discover.scan(run).checkpoints
            for checkpoint in there:
                done = ops.discard(checkpoint.path, instead=best, lock_timeout=LOCK_SECONDS, by=WHO)
                for failure in text.failures(done):
                    warn(failure)
                if done.deleted:
                    inform(f"{checkpoint.path} deleted: {best} is the best trial's, and keep_trials is 'best'")
        except (CkptkitError, OSError) as error:
            warn(str(error))

    def _tell_once(self, line: str) -> None:
        if not self._told:
            inform(line)
        self._told = True


def watched(search: Callable[..., Any], ended: Callable[[Any], object]) -> Callable[..., Any]:
    """The Trainer's own search, and what follows its end."""

    def hyperparameter_search(*args: Any, **kwargs: Any) -> Any:
        best = search(*args, **kwargs)
        ended(best)
        return best

    return hyperparameter_search


def _best_of(study: Any) -> int | None:
    """The number of the best trial so far; None while none has ended, and where there is more than one goal."""
    try:
        return int(study.best_trial.number)
    except (ValueError, RuntimeError):
        return None
