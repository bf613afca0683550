"""strip: old checkpoints become weights-only, under the run's lock, while a newer one can be resumed from."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ckptkit import config, delete
from ckptkit.calling import command
from ckptkit.errors import MassDelete, NoIntactCheckpoint, UsageError
from ckptkit.model.checkpoint import Judged
from ckptkit.model.decision import Failure, Outcome, Strip, StripPlan
from ckptkit.model.reason import Reason, reason_words
from ckptkit.ops import execute
from ckptkit.ops.read import PINNED, in_use, judge, moment, require_intact, scan
from ckptkit.policy import strip as strip_policy
from ckptkit.policy.lineage import diverged_names, stale_names
from ckptkit.runs import discover, pins
from ckptkit.runs.strip_part import is_untouched, strip_part
from ckptkit.system import lock
from ckptkit.units import count, human, printable
from ckptkit.verify.verdict import QUIET_SECONDS, WHOLE, Reading

DEFAULT_KEEP = 1
BUSY = Reason("maybe-written", "somebody may be saving there again")
DIVERGED = Reason("nonfinite", "weights in it became NaN or infinite")
REFUSED = Reason("refused-pickle", "a pickle in it is refused")


class Stripped(NamedTuple):
    """A plan and what came of it. A dry run has no outcome; `stopped` says what the real run would stop at."""

    plan: StripPlan
    outcome: Outcome | None
    stopped: str = ""

    def __repr__(self) -> str:
        plan, done = self.plan, self.outcome
        if done is None:
            would = f"would strip {count(len(plan.strips), 'checkpoint')}, {human(plan.expected_freed_bytes)}"
            return printable(f"<Stripped {plan.run}: {would}{', which needs yes=True' if self.stopped else ''}>")
        gone = f"stripped {count(len(done.deleted), 'checkpoint')}, freed {human(done.freed_bytes)}"
        failed = f", {len(done.failures)} could not be stripped" if done.failures else ""
        return printable(f"<Stripped {plan.run}: {gone}{failed}>")


def strip(
    path: str,
    keep_resumable: int | None = None,
    *,
    now: float | None = None,
    quiet: float = QUIET_SECONDS,
    protected: Mapping[str, Reason] | None = None,
    dry_run: bool = False,
    yes: bool = False,
    lock_timeout: float = 0.0,
    trust: Sequence[str] = (),
    announce: Callable[[StripPlan], None] = lambda _plan: None,
    by: str = "",
) -> Stripped:
    """Given a run, or one checkpoint of it, remove what only continues training; weights, tokenizer and state stay.

    keep_resumable: the newest so many intact ones can still be resumed from. None is 1, and then stripping more than
    half of those that can be takes `yes`. trust: patterns (`pkg.*`) of what pickles may name.
    by: what the history calls the program, default its own name.
    Failures to remove are data in the outcome.
    Raises NoSuchRun, UsageError, LockHeld, NoIntactCheckpoint, MassDelete: then nothing was removed.
    """
    run, only = _target(path)
    if keep_resumable is not None and keep_resumable < 1:
        raise UsageError(f"keep-resumable {keep_resumable}: at least one checkpoint stays resumable")

    def planned() -> StripPlan:
        plan = _plan(run, keep_resumable or DEFAULT_KEEP, moment(now), quiet, protected or {}, only, trust)
        announce(plan)
        _require(plan, only)
        return plan

    if dry_run:
        plan = planned()
        return Stripped(plan, None, _too_many(plan, keep_resumable, yes, only))
    with lock.hold(run, lock_timeout) as run_fd:
        plan = planned()
        if stop := _too_many(plan, keep_resumable, yes, only):
            raise MassDelete(stop)
        outcome = _executed(run_fd, plan)
    return Stripped(plan, _recorded(plan, outcome, by))


def keep_resumable(path: str, flags: Mapping[str, str | None], file: str | None = None) -> int | None:
    """Given RUN or CHECKPOINT and the flags typed, return the setting from all places, None if it is in none."""
    return config.keep_resumable(_target(path)[0], flags, os.environ, file)


def _target(path: str) -> tuple[str, str | None]:
    """The run, and the checkpoint's name if one was meant."""
    if not discover.is_checkpoint_name(path):
        return discover.run_directory(path), None
    checkpoint = discover.checkpoint(os.path.normpath(path))
    return discover.run_directory(os.path.dirname(checkpoint.path)), checkpoint.name


