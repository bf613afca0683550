"""Verbs that only read: scan, judge, verify, plan, latest."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from ckptkit import config, layouts
from ckptkit.calling import command
from ckptkit.errors import CkptkitError, NoIntactCheckpoint, NoSuchRun
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, Level, Run, Verdict
from ckptkit.model.reason import Reason
from ckptkit.policy import keep
from ckptkit.policy.keep import DEFAULT_RULES, Rules
from ckptkit.policy.lineage import diverged_names, kind_of, stale_names
from ckptkit.runs import discover, pins, trackers
from ckptkit.runs.strip_part import strip_leftovers
from ckptkit.system import lock, volumes
from ckptkit.verify import manifest
from ckptkit.verify.verdict import QUIET_SECONDS as QUIET_SECONDS
from ckptkit.verify.verdict import WHOLE, Reading
from ckptkit.verify.verdict import verify as verify_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from ckptkit.model.decision import Decision, PrunePlan, Strip, StripPlan, Writer

PINNED = Reason("pinned", "pinned")


def rules_for(
    run: str, flags: Mapping[str, str | None], file: str | None = None, asked: Mapping[str, object] | None = None
) -> Rules:
    """Given a run and the flags typed, return the rules from all four places. Raises UsageError, NoSuchRun.

    asked: {rule: value or None} from Python, which beats all.
    """
    path = discover.run_directory(run)
    return config.rules(path, flags, os.environ, volumes.total_bytes(path), file, asked)


def rules_where(run: str, flags: Mapping[str, str | None], file: str | None = None) -> Rules:
    """As `rules_for`, also where the run will only be. Raises UsageError."""
    discover.refuse_empty(run)
    path = os.path.realpath(run)
    return config.rules(path, flags, os.environ, volumes.total_bytes(volumes.nearest_directory(path)), file)


def trust_for(run: str, typed: Sequence[str], file: str | None = None) -> tuple[str, ...]:
    """Given a run and the patterns typed, return those that hold from all four places. Raises UsageError, NoSuchRun.

    run: also a checkpoint of it, and one that is not there yet. typed: as --trust gives them. file: read instead of
    the run's own.
    """
    discover.refuse_empty(run)
    run = os.path.realpath(os.path.dirname(os.path.abspath(run)) if discover.is_checkpoint_name(run) else run)
    path = run if discover.is_gone(run) else discover.run_directory(run)
    return config.trust(path, {"trust": typed}, os.environ, file)


def scan(path: str) -> Run:
    """Given a run directory, return its checkpoints. Raises NoSuchRun also if it holds none."""
    run = discover.scan(path)
    if not run.checkpoints and not run.leftovers:
        from ckptkit.runs import nearby  # loaded for the message alone

        raise NoSuchRun(nearby.no_checkpoint(run.path, discover.find_runs(run.path, deepest=2), run.strays))
    return run


def find_runs(root: str) -> list[str]:
    """Given a directory, return every run at or below it."""
    return discover.find_runs(root)


def judge(
    run: Run,
    now: float | None = None,
    level: Level = "quick",
    quiet: float = QUIET_SECONDS,
    reading: Reading = WHOLE,
) -> tuple[Judged, ...]:
    """Given a run, return each checkpoint with its verdict; one that a sweep removed meanwhile is none any more."""
    at = moment(now)  # one for all
    whole = run if len(run.checkpoints) > 1 else None
    judged = (_judged(c, at, level, quiet, reading, whole) for c in run.checkpoints)
    return tuple(j for j in judged if j.verdict.intact or not discover.is_gone(j.checkpoint.path))


def require_intact(planned: PrunePlan | StripPlan, done: str) -> None:
    """Raise NoIntactCheckpoint, which says why the newest is none, if none is and not all are still being written.

    done: what was not, such as "deleted".
    """
    states = {decision.verdict.state for decision in planned.decisions}
    if states and "intact" not in states and states != {"in_progress"}:
        newest = planned.decisions[-1]
        why = f"{newest.checkpoint.name}, the newest, is {newest.verdict.state}: {keep.first_finding(newest)}"
        explain = command("verify", planned.run, "--explain")
        message = f"no intact checkpoint in {planned.run} ({why}): nothing {done}; see {explain}"
        raise NoIntactCheckpoint(message)


def diverged(path: str) -> frozenset[str]:
    """Given a run, return the names of those in which a weight became NaN or Inf, as the manifests have it."""
    return diverged_of(judge(scan(path), quiet=0))


def going_on(checkpoint: Checkpoint) -> str:
    """Given a checkpoint, return what resumes from it, in its framework's words."""
    return layouts.by_name(checkpoint.layout).going_on(checkpoint.path)


