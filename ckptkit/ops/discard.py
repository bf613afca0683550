"""discard: delete or set aside one checkpoint that a person names in full."""

import os
import re
import shlex
from collections.abc import Sequence

from ckptkit.calling import command
from ckptkit.errors import LockHeld, NoIntactCheckpoint, NoSuchRun, UsageError
from ckptkit.model.checkpoint import ASIDE, SET_ASIDE, Judged, Run
from ckptkit.model.decision import Decision, PrunePlan
from ckptkit.model.reason import Reason
from ckptkit.ops.execute import execute
from ckptkit.ops.prune import Pruned
from ckptkit.ops.read import in_use, judge, moment
from ckptkit.ops.record import record_deletions
from ckptkit.policy.keep import first_finding
from ckptkit.policy.lineage import kind_of
from ckptkit.runs import discover, pins, trackers
from ckptkit.system import lock
from ckptkit.verify.verdict import QUIET_SECONDS, WHOLE, Reading


def set_aside(path: str, *, lock_timeout: float = 0.0) -> str:
    """Rename RUN/checkpoint-N to RUN/set-aside-checkpoint-N, under the run's lock. Returns the new path.

    Where that name is taken, a number follows it: set-aside-checkpoint-N.1. Renaming it back undoes it.

    path: the checkpoint. lock_timeout: seconds to wait for the run's lock (0: don't).
    Raises UsageError if the name is no checkpoint's, if it is pinned or if it can't be renamed, NoSuchRun if it is not
    there, LockHeld. Then nothing was changed.
    """
    run, name = os.path.split(os.path.abspath(path))
    if not discover.is_checkpoint_name(path):
        raise UsageError(f"{path!r} can't be set aside: {name!r} is not a checkpoint's name, such as checkpoint-1000")
    with lock.hold(discover.run_directory(run), lock_timeout) as run_fd:
        if discover.is_gone(os.path.join(run, name)):
            raise NoSuchRun(f"no such checkpoint: {path!r}")
        if name in pins.read(run):
            raise UsageError(f"{path} is pinned: nothing renamed; fix: {command('unpin', path)}")
        aside = _free_name(run_fd, SET_ASIDE + name)
        try:
            os.rename(name, aside, src_dir_fd=run_fd, dst_dir_fd=run_fd)
        except OSError as error:
            raise UsageError(f"{path} can't be renamed to {aside}: {error.strerror}; nothing changed") from None
    return os.path.join(run, aside)


def _free_name(run_fd: int, wanted: str) -> str:
    """The name, or the first of NAME.1, NAME.2, ... that nothing has."""
    taken, name, number = set(os.listdir(run_fd)), wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    return name


WHY = Reason("named", "a person named it")


def discard_named(
    path: str,
    *,
    now: float | None = None,
    dry_run: bool = False,
    agreed: PrunePlan | None = None,
    lock_timeout: float = 0.0,
    trust: Sequence[str] = (),
    by: str = "",
) -> Pruned:
    """Delete one checkpoint, whatever its verdict, and tell what that freed.

    path: RUN/checkpoint-N, or RUN/set-aside-checkpoint-N. now: seconds since the epoch, default this moment.
    dry_run: return the plan alone. agreed: the plan that a person said yes to; what it deletes must be there still.
    lock_timeout: seconds to wait for the run's lock (0: don't). trust: patterns of names that a pickle may call.
    by: what the history calls the program that deleted, default its own name.
    A failure to delete is data in the outcome.
    Raises UsageError if the name is no checkpoint's or it is pinned, NoIntactCheckpoint if it is the last intact or the
    last resumable one, LockHeld if a process has it open or wrote there a moment ago, NoSuchRun. Then nothing was
    deleted.
    """
    parent, name = os.path.split(os.path.abspath(path))
    _require_name(path, name)
    run, reading = discover.run_directory(parent), WHOLE._replace(pickles=True, trust=tuple(trust))
    if dry_run:
        return Pruned(_plan(run, name, moment(now), reading), None)
    with lock.hold(run, lock_timeout) as run_fd:
        plan = _plan(run, name, moment(now), reading)
        if agreed and _identity(agreed) != _identity(plan):
            raise UsageError(f"{path} is not what you were asked about any more: nothing deleted; try again")
        outcome = execute(run_fd, plan, patient=True, settle=True)
    fault = record_deletions(plan, outcome, by)
    return Pruned(plan, outcome._replace(notes=(*outcome.notes, fault)) if fault else outcome)


