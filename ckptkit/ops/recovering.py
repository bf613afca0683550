"""recover: after a crash, all steps in order, each told before it runs, to the line that resumes."""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ckptkit import careful, diagnose
from ckptkit.advice import Cause, Check
from ckptkit.errors import NoIntactCheckpoint, NoSuchRun, UsageError
from ckptkit.model import Decision, Plan
from ckptkit.ops import setting_aside
from ckptkit.ops.latest import Latest, latest
from ckptkit.ops.looking import going_on, plan
from ckptkit.ops.preflighting import newer_unknown, preflight
from ckptkit.ops.pruning import Pruned, prune
from ckptkit.ops.reporting import Report, report
from ckptkit.policy import Rules
from ckptkit.units import printable

TAIL_BYTES = 1 << 20  # of a log: a day of losses, and every traceback that matters


class Recovered(NamedTuple):
    """What each step came to. `line` is what to type to go on, "" if there is nothing to go on from.

    set_aside: the new paths of checkpoints that nobody can judge.
    """

    report: Report
    pruned: Pruned | None
    latest: Latest | None
    checks: tuple[Check, ...]
    line: str
    set_aside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        against = [check.code for check in self.checks if check.state == "no-go"]
        state = f"no-go ({', '.join(against)})" if against else "ready" if self.line else "nothing to resume from"
        return printable(f"<Recovered {state}{f', to resume: {self.line}' if self.line and not against else ''}>")


def recover(
    path: str,
    rules: Rules,
    *,
    dry_run: bool = False,
    yes: bool = False,
    ask: Callable[[Plan], bool] | None = None,
    lock_timeout: float = 0.0,
    set_aside: Callable[[Decision], bool] = lambda decision: False,
    skip_unknown: bool = False,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
    tell: Callable[[str, object], None] = lambda step, value: None,
) -> Recovered:
    """Bring a run to where it can go on, and say how. A second call finds nothing left to do and says the same.

    set_aside: asked of each checkpoint that can't be judged and is newer than the newest intact one: whether to rename
    it, so that no resume takes it. skip_unknown: go on without asking, and leave them where they are.
    trust, allow_nonfinite: as in `latest`.
    tell: gets ("step", its words) before each step, ("plan", plan) before anything is deleted, and what came of each:
    "report", "pruned" (or "kept", the reason), "aside" (old path and new, "" in a dry run), "latest", "checks".
    yes, ask: as in `prune`; what waits for a yes is in Recovered.pruned.stopped.
    Raises NoSuchRun, UsageError, LockHeld.
    """
    tell("step", "1. what is on the disk")
    found = report([path], lambda run: rules, trust_of=lambda run: trust)
    tell("report", found)
    tell("step", f"2. torn checkpoints, and what the policy frees{' (dry run)' if dry_run else ''}")
    pruned = None
    try:
        pruned = prune(
            path, rules, trust=trust, dry_run=dry_run, yes=yes, ask=ask, lock_timeout=lock_timeout,
            announce=lambda plan: tell("plan", plan),
        )  # fmt: skip
        tell("pruned", pruned)
    except NoIntactCheckpoint as error:
        tell("kept", str(error))
    aside = () if skip_unknown else tuple(_set_aside(path, rules, trust, set_aside, dry_run, lock_timeout, tell))
    tell("step", "3. the newest intact checkpoint, every byte of it read")
    newest = _newest(path, trust, allow_nonfinite, tell)
    tell("step", "4. whether it can start")
    checks = preflight(
        path, rules, probe=not dry_run, skip_unknown=skip_unknown, trust=trust, allow_nonfinite=allow_nonfinite
    )
    tell("checks", checks)
    tell("step", "5. go on with")
    line = going_on(newest.checkpoint) if newest else ""
    return Recovered(found, pruned, newest, checks, line, aside)


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
            continue
        try:
            new = setting_aside.set_aside(old, lock_timeout=lock_timeout)
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


def diagnosed(log: str, run: str) -> tuple[tuple[Cause, ...], str]:
    """Given a log's path and the run, return what ended the training, and its last error. Raises NoSuchRun."""
    try:
        with careful.opened(log, follow=True) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise NoSuchRun(f"--log {log!r}: {error.strerror}") from None
    return diagnose.causes(text, shlex.quote(run)), diagnose.last_error(text)