def _plan(
    run: str,
    keep: int,
    now: float,
    quiet: float,
    protected: Mapping[str, Reason],
    only: str | None,
    trust: Sequence[str],
) -> StripPlan:
    pinned = dict.fromkeys(pins.read(run), PINNED) | dict(protected)

    def planned(reading: Reading, held: Mapping[str, Reason]) -> StripPlan:
        judged = judge(scan(run), now, quiet=quiet, reading=reading)
        parts = {j.checkpoint.name: part for j in judged if (part := strip_part(j.checkpoint))}
        begun = [j.checkpoint for j in judged if (part := parts.get(j.checkpoint.name)) and part.begun]
        busy = {c.name: BUSY for c in begun if not is_untouched(c, now - quiet)}
        unsafe = _unsafe(judged) if reading.pickles else {}
        return strip_policy.plan(run, judged, parts, keep, {**held, **busy}, only, unsafe)

    plan = planned(WHOLE, pinned)
    if not plan.strips:
        return plan
    # Looked at again only when something is to go: it costs the reading of pickles, and a walk over /proc.
    return planned(Reading(pickles=True, trust=tuple(trust)), in_use(run) | pinned)


def _unsafe(judged: Sequence[Judged]) -> dict[str, Reason]:
    """{name: why no resume takes it}, of the intact ones."""
    intact = [j for j in judged if j.verdict.intact]
    diverged = diverged_names(intact, stale_names(intact))
    refused = [j.checkpoint.name for j in intact if j.verdict.refused]
    return dict.fromkeys(diverged, DIVERGED) | dict.fromkeys(refused, REFUSED)


def _require(plan: StripPlan, only: str | None) -> None:
    """Raise where nobody can mean it: nothing intact in the run, or the one asked for has to stay as it is."""
    if only is None:
        require_intact(plan, "stripped")
        return
    asked = next(d for d in plan.decisions if d.checkpoint.name == only)
    if asked.action == "strip" or strip_policy.ALREADY.code in asked.codes:
        return
    why = f"{asked.checkpoint.path} stays as it is: {reason_words(asked.reasons)}"
    raise NoIntactCheckpoint(why) if asked.verdict.damaged else UsageError(why)


def _too_many(plan: StripPlan, keep: int | None, yes: bool, only: str | None) -> str:
    going, most = sum(d.verdict.resumable for d in plan.strips), strip_policy.limit(plan)
    if yes or only or keep or going <= most:
        return ""
    fix = command("strip", plan.run, "--keep-resumable", str(DEFAULT_KEEP))
    message = f"{plan.run}: {going} of {len(plan.resumable)} resumable checkpoints would become weights-only"
    return f"{message}: more than {most} need a yes, so nothing was stripped; fix: {fix}"


def _executed(run_fd: int, plan: StripPlan) -> Outcome:
    if not plan.strips:
        return Outcome()
    pauses = list(delete.RETRY_SECONDS)
    before = execute.volume_status(run_fd)
    for floor in plan.floors if any(d.verdict.resumable for d in plan.strips) else ():
        execute.require_still_intact(floor)
    failures: list[Failure] = []
    done: list[Strip] = []
    for decision in plan.strips:
        failed = execute.strip(run_fd, decision.checkpoint, decision.part, pauses) if decision.part else []
        failures += failed
        done += [] if failed else [decision]
    return _account(run_fd, before, plan, done, failures)


def _account(
    run_fd: int,
    before: os.statvfs_result | OSError,
    plan: StripPlan,
    done: Sequence[Strip],
    failures: Sequence[Failure],
) -> Outcome:
    expected = sum(d.part.allocated_bytes for d in done if d.part)
    paths = [d.checkpoint.path for d in done]
    explained = execute.with_holders(plan.run, failures)
    return execute.measured(run_fd, before, plan.run, paths, expected, explained, settle=True)


def _recorded(plan: StripPlan, outcome: Outcome, by: str) -> Outcome:
    """Write down what is gone, now that it is, and nobody waits for the lock; what can't be is a note, no failure."""
    if not outcome.deleted:
        return outcome
    from ckptkit.ops.record import record_strips

    fault = record_strips(plan, outcome, by)
    return outcome._replace(notes=(*outcome.notes, fault)) if fault else outcome
