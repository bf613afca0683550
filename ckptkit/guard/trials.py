"""The trials of a hyperparameter search: each has a run of its own, with the same rules and a floor of its own.

With keep_trials="best" the checkpoints of a trial that ended and is not the best so far are deleted. Which one is the
best, the search knows: Optuna's study, of which a trial is part (transformers `integration_utils.py`).
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ckptkit.errors import CkptkitError, NoIntactCheckpoint
from ckptkit.guard import ranks
from ckptkit.guard.messages import inform, warn
from ckptkit.guard.room import LOCK_SECONDS, WHO, Room
from ckptkit.ops.prune import discard
from ckptkit.ops.read import judge, scan
from ckptkit.render import text


class FrozenTrialLike(Protocol):
    """A trial of Optuna's that ended."""

    number: int


class StudyLike(Protocol):
    """Optuna's study. Either of these may ask a database."""

    @property
    def directions(self) -> Sequence[object]:
        """One for each goal of the search."""
        ...

    @property
    def best_trial(self) -> FrozenTrialLike:
        """The best of those that ended. Raises ValueError where there is none."""
        ...


class BestTrial(NamedTuple):
    """number: of the best trial so far; None while none is known, and why nobody can know it, "" if it may come."""

    number: int | None
    why: str = ""


class Trials:
    """What this guard saved of each trial, on a rank that looks after a disk."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._runs: dict[int, str] = {}
        self._current: int | None = None
        self._told_lines: set[str] = set()

    @property
    def _wanted(self) -> bool:
        return self.room.settings.keep_trials == "best"

    def best_so_far(self, trial: object) -> BestTrial:
        """Given the trial that begins, return the best of those that ended, as rank 0 knows it: the study is there.

        Every rank must call it.
        """
        if trial is None or not self._wanted:
            return BestTrial(None)
        return ranks.decide(lambda: _of_study(getattr(trial, "study", None)))

    def begin(self, trial: object, best: BestTrial) -> None:
        """A trial begins, None where there is no search: the ones before it have ended."""
        self._current = getattr(trial, "number", None)
        if trial is None:
            return
        at_most = f"at most {max(2, self.room.settings.keep_last)} checkpoints of each trial"
        if not self._wanted:
            self._tell_once(f"{at_most}, for every trial; to keep only the best trial's: keep_trials='best'")
        elif best.why:
            self._tell_once(f"{at_most}, for every trial: {best.why}")
        else:
            self._tell_once(f"{at_most}; a trial that ended and is not the best so far loses its own")
            self._keep_only(best.number)

    def saved_in(self, run: str) -> None:
        """The current trial's run."""
        if self._current is not None:
            self._runs[self._current] = run

    def ended(self, best: int | None) -> None:
        """The search is over. best: the number of its best trial."""
        self._current = None
        if self._wanted:
            self._keep_only(best)

    def _keep_only(self, best: int | None) -> None:
        """Delete the checkpoints of each trial that ended and is not the best one, which is known."""
        staying = [self._runs[number] for number in (best, self._current) if number in self._runs]
        for run in dict.fromkeys(self._runs.values()):
            if best is not None and run not in staying:  # names are a person's: two trials may share one
                self._delete(run, self._runs.get(best, ""))

    def _delete(self, run: str, best: str) -> None:
        """Of a trial; where the best one has no checkpoint as good, all but its last intact one."""
        try:
            judged = judge(scan(run), quiet=0) if os.path.isdir(run) else ()
        except (CkptkitError, OSError) as error:
            self._tell_once(str(error), warn)
            return
        for checkpoint, _ in sorted(judged, key=lambda j: (j.verdict.intact, j.verdict.resumable, j.checkpoint.step)):
            try:
                outcome = discard(checkpoint.path, instead=best, lock_timeout=LOCK_SECONDS, by=WHO)
            except NoIntactCheckpoint:
                self._tell_once(f"{checkpoint.path} stays: the best trial has no checkpoint as good")
            except (CkptkitError, OSError) as error:
                self._tell_once(str(error), warn)
            else:
                for failure in text.failures(outcome):
                    self._tell_once(failure, warn)
                if outcome.deleted:
                    inform(f"{checkpoint.path} deleted: keep_trials='best', and its trial is not the best so far")

    def _tell_once(self, line: str, tell: Callable[[str], None] = inform) -> None:
        if line not in self._told_lines:
            tell(line)
        self._told_lines.add(line)


def _of_study(study: StudyLike | None) -> BestTrial:
    if study is None:
        return BestTrial(None, "keep_trials='best' needs Optuna, whose trials know which is the best")
    try:
        if len(study.directions) > 1:
            return BestTrial(None, f"a search for {len(study.directions)} goals has no single best trial")
        return BestTrial(int(study.best_trial.number))
    except ValueError:  # none has ended, or none meets its constraints
        return BestTrial(None)
    except Exception as error:  # noqa: BLE001 - a study may lie in a database: training does not depend on it
        return BestTrial(None, f"the study does not tell which is the best ({error})")


def watched(search: Callable[..., object], ended: Callable[[int | None], object]) -> Callable[..., object]:
    """The Trainer's own search, and what follows its end."""

    def hyperparameter_search(*args: object, **kwargs: object) -> object:
        best = search(*args, **kwargs)
        ended(ranks.decide(lambda: _number_of(best)))
        return best

    return hyperparameter_search


def _number_of(best: object) -> int | None:
    """Of transformers' BestRun; a list of them has no number, and those of others than Optuna are named otherwise."""
    number = getattr(best, "run_id", None)
    return int(number) if isinstance(number, str) and number.isdigit() else None
