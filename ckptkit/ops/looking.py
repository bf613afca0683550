"""Verbs that only read: scan, judge, verify, plan, latest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence

from ckptkit import config, discover, manifest, pins, policy
from ckptkit.errors import CkptkitError, NoIntactCheckpoint, NoSuchRun
from ckptkit.lineage import in_line
from ckptkit.model import Checkpoint, Decision, Finding, Judged, Level, Plan, Run, Verdict
from ckptkit.policy import DEFAULT_RULES, Rules
from ckptkit.tuples import NamedTuple
from ckptkit.verify import QUIET_SECONDS, WHOLE, Reading
from ckptkit.verify import verify as verify_checkpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ckptkit.strips import Strip, StripPlan


class PassedOver(NamedTuple):
    """A checkpoint that looks newer than the one chosen, and why it was not."""

    checkpoint: Checkpoint
    verdict: Verdict
    reason: str


class Latest(NamedTuple):
    """The newest intact checkpoint's path, each higher step passed over for it, newest first, and its verdict.

    Where weights alone are enough, the verdict may be of one whose weights are intact and the rest is not.
    """

    path: str
    passed_over: tuple[PassedOver, ...]
    verdict: Verdict


def rules_for(run: str, flags: Mapping[str, str | None], file: str | None = None) -> Rules:
    """Given a run and the flags typed, return the rules from all four places. Raises UsageError, NoSuchRun."""
    path = discover.run_directory(run)
    status = os.statvfs(path)
    return config.rules(path, flags, os.environ, status.f_blocks * status.f_frsize, file)


def rules_where(run: str, flags: Mapping[str, str | None], file: str | None = None) -> Rules:
    """As `rules_for`, also where the run will only be. Raises UsageError."""
    path = place = os.path.realpath(run)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    status = os.statvfs(place)
    return config.rules(path, flags, os.environ, status.f_blocks * status.f_frsize, file)


def scan(path: str) -> Run:
    """Given a run directory, return its checkpoints. Raises NoSuchRun also if it holds none."""
    run = discover.scan(path)
    if not run.checkpoints and not run.leftovers:
        stray = f"; {run.strays[0]!r} is no checkpoint's name" if run.strays else ""
        raise NoSuchRun(f"no checkpoint in {path!r}{stray}; RUN is the directory that holds checkpoint-N")
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
    judged = (_judged(c, at, level, quiet, reading) for c in run.checkpoints)
    return tuple(j for j in judged if j.verdict.intact or not discover.is_gone(j.checkpoint.path))


def require_intact(made: Plan | StripPlan, done: str) -> None:
    """Raise NoIntactCheckpoint, which says why the newest is none, if none is and not all are still being written.

    done: what was not, such as "deleted".
    """
    states = {decision.verdict.state for decision in made.decisions}
    if states and "intact" not in states and states != {"in_progress"}:
        newest = made.decisions[-1]
        why = f"{newest.checkpoint.name}, the newest, is {newest.verdict.state}: {policy.first_finding(newest)}"
        told = f"no intact checkpoint in {made.run} ({why}): nothing {done}; see bin/verify {made.run}"
        raise NoIntactCheckpoint(told)


def unread(decisions: Iterable[Decision | Strip]) -> list[Decision | Strip]:
    """Given what was decided, return those that were left alone only because they could not be read."""
    return [d for d in decisions if d.action == "leave" and d.verdict.unread]


def moment(now: float | None) -> float:
    """The time that a caller gave, or this one."""
    return time.time() if now is None else now


def _judged(checkpoint: Checkpoint, now: float, level: Level, quiet: float, reading: Reading) -> Judged:
    """With the manifest, if there is one; one that is broken is told and speaks for nothing."""
    known = None
    if any(file.name == manifest.FILE for file in checkpoint.files):
        try:
            known = manifest.read(checkpoint.path)
        except ValueError as error:
            broken = Finding(manifest.FILE, "bad-manifest", f"{error}; it is passed over")
            checkpoint = checkpoint._replace(problems=(*checkpoint.problems, broken))
    return Judged(checkpoint, verify_checkpoint(checkpoint, now, level, quiet, known, reading))


def verify(
    path: str,
    *,
    level: Level = "quick",
    now: float | None = None,
    reading: Reading = WHOLE,
    trust: Sequence[str] = (),
) -> tuple[Judged, ...]:
    """Given a checkpoint, a run, or a root above runs, return each checkpoint below with its verdict.

    At each level the pickles that a resume loads are followed, never loaded.

    now: seconds since the epoch. reading: how to read whole files. trust: patterns of names that a pickle may call
    although no framework allows it, such as `pkg.*`.
    Raises NoSuchRun if there is none, or none any more.
    """
    reading = reading._replace(pickles=True, trust=(*reading.trust, *trust))
    judged = tuple(judged for run in runs_at(path) for judged in judge(run, now, level, reading=reading))
    if not judged:
        raise NoSuchRun(f"no checkpoint at or below {path!r} any more: removed while it was looked at")
    return judged


def runs_at(path: str) -> list[Run]:
    """Given a checkpoint, a run, or a root above runs, return the runs; of a checkpoint, a run of it alone."""
    if discover.is_checkpoint_name(path):
        return [Run(os.path.dirname(os.path.abspath(path)), (discover.checkpoint(path),))]
    directory = discover.run_directory(path)
    found = discover.scan(directory)
    if found.checkpoints:
        return [found]
    below = [discover.scan(run) for run in discover.find_runs(directory)]
    if not any(run.checkpoints for run in below):
        raise NoSuchRun(f"no checkpoint at or below {path!r}")
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
    protected: Mapping[str, str] | None = None,
) -> Plan:
    """Given a run and rules, return what prune would do. Reads only. Raises NoSuchRun, UsageError."""
    run = scan(path)
    judged = judge(run, now, quiet=quiet)
    held = dict.fromkeys(pins.read(run.path), "pinned") | dict(protected or {})
    available = _available_bytes(run.path) if rules.free_target else 0
    made = policy.plan(run.path, judged, rules, held, available, run.leftovers)
    half_stripped = any(f.code == "half-stripped" for j in judged for f in j.verdict.findings)
    if not made.deletions and not half_stripped:
        return made
    # Looked for only when something is to go: it costs a walk over /proc.
    held = in_use(run.path) | held
    made = policy.plan(run.path, judged, rules, held, available, run.leftovers)
    if half_stripped:
        from ckptkit.ops.parts import leftovers

        made = made._replace(leftovers=(*made.leftovers, *leftovers(made, held, moment(now) - quiet)))
    return made


def latest(path: str, *, weights_only_ok: bool = False, level: Level = "quick", now: float | None = None) -> Latest:
    """Given a run, return the newest intact checkpoint to go on from. Raises NoIntactCheckpoint, NoSuchRun."""
    judged = judge(scan(path), now)
    refused = {j.checkpoint.name: _passed_over(j, weights_only_ok) for j in judged}
    usable = [j for j in judged if (j.verdict.weights_intact if weights_only_ok else j.verdict.resumable)]
    for checkpoint, found in reversed(in_line(usable)):
        if level != "quick":
            found = judge_again(checkpoint, level, now)
        if found.weights_intact if weights_only_ok else found.resumable:
            newer = [refused[j.checkpoint.name] for j in judged if j.checkpoint.step > checkpoint.step]
            return Latest(checkpoint.path, tuple(reversed(newer)), found)
        refused[checkpoint.name] = _passed_over(Judged(checkpoint, found), weights_only_ok)
    told = "; ".join(f"{p.checkpoint.name}: {p.reason}" for p in refused.values())
    raise NoIntactCheckpoint(f"no intact {'' if weights_only_ok else 'resumable '}checkpoint in {path!r}: {told}")


def judge_again(checkpoint: Checkpoint, level: Level, now: float | None = None) -> Verdict:
    """Given a checkpoint judged before, look at it as it is now. Raises NoSuchRun if it is gone."""
    return _judged(discover.checkpoint(checkpoint.path), moment(now), level, QUIET_SECONDS, WHOLE).verdict


def _passed_over(judged: Judged, weights_only_ok: bool) -> PassedOver:
    checkpoint, found = judged
    if not found.intact:
        reason = f"{found.state}: {policy.first_finding(judged)}"
    elif not found.resumable and not weights_only_ok:
        reason = "weights only, not resumable"
    else:
        reason = "left by an earlier run in this directory"
    return PassedOver(checkpoint, found, reason)


def _available_bytes(run: str) -> int:
    from ckptkit import disk  # loaded where it is asked: a sweep with nothing to do starts every ten minutes

    return disk.available_bytes(run)


def in_use(run: str) -> dict[str, str]:
    """{checkpoint's name: who has something in it open}."""
    from ckptkit import disk

    used = {}
    for file in disk.open_files(run):
        name = os.path.relpath(file.path, run).split(os.sep)[0]
        if not file.deleted and name != ".":
            used[name] = f"held open by {file.holder}"
    return used