def unread(decisions: Iterable[Decision | Strip]) -> list[Decision | Strip]:
    """Given what was decided, return those that were left alone only because they could not be read."""
    return [d for d in decisions if d.action == "leave" and d.verdict.unread]


def moment(now: float | None) -> float:
    """The time that a caller gave, or this one."""
    return time.time() if now is None else now


def _judged(
    checkpoint: Checkpoint, now: float, level: Level, quiet: float, reading: Reading, run: Run | None = None
) -> Judged:
    """With the manifest, if there is one; one that is broken is told and speaks for nothing."""
    known = None
    if any(file.name == manifest.FILE for file in checkpoint.files):
        try:
            known = manifest.read(checkpoint.path)
        except ValueError as error:
            broken = Finding(manifest.FILE, "bad-manifest", f"{error}; it is not used")
            checkpoint = checkpoint._replace(problems=(*checkpoint.problems, broken))
    verdict = verify_checkpoint(checkpoint, now, level, quiet, known, reading, _names_before(checkpoint, run))
    if checkpoint.single and verdict.trainer_state:  # its name may tell another step, or none
        checkpoint = checkpoint._replace(step=verdict.trainer_state.step)
    return Judged(checkpoint, verdict)


def _names_before(checkpoint: Checkpoint, run: Run | None) -> frozenset[str]:
    """The names in the whole saves around it, where its layout has no mark: one that broke off lacks some of them."""
    layout = layouts.by_name(checkpoint.layout)
    if not layout.promised(frozenset({layout.marker})):
        return frozenset()
    run = run or discover.scan(os.path.dirname(checkpoint.path))
    alike = [c for c in run.checkpoints if kind_of(c) == kind_of(checkpoint)]
    names = {c.step: frozenset(file.name for file in c.files) for c in alike}
    whole = {step: files for step, files in names.items() if layout.marker in files and not layout.mark(files)}
    before = [files for step, files in whole.items() if step < checkpoint.step][-1:]
    after = [files for step, files in whole.items() if step > checkpoint.step][:1]
    # What the save after it lacks as well was given up by then: fewer ranks, another precision.
    return frozenset().union(*before) & after[0] if after else frozenset().union(*before)


def verify(
    path: str,
    *,
    level: Level = "quick",
    now: float | None = None,
    reading: Reading = WHOLE,
    trust: Sequence[str] | Callable[[str], Sequence[str]] = (),
) -> tuple[Judged, ...]:
    """Given a checkpoint, a run, or a root above runs, return each checkpoint below with its verdict.

    At each level the pickles that a resume loads are followed, never loaded.

    now: seconds since the epoch. reading: how to read what the level asks for. trust: patterns (`pkg.*`) of what
    pickles may name, beside those of `reading`; or what returns them for a run's path.
    Raises NoSuchRun if there is none, or none any more.
    """

    def of(run: str) -> Reading:
        own = trust(run) if callable(trust) else trust
        return reading._replace(pickles=True, trust=(*reading.trust, *own))

    judged = tuple(j for run in runs_at(path) for j in judge(run, now, level, reading=of(run.path)))
    if not judged:
        raise NoSuchRun(f"no checkpoint at or below {path!r} any more: removed while it was looked at")
    return judged


def runs_at(path: str) -> list[Run]:
    """Given a checkpoint, a run, or a root above runs, return the runs; of a checkpoint, a run of it alone."""
    if discover.is_checkpoint_name(path):
        return [Run(os.path.dirname(os.path.abspath(path)), (discover.checkpoint(path),))]
    directory = discover.run_directory(path)
    scanned = discover.scan(directory)
    if scanned.checkpoints:
        return [scanned]
    below = [discover.scan(run) for run in discover.find_runs(directory)]
    if not any(run.checkpoints for run in below):
        from ckptkit.runs import nearby  # loaded for the message alone

        raise NoSuchRun(nearby.no_checkpoint(directory, (), scanned.strays))
    return below


def bytes_at(path: str) -> int:
    """Given a checkpoint, a run, or a root above runs, return the apparent bytes of all checkpoints; 0 if none."""
    try:
        return sum(checkpoint.apparent_bytes for run in runs_at(path) for checkpoint in run.checkpoints)
    except CkptkitError:
        return 0


