"""prune: the plan, the guards in front of it, its execution, and the account of what the volume gained."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ckptkit import history
from ckptkit.errors import CkptkitError, LockHeld, NoIntactCheckpoint, UsageError
from ckptkit.model.checkpoint import Judged, Verdict
from ckptkit.model.decision import Decision, Outcome, PrunePlan
from ckptkit.model.reason import Reason
from ckptkit.ops.read import in_use, judge, plan, require_intact, scan
from ckptkit.policy import mass_delete
from ckptkit.policy.keep import DEFAULT_RULES, Rules
from ckptkit.runs import discover, pins
from ckptkit.system import lock
from ckptkit.units import count, human, printable
from ckptkit.verify.verdict import QUIET_SECONDS


class Pruned(NamedTuple):
    """A plan and what came of it.

    A dry run has no outcome, and the whole plan. stopped: "" or, in one sentence, what the mass-delete guard did not
    let through and the command that deletes it; with an outcome, the plan is what was done without a yes.
    """

    plan: PrunePlan
    outcome: Outcome | None
    stopped: str = ""

    def __repr__(self) -> str:
        plan, done = self.plan, self.outcome
        if done is None:
            would = f"would delete {count(len(plan.deletions), 'checkpoint')}, {human(plan.expected_freed_bytes)}"
            return printable(f"<Pruned {plan.run}: {would}{', which needs yes=True' if self.stopped else ''}>")
        gone = f"deleted {count(len(done.deleted), 'checkpoint')}, freed {human(done.freed_bytes)}"
        failed = f", {len(done.failures)} could not be deleted" if done.failures else ""
        return printable(f"<Pruned {plan.run}: {gone}{failed}{', the rest needs yes=True' if self.stopped else ''}>")


def prune(
    path: str,
    rules: Rules = DEFAULT_RULES,
    *,
    now: float | None = None,
    quiet: float = QUIET_SECONDS,
    protected: Mapping[str, Reason] | None = None,
    trust: Sequence[str] = (),
    dry_run: bool = False,
    yes: bool = False,
    ask: Callable[[PrunePlan, int], bool] | None = None,
    lock_timeout: float = 0.0,
    patient: bool = True,
    settle: bool = True,
    announce: Callable[[PrunePlan], None] = lambda _plan: None,
    by: str = "",
    earlier: Collection[str] = (),
    need_bytes: int = 0,
) -> Pruned:
    """Delete what the rules release, under the run's lock; `announce` gets the plan before anything is done.

    now, quiet, protected, trust, earlier, need_bytes: as in `plan`. yes: lets a mass deletion through.
    ask: without `yes`, gets such a plan before the lock is taken, and how many go all the same; says whether all may.
    Without a yes what is damaged goes, and just enough for the next save if that would not fit: see `Pruned.stopped`.
    lock_timeout: seconds. patient: tries what is refused again, for under a second. settle: waits until the
    volume shows the freed bytes, so that the account is true; without it that is at once.
    by: what the history calls the program that deleted, default its own name.
    Failures to delete are data in the outcome. Raises NoSuchRun, UsageError, LockHeld, NoIntactCheckpoint at once.
    """
    run = discover.run_directory(path)
    look = partial(
        plan, run, now=now, quiet=quiet, protected=protected, trust=trust, earlier=earlier, need_bytes=need_bytes
    )
    if dry_run:
        prune_plan = look(rules)
        announce(prune_plan)
        require_intact(prune_plan, "deleted")
        return Pruned(prune_plan, None, "" if yes else _foretold(prune_plan, rules))
    shown = None
    if ask and not yes:
        rules, shown = _asked(look(rules), rules, announce, ask)
    with lock.hold(run, lock_timeout) as run_fd:
        prune_plan = look(rules)
        prune_plan, stopped = (prune_plan, "") if yes else let_through(prune_plan, rules)
        if prune_plan != shown:
            announce(prune_plan)
        require_intact(prune_plan, "deleted")
        outcome = _executed(run_fd, prune_plan, patient, settle)
        outcome = _remembered(prune_plan, outcome, rules, stopped)
    return Pruned(prune_plan, _recorded(prune_plan, outcome, by), stopped)


def rest(pruned: Pruned, rules: Rules) -> tuple[tuple[str, ...], str]:
    """Given what is done without a yes, return the names of the intact ones that wait for one, and what deletes them.

    Of a dry run, which deleted nothing, the command deletes all.
    """
    waiting = tuple(d.checkpoint.name for d in mass_delete.waiting(pruned.plan))
    undone = 0 if pruned.outcome else len(mass_delete.intact_deletions(pruned.plan))
    return waiting, mass_delete.command(pruned.plan.run, rules, len(waiting) + undone)


def in_words(rules: Rules) -> str:
    """Given rules, return them for a person: keep-last 2, keep-every 500."""
    words = mass_delete.flags(rules)
    return ", ".join(f"{name[2:]} {value}" for name, value in zip(words[::2], words[1::2], strict=True)) or "no rule"


def is_news(pruned: Pruned) -> bool:
    """Whether what waits for a yes was not told before; from now on it was."""
    return history.is_news(pruned.plan.run, sorted(d.checkpoint.name for d in mass_delete.waiting(pruned.plan)))


def discard(path: str, *, own: bool = False, instead: str = "", lock_timeout: float = 0.0, by: str = "") -> Outcome:
    """Remove one checkpoint that its own writer gives up: a failed save's remains, or an older one in its way.

    path: the checkpoint; one that is not there is no error. own: the caller itself began it, on a name that did not
    exist: then it goes also where nobody could judge it. instead: another run, such as the best trial's of a search: as
    long as it holds one as good as the last intact one here, that one goes too, unless a process has it open or trains
    in its run. lock_timeout: seconds to wait for the run's lock. by: what the history calls the program that deleted,
    default its own name.
    Raises NoIntactCheckpoint if it is the only intact one, UsageError if it is pinned or, unless it is the caller's
    own, could not be judged, LockHeld, NoSuchRun.
    """
    run, name = os.path.split(os.path.abspath(path))
    with lock.hold(run, lock_timeout) as run_fd:
        judged = judge(scan(run), quiet=0)
        target = next((j for j in judged if j.checkpoint.name == name), None)
        if target is None:
            return Outcome()
        _require_given_up(run, target, judged, own, instead)
        from ckptkit.ops.execute import account, remove, volume_status

        before = volume_status(run_fd)
        failures = remove(run_fd, run, target.checkpoint)
        decision = Decision(*target, "delete", (Reason("given-up", "given up by its writer"),))
        prune_plan = PrunePlan(run, (decision,))
        outcome = account(run_fd, before, [] if failures else [decision], failures, prune_plan, settle=False)
    return _recorded(prune_plan, outcome, by)


def _require_given_up(run: str, target: Judged, judged: Sequence[Judged], own: bool, instead: str) -> None:
    """Raise what stands against deleting it: as `discard` says."""
    path, verdict = target.checkpoint.path, target.verdict
    if target.checkpoint.name in pins.read(run):
        raise UsageError(f"{path} is pinned: left alone")
    if verdict.state == "unknown" and not own:
        raise UsageError(f"{path} could not be judged: left alone")
    if instead and (holder := in_use(run).get(target.checkpoint.name)):
        raise LockHeld(f"{path} is {holder.message}: left alone")
    if instead and (claim := lock.claim_of(run)):
        raise LockHeld(f"{run}: {claim.sentence}: {path} is left alone")
    only = verdict.intact and sum(j.verdict.intact for j in judged) == 1
    if only and not (instead and _stands_in(run, verdict, instead)):
        raise NoIntactCheckpoint(f"{path} is the only intact checkpoint: left alone")


def _stands_in(run: str, verdict: Verdict, instead: str) -> bool:
    """Whether another run holds one that is as good, read just now."""
    if os.path.realpath(instead) == os.path.realpath(run):
        return False
    try:
        others = [j.verdict for j in judge(scan(instead), quiet=0)]
    except CkptkitError:  # what can't be looked at stands in for nothing
        return False
    return any(v.intact and v.resumable >= verdict.resumable and v.refused <= verdict.refused for v in others)


def _recorded(prune_plan: PrunePlan, outcome: Outcome, by: str) -> Outcome:
    """Write down what is gone, now that it is, and nobody waits for the lock; what can't be is a note, no failure."""
    if not outcome.deleted and not prune_plan.leftovers:
        return outcome
    from ckptkit.ops.record import record_deletions  # SQLite takes longer to load than an idle sweep takes in all

    fault = record_deletions(prune_plan, outcome, by)
    return outcome._replace(notes=(*outcome.notes, fault)) if fault else outcome


