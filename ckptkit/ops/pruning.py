"""prune: the plan, the guards in front of it, its execution, and the account of what the volume gained."""

import os
from collections.abc import Callable, Mapping

from ckptkit import discover, history, lock, mass_delete, pins
from ckptkit.errors import MassDelete, NoIntactCheckpoint, UsageError
from ckptkit.model import Decision, Outcome, Plan
from ckptkit.ops.looking import judge, plan, require_intact, scan
from ckptkit.policy import DEFAULT_RULES, Rules
from ckptkit.tuples import NamedTuple
from ckptkit.verify import QUIET_SECONDS


class Pruned(NamedTuple):
    """A plan and what came of it. A dry run has no outcome; `stopped` says what the real run would stop at."""

    plan: Plan
    outcome: Outcome | None
    stopped: str = ""


def prune(
    path: str,
    rules: Rules = DEFAULT_RULES,
    *,
    now: float | None = None,
    quiet: float = QUIET_SECONDS,
    protected: Mapping[str, str] | None = None,
    dry_run: bool = False,
    yes: bool = False,
    lock_timeout: float = 0.0,
    patient: bool = True,
    settle: bool = True,
    announce: Callable[[Plan], None] = lambda plan: None,
    by: str = "",
) -> Pruned:
    """Delete what the rules release, under the run's lock; `announce` gets the plan before anything is done.

    yes: lets a mass deletion through. patient: tries what is refused again, for under a second.
    settle: waits until the volume shows the freed bytes, so that the account is true; without it that is at once.
    by: what the history calls the program that deleted, default its own name.
    Failures to delete are data in the outcome.
    Raises NoSuchRun, UsageError, LockHeld, NoIntactCheckpoint, MassDelete: then nothing was deleted.
    """
    run = discover.run_directory(path)
    if dry_run:
        made = plan(run, rules, now=now, quiet=quiet, protected=protected)
        announce(made)
        require_intact(made, "deleted")
        return Pruned(made, None, "" if yes else _mass_delete(made, rules))
    with lock.hold(run, lock_timeout) as run_fd:
        made = plan(run, rules, now=now, quiet=quiet, protected=protected)
        announce(made)
        require_intact(made, "deleted")
        if not yes and (stop := _mass_delete(made, rules)):
            raise MassDelete(stop)
        outcome = _executed(run_fd, made, patient, settle)
        history.remember_policy(run, rules)
    return Pruned(made, _recorded(made, outcome, by))


def discard(path: str, *, own: bool = False, lock_timeout: float = 0.0, by: str = "") -> Outcome:
    """Remove one checkpoint that its own writer gives up: a failed save's remains, or an older one in its way.

    path: the checkpoint; one that is not there is no error. own: the caller itself began it, on a name that did not
    exist: then it goes also where nobody could judge it. lock_timeout: seconds to wait for the run's lock. by: what the
    history calls the program that deleted, default its own name.
    Raises NoIntactCheckpoint if it is the only intact one, UsageError if it is pinned or, unless it is the caller's
    own, could not be judged, LockHeld, NoSuchRun.
    """
    run, name = os.path.split(os.path.abspath(path))
    with lock.hold(run, lock_timeout) as run_fd:
        judged = judge(scan(run), quiet=0)
        target = next((j for j in judged if j.checkpoint.name == name), None)
        if target is None:
            return Outcome()
        if name in pins.read(run):
            raise UsageError(f"{path} is pinned: left alone")
        if target.verdict.state == "unknown" and not own:
            raise UsageError(f"{path} could not be judged: left alone")
        if target.verdict.intact and sum(j.verdict.intact for j in judged) == 1:
            raise NoIntactCheckpoint(f"{path} is the only intact checkpoint: left alone")
        from ckptkit.ops.removing import account, remove

        before = os.fstatvfs(run_fd)
        failures = remove(run_fd, run, target.checkpoint)
        decision = Decision(*target, "delete", ("given up by its writer",))
        made = Plan(run, (decision,))
        outcome = account(run_fd, before, [] if failures else [decision], failures, made, settle=False)
    return _recorded(made, outcome, by)


def _recorded(made: Plan, outcome: Outcome, by: str) -> Outcome:
    """Write down what is gone, now that it is, and nobody waits for the lock; what can't be is a note, no failure."""
    if not outcome.deleted and not made.leftovers:
        return outcome
    from ckptkit.ops.recording import record_deletions  # SQLite takes longer to load than an idle sweep takes in all

    fault = record_deletions(made, outcome, by)
    return outcome._replace(notes=(*outcome.notes, fault)) if fault else outcome


def _mass_delete(made: Plan, rules: Rules) -> str:
    going = sum(d.verdict.intact for d in made.deletions)
    previous = history.recall_policy(made.run)
    limit = mass_delete.delete_limit(made, rules, None if previous is None else mass_delete.from_json(previous))
    if limit is None or going <= limit:
        return ""
    return (
        f"{made.run}: the plan deletes {going} of {len(made.intact)} intact checkpoints, the limit is {limit}: "
        f"nothing deleted; if it is right, add --max-delete {going} (or -y)"
    )


def _executed(run_fd: int, made: Plan, patient: bool, settle: bool) -> Outcome:
    if not made.deletions and not made.leftovers:
        return Outcome()
    from ckptkit.ops.removing import execute

    return execute(run_fd, made, patient, settle)
