"""recover: after a crash, all steps in order, each told before it runs, to the line that resumes."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from ckptkit.advise.afterwards import afterwards
from ckptkit.advise.preflight import Facts
from ckptkit.errors import LockHeld, NoIntactCheckpoint, NoSuchRun, UsageError
from ckptkit.model.advice import Check
from ckptkit.model.decision import Decision, PrunePlan
from ckptkit.ops import discard
from ckptkit.ops.at_work import at_work
from ckptkit.ops.crash_log import Diagnosis, diagnosed, log_of
from ckptkit.ops.diskreport import Report, report
from ckptkit.ops.latest import Latest, latest
from ckptkit.ops.preflight import newer_unknown, preflight
from ckptkit.ops.prune import Pruned, let_through, prune
from ckptkit.ops.read import judge, moment, plan, scan
from ckptkit.ops.start import GoingOn, going_on
from ckptkit.policy.keep import Rules
from ckptkit.policy.lineage import kind_of
from ckptkit.units import age, printable
from ckptkit.verify.verdict import QUIET_SECONDS


class Young(NamedTuple):
    """The newest save is not finished, and was written to a moment ago: its training may be alive.

    silent_seconds: since the last write. wait_seconds: until it counts as torn. at_work: who trains there, or "".
    """

    run: str
    name: str
    silent_seconds: float
    wait_seconds: float
    at_work: str

    @property
    def sentence(self) -> str:
        """What is known of it, for a person."""
        silence = f"{self.run}: {self.name} is not finished, and was last written {age(self.silent_seconds)} ago"
        return f"{silence}; {self.at_work}" if self.at_work else silence


class StillWritten(LockHeld):
    """The newest save was written to a moment ago: somebody may be at it."""

    def __init__(self, young: Young) -> None:
        again = f"try again in {age(young.wait_seconds)}"
        what = f"when it has ended, {again}" if young.at_work else f"if nothing is training, {again}"
        super().__init__(f"{young.sentence}; {what}; nothing was changed")
        self.young = young


class Recovered(NamedTuple):
    """What each step came to. `line` is what to type to go on, "" if there is nothing to go on from.

    set_aside: the new paths of checkpoints that nobody can judge, in a dry run the old ones.
    done: the plan of what is deleted, in a dry run of what will be; None if nothing is intact.
    going_on: the line again, and whether it can be typed as it is. diagnosis: what the training's log told.
    """

    report: Report
    pruned: Pruned | None
    latest: Latest | None
    checks: tuple[Check, ...]
    line: str
    set_aside: tuple[str, ...] = ()
    done: PrunePlan | None = None
    going_on: GoingOn = GoingOn("", exact=False)
    diagnosis: Diagnosis = Diagnosis()

    def __repr__(self) -> str:
        against = [check.code for check in self.checks if check.state == "no-go"]
        state = f"no-go ({', '.join(against)})" if against else "ready" if self.line else "nothing to resume from"
        return printable(f"<Recovered {state}{f', to resume: {self.line}' if self.line and not against else ''}>")

    @property
    def freed_bytes(self) -> int:
        """As measured; in a dry run, as expected."""
        if self.pruned and self.pruned.outcome:
            return self.pruned.outcome.freed_bytes
        return self.done.expected_freed_bytes if self.done else 0


def recover(
    path: str,
    rules: Rules,
    *,
    dry_run: bool = False,
    yes: bool = False,
    ask: Callable[[PrunePlan, int], bool] | None = None,
    lock_timeout: float = 0.0,
    set_aside: Callable[[Decision], bool] = lambda _decision: False,
    skip_unknown: bool = False,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
    log: str = "",
    wait: Callable[[Young], bool] = lambda _young: False,
    tell: Callable[[str, object], None] = lambda _step, _value: None,
) -> Recovered:
    """Bring a run to where it can go on, and say how. A second call finds nothing left to do and says the same.

    set_aside: asked of each checkpoint that can't be judged and is newer than the newest intact one: whether to rename
    it, so that no resume takes it. skip_unknown: go on without asking, and leave them where they are.
    trust, allow_nonfinite: as in `latest`. log: the training's, default the one that is certainly its.
    wait: asked when the newest save was written to within the last minute; returns True once that minute is over.
    tell: gets ("step", its words) before each step, ("plan", plan) before anything is deleted, and what came of each:
    "diagnosis", "report", "pruned" (or "kept", the reason), "aside" (old path and new, "" in a dry run), "latest",
    "checks".
    yes, ask: as in `prune`; what waits for a yes is in Recovered.pruned.stopped. A dry run asks nobody: it judges the
    state after the yes that `ask`, if it is given, would be asked for.
    Raises NoSuchRun, UsageError, StillWritten and other LockHeld.
    """
    _require_silence(path, wait)
    diagnosis = _diagnosis(path, log)
    tell("diagnosis", diagnosis)
    tell("step", "1. what is on the disk")
    disk = report([path], lambda _run: rules, trust_of=lambda _run: trust)
    tell("report", disk)
    tell("step", f"2. torn checkpoints, and what the policy frees{' (dry run)' if dry_run else ''}")
    pruning = partial(prune, path, rules, trust=trust, dry_run=dry_run, yes=yes, ask=ask, lock_timeout=lock_timeout)
    pruned, done = _pruned(pruning, rules, yes or bool(ask), tell)
    aside = () if skip_unknown else tuple(_set_aside(path, rules, trust, set_aside, dry_run, lock_timeout, tell))
    tell("step", "3. the newest intact checkpoint, every byte of it read")
    newest = _newest(path, trust, allow_nonfinite, tell)
    tell("step", "4. whether it can start")
    checks = preflight(
        path, rules, probe=not dry_run, skip_unknown=skip_unknown, trust=trust, allow_nonfinite=allow_nonfinite,
        afterwards=partial(_after, done=done, aside=aside) if dry_run else lambda facts: facts,
    )  # fmt: skip
    tell("checks", checks)
    tell("step", "5. go on with")
    line = going_on(newest.checkpoint, disk.plans[0].run, diagnosis.head) if newest else GoingOn("", exact=False)
    return Recovered(disk, pruned, newest, checks, line.line, aside, done, line, diagnosis)


def _pruned(
    pruning: Callable[..., Pruned], rules: Rules, agreed: bool, tell: Callable[[str, object], None]
) -> tuple[Pruned | None, PrunePlan | None]:
    """What came of it, and the plan of what goes: in a dry run that is all of it only if somebody can agree to that."""
    try:
        pruned = pruning(announce=lambda plan: tell("plan", plan))
    except NoIntactCheckpoint as error:
        tell("kept", str(error))
        return None, None
    whole = agreed or pruned.outcome is not None
    done = pruned.plan if whole else let_through(pruned.plan, rules)[0]
    tell("pruned", pruned._replace(plan=done))
    return pruned, done


def young(path: str) -> Young | None:
    """Given a run, return its newest save if that may still be written, None if it is finished or silent.

    Raises NoSuchRun, UsageError.
    """
    run, now = scan(path), moment(None)
    judged = judge(run, now)
    intact = {kind_of(c): c.step for c, verdict in judged if verdict.intact}
    unfinished = [c for c, verdict in judged if verdict.state == "in_progress" and c.step > intact.get(kind_of(c), -1)]
    last = max(unfinished, key=lambda c: c.modified_at, default=None)
    # One whose times are ahead of this machine's clock would be young for as long as the clock is behind.
    if last is None or last.modified_at - now > QUIET_SECONDS:
        return None
    silent = max(0.0, now - last.modified_at)
    return Young(run.path, last.name, silent, math.ceil(QUIET_SECONDS - silent), "; ".join(at_work(run.path)))


def _require_silence(path: str, wait: Callable[[Young], bool]) -> None:
    """Raise StillWritten while the newest save may still be written, unless the caller waits for its end."""
    newest = young(path)
    if newest and wait(newest):
        newest = young(path)
    if newest:
        raise StillWritten(newest)


def _diagnosis(path: str, log: str) -> Diagnosis:
    run = scan(path)
    log = log or log_of(run.path, run.checkpoints)
    return diagnosed(log, path) if log else Diagnosis()


def _after(facts: Facts, done: PrunePlan | None, aside: Sequence[str]) -> Facts:
    """What was measured, as it will be after the deletions and renames of a dry run."""
    unknown = zip(newer_unknown(facts.plan), facts.unknown, strict=False)
    facts = facts._replace(unknown=tuple(sentence for d, sentence in unknown if d.checkpoint.path not in aside))
    return afterwards(facts, done or PrunePlan(facts.run, ()), aside)


def _set_aside(
    path: str,
    rules: Rules,
    trust: Sequence[str],
    wanted: Callable[[Decision], bool],
    dry_run: bool,
    lock_timeout: float,
    tell: Callable[[str, object], None],
) -> Iterator[str]:
    """Yield the new path of each that was set aside; one that can't be is told, and stands against a start."""
    for decision in filter(wanted, newer_unknown(plan(path, rules, trust=trust))):
        old = decision.checkpoint.path
        if dry_run:
            tell("aside", (old, ""))
            yield old
            continue
        try:
            new = discard.set_aside(old, lock_timeout=lock_timeout)
        except UsageError as error:
            tell("kept", str(error))
            continue
        tell("aside", (old, new))
        yield new


def _newest(
    path: str, trust: Sequence[str], allow_nonfinite: bool, tell: Callable[[str, object], None]
) -> Latest | None:
    try:
        newest = latest(path, level="full", trust=trust, allow_nonfinite=allow_nonfinite)
    except (NoIntactCheckpoint, NoSuchRun) as nothing:
        tell("kept", str(nothing))
        return None
    tell("latest", newest)
    return newest