def _asked(
    prune_plan: PrunePlan, rules: Rules, announce: Callable[[PrunePlan], None], ask: Callable[[PrunePlan, int], bool]
) -> tuple[Rules, PrunePlan | None]:
    """The rules, with as many deletions as a person agreed to, and the plan that was shown for that."""
    if rules.max_delete is not None or not _needs_a_yes(prune_plan, rules):
        return rules, None
    announce(prune_plan)
    agreed = len(mass_delete.intact_deletions(prune_plan))
    without = len(mass_delete.intact_deletions(let_through(prune_plan, rules)[0]))
    return (rules._replace(max_delete=agreed) if ask(prune_plan, without) else rules), prune_plan


def _foretold(prune_plan: PrunePlan, rules: Rules) -> str:
    """What the execution of a plan will ask; "" if nothing."""
    limited, stopped = let_through(prune_plan, rules)
    return mass_delete.foretold(prune_plan, limited, rules) if stopped else ""


def let_through(prune_plan: PrunePlan, rules: Rules) -> tuple[PrunePlan, str]:
    """Given a plan, return what of it is done without a yes, and the sentence about the rest, "" if there is none."""
    if not _needs_a_yes(prune_plan, rules):
        return prune_plan, ""
    limited = mass_delete.unasked(prune_plan, rules, 0)
    if not history.recall_room(prune_plan.run, _policy(rules)):  # once per policy
        limited = mass_delete.unasked(prune_plan, rules, _missing_bytes(limited))
    return limited, mass_delete.sentence(limited, rules)