def _require_name(path: str, name: str) -> None:
    if discover.may_be_checkpoint(path, _original(name)):
        return
    from ckptkit.runs import nearby  # loaded for the message alone

    message = f"{nearby.no_such_checkpoint(path)}; nothing deleted"
    is_parent = not nearby.holds_checkpoint(path) and nearby.runs_below(path)
    raise NoSuchRun(message) if is_parent else UsageError(message)


def _original(name: str) -> str:
    """The name that a checkpoint had before it was set aside; set-aside-checkpoint-5.1 was the second of its name."""
    if not name.startswith(SET_ASIDE):
        return name
    return re.sub(r"\.[0-9]+$", "", name.removeprefix(SET_ASIDE))


def _plan(run: str, name: str, now: float, reading: Reading) -> PrunePlan:
    """The plan that deletes it, what a kill left of it too, and nothing else. Raises what stands against that."""
    scanned = discover.scan(run)
    leftovers = tuple(left for left in scanned.leftovers if f"{left.name}.".startswith(f"{ASIDE}{name}."))
    if leftovers and discover.is_gone(os.path.join(run, name)):
        return PrunePlan(run, (), leftovers)
    target = _target(run, name, now, reading)
    _require_loose(run, target, now)
    if why := trackers.named(scanned).get(name):
        raise UsageError(
            f"{target.checkpoint.path} stays: {why.message}; name another one there first; nothing deleted"
        )
    kind = kind_of(target.checkpoint._replace(name=_original(name)))
    alike = [j for j in judge(scanned, now, reading=reading) if kind_of(j.checkpoint) == kind]
    _require_another(target, [j for j in alike if j.checkpoint.name != name])
    return PrunePlan(run, (Decision(*target, "delete", (WHY,)),), leftovers)


def _target(run: str, name: str, now: float, reading: Reading) -> Judged:
    """The checkpoint with its verdict; one that was set aside is judged as if it had its old name."""
    path = os.path.join(run, name)
    if discover.is_gone(path):
        raise NoSuchRun(f"no such checkpoint: {path!r}")
    checkpoint = discover.named_as(path, _original(name))
    if any(problem.code == "not-a-directory" for problem in checkpoint.problems):
        raise UsageError(f"{path} is not a directory: nothing deleted; fix: rm {shlex.quote(path)}")
    judged = judge(Run(run, (checkpoint,)), now, reading=reading)
    if not judged:
        raise NoSuchRun(f"{path} is gone: somebody else removed it")
    return judged[0]


def _require_loose(run: str, target: Judged, now: float) -> None:
    """Raise if a person pinned it, a process has it open, or something wrote there a moment ago and did not finish."""
    checkpoint, verdict = target
    if checkpoint.name in pins.read(run):
        raise UsageError(f"{checkpoint.path} is pinned: nothing deleted; fix: {command('unpin', checkpoint.path)}")
    if holder := in_use(run).get(checkpoint.name):
        raise LockHeld(f"{checkpoint.path} is {holder.message}: nothing deleted; end that process first")
    silent = now - checkpoint.modified_at
    if not verdict.intact and abs(silent) < QUIET_SECONDS:
        again = f"try again in {QUIET_SECONDS - silent:.0f} s"
        raise LockHeld(f"{checkpoint.path} was last written {silent:.0f} s ago and is not finished: {again}")


def _require_another(target: Judged, others: Sequence[Judged]) -> None:
    """Raise if it is the last one that is intact, or the last that can be resumed from."""
    path, verdict = target.checkpoint.path, target.verdict
    unread = [f"; {j.checkpoint.name} could not be judged: {first_finding(j)}" for j in others if j.verdict.unread]
    ending = f"nothing deleted{''.join(unread[:1])}"
    if verdict.intact and not any(j.verdict.intact for j in others):
        raise NoIntactCheckpoint(f"{path} is the only intact checkpoint of its run: {ending}")
    if _resumes(target) and not any(map(_resumes, others)):
        raise NoIntactCheckpoint(f"{path} is the only one that training can go on from: {ending}")


def _resumes(judged: Judged) -> bool:
    return judged.verdict.resumable and not judged.verdict.refused


def _identity(plan: PrunePlan) -> list[tuple[int, int]]:
    return [(d.checkpoint.device, d.checkpoint.inode) for d in plan.decisions]