def plan(
    path: str,
    rules: Rules = DEFAULT_RULES,
    *,
    now: float | None = None,
    quiet: float = QUIET_SECONDS,
    protected: Mapping[str, Reason] | None = None,
    trust: Sequence[str] = (),
    earlier: Collection[str] = (),
    need_bytes: int = 0,
) -> PrunePlan:
    """Given a run and rules, return what prune would do. Reads only.

    now: seconds since the epoch, default the clock's. quiet: seconds without a write after which an unfinished
    checkpoint is not being written any more. protected: {name: reason} of what must stay whatever the rules say.
    trust: patterns (`pkg.*`) of what pickles may name. earlier, need_bytes: as in `policy.plan`.
    Raises NoSuchRun, UsageError.
    """
    run = scan(path)
    judged = judge(run, now, quiet=quiet)
    held = trackers.named(run) | dict.fromkeys(pins.read(run.path), PINNED) | dict(protected or {})
    available = _available_bytes(run.path) if rules.free_target or need_bytes else 0
    decide = partial(
        keep.plan, run.path, rules=rules, available_bytes=available, leftovers=run.leftovers, earlier=earlier,
        need_bytes=need_bytes,
    )  # fmt: skip
    prune_plan = decide(judged, protected=held)
    half_stripped = any(f.code == "half-stripped" for j in judged for f in j.verdict.findings)
    if not prune_plan.deletions and not half_stripped:
        return prune_plan
    # Looked for only when something is to go: it costs a walk over /proc.
    held = in_use(run.path) | held
    look = partial(judge, now=now, quiet=quiet, reading=Reading(pickles=True, trust=tuple(trust)))
    writer = _other_writer(run.path) if any(d.verdict.damaged for d in prune_plan.deletions) else None
    decide = partial(decide, protected=held, writer=writer, now=moment(now))
    prune_plan = _relying_on_what_resumes(decide, look, judged)
    if half_stripped:
        half = strip_leftovers(prune_plan, held, moment(now) - quiet)
        prune_plan = prune_plan._replace(leftovers=(*prune_plan.leftovers, *half))
    return prune_plan


def _relying_on_what_resumes(
    decide: Callable[[Iterable[Judged]], PrunePlan], look: Callable[[Run], tuple[Judged, ...]], judged: Iterable[Judged]
) -> PrunePlan:
    """The plan, made again until the pickles of all that it keeps to resume from have been followed.

    What a resume would refuse replaces nothing that is to go. look: judges checkpoints with their pickles followed.
    """
    verdicts = {j.checkpoint.name: j for j in judged}
    looked_at: set[str] = set()
    while True:
        prune_plan = decide(verdicts.values())
        kept = (d for d in prune_plan.decisions if d.action == "keep" and d.verdict.resumable)
        unseen = tuple(d.checkpoint for d in kept if d.checkpoint.name not in looked_at)
        if not unseen or not prune_plan.deletions:
            return prune_plan
        looked_at |= {checkpoint.name for checkpoint in unseen}
        for checkpoint in unseen:  # one that is gone by now is planned with no more
            del verdicts[checkpoint.name]
        verdicts |= {j.checkpoint.name: j for j in look(Run(prune_plan.run, unseen))}


def diverged_of(judged: Iterable[Judged]) -> frozenset[str]:
    """Given verdicts, return the names of the intact ones in which a weight became NaN or Inf."""
    intact = [j for j in judged if j.verdict.intact]
    return diverged_names(intact, stale_names(intact))


def judge_again(checkpoint: Checkpoint, level: Level, now: float | None = None, reading: Reading = WHOLE) -> Verdict:
    """Given a checkpoint judged before, look at it as it is now. Raises NoSuchRun if it is gone."""
    return _judged(discover.checkpoint(checkpoint.path), moment(now), level, QUIET_SECONDS, reading).verdict


def _available_bytes(run: str) -> int:
    return volumes.available_bytes(run)


def _other_writer(run: str) -> Writer | None:
    from ckptkit.system.processes import writer_in

    return writer_in(run, lock.claimant(run), lock.claims(run), discover.is_checkpoint_name)


def in_use(run: str) -> dict[str, Reason]:
    """{checkpoint's name: who has something in it open}."""
    from ckptkit.system import processes

    used = {}
    for file in processes.open_files(run):
        name = os.path.relpath(file.path, run).split(os.sep)[0]
        if not file.deleted and name != ".":
            used[name] = Reason("held-open", f"held open by {file.holder}")
    return used


def unnamed() -> str:
    """Of a command that was typed without RUN, return which one it may have meant, for its message."""
    from ckptkit.runs import nearby  # loaded for the message alone

    return nearby.unnamed()