def _needs_a_yes(prune_plan: PrunePlan, rules: Rules) -> bool:
    previous = history.recall_policy(prune_plan.run)
    agreed = None if previous is None else mass_delete.from_json(previous)
    if not mass_delete.needs_a_yes(prune_plan, rules, agreed, history.recall_room(prune_plan.run, _policy(rules))):
        return False
    # What `cron --install` was told for all runs below a directory; a limit that somebody set is no policy.
    above = history.recall_roots_of(prune_plan.run) if rules.max_delete is None else []
    return not mass_delete.is_agreed(rules, above)


def _missing_bytes(limited: PrunePlan) -> int:
    """What the next save lacks once the damaged ones are gone; it will be as large as the largest that is there."""
    from ckptkit import forecast
    from ckptkit.system import volumes

    largest = max(d.checkpoint.allocated_bytes for d in limited.intact)
    room = volumes.available_bytes(limited.run) + limited.expected_freed_bytes
    return forecast.next_save_bytes(largest) - room


def _policy(rules: Rules) -> Rules:
    """The part that two calls have in common, however many deletions one of them was allowed."""
    return rules._replace(max_delete=None)


def _remembered(prune_plan: PrunePlan, outcome: Outcome, rules: Rules, stopped: str) -> Outcome:
    """Keep what was agreed to, or what went without; after the deletion, when there is room for that."""
    if not stopped:
        history.remember_policy(prune_plan.run, _policy(rules))
        return outcome
    gone = sum(d.checkpoint.path in outcome.deleted for d in mass_delete.intact_deletions(prune_plan))
    if not gone:
        return outcome
    fault = history.remember_room(prune_plan.run, _policy(rules), gone)
    note = f"that room was made could not be remembered, so the next sweep may make room again: {fault}"
    return outcome._replace(notes=(*outcome.notes, note)) if fault else outcome


def _executed(run_fd: int, prune_plan: PrunePlan, patient: bool, settle: bool) -> Outcome:
    if not prune_plan.deletions and not prune_plan.leftovers:
        return Outcome()
    from ckptkit.ops.execute import execute

    return execute(run_fd, prune_plan, patient, settle)
