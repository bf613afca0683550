"""The public functions: what a script or a notebook calls. Each checks its arguments, then lets `ops` do the work.

Nothing is taken for what it is not: a wrong type or value is a UsageError that names the argument, before anything is
looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptkit import arguments
from ckptkit.api_arguments import (
    SECONDS,
    acting_of,
    level_of,
    path_of,
    paths_of,
    patterns_of,
    require_rules,
    rules_of,
    trust_of,
)
from ckptkit.errors import MassDelete
from ckptkit.ops.diskreport import report as ops_report
from ckptkit.ops.latest import latest as ops_latest
from ckptkit.ops.monitor import monitor as ops_monitor
from ckptkit.ops.pin import pin as ops_pin
from ckptkit.ops.pin import unpin as ops_unpin
from ckptkit.ops.preflight import preflight as ops_preflight
from ckptkit.ops.prune import Pruned
from ckptkit.ops.prune import prune as ops_prune
from ckptkit.ops.read import plan as ops_plan
from ckptkit.ops.read import rules_where
from ckptkit.ops.read import scan as ops_scan
from ckptkit.ops.read import verify as ops_verify
from ckptkit.ops.recover import recover as ops_recover
from ckptkit.ops.scripts import scripts
from ckptkit.ops.shown import Checks, Verified
from ckptkit.ops.strip import keep_resumable as ops_keep_resumable
from ckptkit.ops.strip import strip as ops_strip

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ckptkit.api_arguments import ActingArguments
    from ckptkit.model.advice import Check
    from ckptkit.model.checkpoint import Judged, Level, Run
    from ckptkit.model.decision import PrunePlan
    from ckptkit.model.events import Alert, Outlook, Sample
    from ckptkit.ops.diskreport import Report
    from ckptkit.ops.latest import Latest
    from ckptkit.ops.monitor import Monitor
    from ckptkit.ops.recover import Recovered
    from ckptkit.ops.strip import Stripped
    from ckptkit.policy.rules import Best, Range, Rules


def scan(path: str | os.PathLike[str]) -> Run:
    """List the checkpoints of a run, in the order of their steps, with their files and sizes. Opens no file.

    path: the run, which is the Trainer's output_dir.
    Returns the run, with its `checkpoints`. Raises UsageError, and NoSuchRun also if the run holds no checkpoint.
    """
    return ops_scan(path_of("path", path))


def verify(
    path: str | os.PathLike[str],
    *,
    level: Level = "quick",
    now: float | None = None,
    trust: Sequence[str] | None = None,
) -> tuple[Judged, ...]:
    """Judge checkpoints. Reads only, and loads no pickle.

    path: a checkpoint, a run, or a directory above runs.
    level: "quick" reads names, sizes, headers and the state; "full" every byte; "deep" looks at the values too.
    now: seconds since the epoch that count as now, default the clock's.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.
    Returns each checkpoint with its verdict. Raises UsageError, and NoSuchRun if there is no checkpoint.
    """
    where, at, how = path_of("path", path), arguments.moment("now", now), level_of(level)
    patterns = patterns_of(trust)
    return Verified(ops_verify(where, level=how, now=at, trust=lambda run: trust_of(run, patterns)))


def latest(
    path: str | os.PathLike[str],
    *,
    weights_only_ok: bool = False,
    allow_nonfinite: bool = False,
    level: Level = "quick",
    now: float | None = None,
    trust: Sequence[str] | None = None,
) -> Latest:
    """Find the newest intact checkpoint to resume from. Reads only.

    path: the run. weights_only_ok: also one that can't be resumed from, but whose weights are intact.
    allow_nonfinite: also one whose weights became NaN or Inf.
    level: "quick", "full" or "deep": how closely the one that is chosen is looked at, as in `verify`.
    now: seconds since the epoch that count as now, default the clock's.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.
    Returns its `path`, its `verdict`, and `passed_over`: each newer one with the reason why it was skipped.
    Raises UsageError, NoSuchRun, and NoIntactCheckpoint if there is none.
    """
    run = path_of("path", path)
    return ops_latest(
        run,
        weights_only_ok=arguments.switch("weights_only_ok", weights_only_ok),
        allow_nonfinite=arguments.switch("allow_nonfinite", allow_nonfinite),
        level=level_of(level),
        now=arguments.moment("now", now),
        trust=trust_of(run, patterns_of(trust)),
    )


def plan(
    path: str | os.PathLike[str],
    rules: Rules | None = None,
    *,
    keep_last: Range | int | str | None = None,
    keep_best: Best | str | None = None,
    keep_every: int | None = None,
    keep_within: float | str | None = None,
    free_target: int | str | None = None,
    max_delete: int | None = None,
    min_age_seconds: float = 60.0,
    now: float | None = None,
    trust: Sequence[str] | None = None,
) -> PrunePlan:
    """Say what `prune` would do with each checkpoint of a run, and why. Reads only.

    path: the run. rules, keep_last, keep_best, keep_every, keep_within, free_target, max_delete, min_age_seconds,
    trust: as in `prune`. now: seconds since the epoch that count as now, default the clock's.
    Returns the plan: `decisions`, `deletions`, `expected_freed_bytes`. Raises UsageError, NoSuchRun.
    """
    asked = dict(keep_last=keep_last, keep_best=keep_best, keep_every=keep_every, keep_within=keep_within,
                 free_target=free_target, max_delete=max_delete)  # fmt: skip
    quiet, at = arguments.number("min_age_seconds", min_age_seconds, SECONDS), arguments.moment("now", now)
    run, patterns = path_of("path", path), patterns_of(trust)
    return ops_plan(run, rules_of(run, rules, asked), quiet=quiet, now=at, trust=trust_of(run, patterns))


def prune(
    path: str | os.PathLike[str],
    rules: Rules | None = None,
    *,
    keep_last: Range | int | str | None = None,
    keep_best: Best | str | None = None,
    keep_every: int | None = None,
    keep_within: float | str | None = None,
    free_target: int | str | None = None,
    max_delete: int | None = None,
    min_age_seconds: float = 60.0,
    dry_run: bool = False,
    yes: bool = False,
    lock_timeout: float = 0.0,
    trust: Sequence[str] | None = None,
) -> Pruned:
    """Delete the checkpoints of a run that every rule releases. The newest intact one always stays.

    path: the run, which is the Trainer's output_dir.
    keep_last: the newest so many (2), or "2..5" with a free target. keep_best: "METRIC[:min|max][=N]", the best by it.
    keep_every: those at multiples of so many steps. keep_within: those saved within so many seconds, or "2d", of the
    newest. free_target: bytes that the volume should have available, or "20G", "20%". max_delete: intact ones, at most.
    What is not given comes from ckptkit.toml in the run, then CKPTKIT_*, then the defaults, as in the shell.
    rules: a ckptkit.Rules instead of all of these; then nothing else is asked.
    min_age_seconds: seconds without a write before an unfinished checkpoint counts as torn.
    dry_run: plan only. yes: let a mass deletion through. lock_timeout: seconds to wait for another sweep.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.

    Returns the plan and the outcome: `deleted`, `freed_bytes`, `failures`; a dry run has no outcome.
    Raises UsageError, NoSuchRun, LockHeld, NoIntactCheckpoint: then nothing was deleted. Raises MassDelete if the plan
    would delete too many of the intact ones; its `pruned` says what was done.
    """
    asked = dict(keep_last=keep_last, keep_best=keep_best, keep_every=keep_every, keep_within=keep_within,
                 free_target=free_target, max_delete=max_delete)  # fmt: skip
    quiet, acting = arguments.number("min_age_seconds", min_age_seconds, SECONDS), acting_of(dry_run, yes, lock_timeout)
    run, patterns = path_of("path", path), patterns_of(trust)
    return _pruned(run, rules_of(run, rules, asked), quiet, acting, trust_of(run, patterns))


def strip(
    path: str | os.PathLike[str],
    keep_resumable: int | None = None,
    *,
    min_age_seconds: float = 60.0,
    dry_run: bool = False,
    yes: bool = False,
    lock_timeout: float = 0.0,
    trust: Sequence[str] | None = None,
) -> Stripped:
    """Make old checkpoints weights-only: what only continues training goes, for good; the newest resumable one stays.

    path: the run, or one checkpoint of it.
    keep_resumable: the newest so many stay resumable. None: as ckptkit.toml or CKPTKIT_KEEP_RESUMABLE say, else 1, and
    then stripping more than half of those that are resumable takes `yes`.
    min_age_seconds: seconds without a write before an unfinished checkpoint counts as torn.
    dry_run: plan only. yes: let it through, however many. lock_timeout: seconds to wait for another sweep.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.
    Returns the plan and the outcome; a dry run has no outcome.
    Raises UsageError, NoSuchRun, LockHeld, NoIntactCheckpoint, MassDelete: then nothing was removed.
    """
    quiet, acting = arguments.number("min_age_seconds", min_age_seconds, SECONDS), acting_of(dry_run, yes, lock_timeout)
    run, keep, patterns = path_of("path", path), keep_resumable, patterns_of(trust)
    if keep is not None:
        arguments.whole("keep_resumable", keep, "must be a whole number above 0, or None for the run's settings")
    keep = ops_keep_resumable(run, {}) if keep is None else keep
    return ops_strip(run, keep, quiet=quiet, trust=trust_of(run, patterns), **acting)


def report(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = ".",
    *,
    depth: int = 0,
    top: int = 10,
    now: float | None = None,
) -> Report:
    """Show what fills the disk, each run's checkpoints with what prune would do, and flags. Changes nothing.

    paths: a run or a directory above runs, or a sequence of them.
    depth: name the largest directories so many levels below each volume's mount point, and the largest files; that
    walks the whole volume, so 0 leaves it out. top: how many of them.
    now: seconds since the epoch that count as now, default the clock's.
    Returns the report, which a notebook shows as a page. Raises UsageError, NoSuchRun.
    """
    at = arguments.moment("now", now)
    deep = arguments.whole("depth", depth, "must be a whole number, 0 or more", least=0)
    return ops_report(paths_of("paths", paths), now=at, depth=deep, top=arguments.whole("top", top))


def preflight(
    path: str | os.PathLike[str],
    rules: Rules | None = None,
    *,
    probe: bool = True,
    settings: Mapping[str, Any] | None = None,
    origin: str = "as given",
    script: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    skip_unknown: bool = False,
    now: float | None = None,
    trust: Sequence[str] | None = None,
) -> tuple[Check, ...]:
    """Judge, line by line, whether a training can (re)start: room, what to resume from, other trainings.

    path: the run, or where one will be. rules: a ckptkit.Rules, default what the run's settings say.
    probe: really write a file and delete it. settings: of the training that will start, {name as in TrainingArguments:
    value}, default those of the last one. origin: what to call them in a message.
    script: the training's own script (.py, .sh), or several: whether it deletes checkpoints by itself; nothing is run.
    skip_unknown: start although a checkpoint that nobody can judge is newer than the newest intact one.
    now: seconds since the epoch that count as now, default the clock's.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.
    Returns the checks; one whose state is "no-go" stands against a start. Raises UsageError.
    """
    run, at, tries = path_of("path", path), arguments.moment("now", now), arguments.switch("probe", probe)
    if settings is not None and not (isinstance(settings, Mapping) and all(isinstance(name, str) for name in settings)):
        raise arguments.wrong("settings", settings, "must be a mapping from names of TrainingArguments to values")
    called = arguments.text("origin", origin)
    chosen = rules_where(run, {}) if rules is None else require_rules(rules)
    skips = arguments.switch("skip_unknown", skip_unknown)
    trusted, paths = trust_of(run, patterns_of(trust)), [] if script is None else paths_of("script", script)
    reports = scripts(paths)
    return Checks(
        ops_preflight(run, chosen, at, tries, settings, called, skip_unknown=skips, trust=trusted, scripts=reports)
    )


def recover(
    path: str | os.PathLike[str],
    rules: Rules | None = None,
    *,
    dry_run: bool = False,
    yes: bool = False,
    lock_timeout: float = 0.0,
    allow_nonfinite: bool = False,
    skip_unknown: bool = False,
    trust: Sequence[str] | None = None,
    tell: Callable[[str, object], None] | None = None,
) -> Recovered:
    """After a crash: report, prune, read the newest intact checkpoint whole, check that a training can start.

    path: the run. rules: a ckptkit.Rules, default what the run's settings say.
    dry_run: touch nothing. yes: let a mass deletion through. lock_timeout: seconds to wait for another sweep.
    allow_nonfinite: resume also from weights that became NaN or Inf. skip_unknown: go on although a checkpoint that
    nobody can judge is newer than the newest intact one.
    trust: names that pickles may name although neither torch nor the Trainer knows them, such as ["my_package.*"];
    default what `trust` in ckptkit.toml or CKPTKIT_TRUST say.
    tell: called with ("step", words) before each step, and with (its name, its result) after it.
    Returns what each step came to; `line` is what to type to go on, "" if there is nothing to go on from.
    Raises UsageError, NoSuchRun, LockHeld, MassDelete.
    """
    run, acting, patterns = path_of("path", path), acting_of(dry_run, yes, lock_timeout), patterns_of(trust)
    listener = arguments.function("tell", tell) or (lambda *_: None)
    nonfinite = arguments.switch("allow_nonfinite", allow_nonfinite)
    skips = arguments.switch("skip_unknown", skip_unknown)
    return ops_recover(
        run, rules_of(run, rules, {}), tell=listener, trust=trust_of(run, patterns), allow_nonfinite=nonfinite,
        skip_unknown=skips, **acting,
    )  # fmt: skip


def monitor(
    path: str | os.PathLike[str] = ".",
    *,
    every: str | float = "10m",
    command: str | None = None,
    webhook: str | None = None,
    apprise: str | Sequence[str] = (),
    prom: str | os.PathLike[str] | None = None,
    ping: str | None = None,
    alerted: Callable[[Alert], None] | None = None,
    outlook: Callable[[Sequence[Sample]], Outlook | None] | None = None,
) -> Monitor:
    """Watch a run, or a directory above runs, in a daemon thread: for a notebook. Deletes nothing.

    path: what to watch. every: between two looks, text such as "10m", or seconds.
    alerted: called with each alert, default: loguru tells it.
    command: run for each alert, its JSON on stdin. webhook: address to post it to. apprise: addresses for Apprise.
    prom: file for node_exporter's textfile collector. ping: address to ask for after each look.
    outlook: given the samples of a run, oldest first, says when its volume is full; default: our own forecast.
    Returns its handle: `.stop()` ends it. Raises UsageError, NoSuchRun; afterwards nothing reaches the caller.
    """
    for name, value in (("command", command), ("webhook", webhook), ("ping", ping)):
        if value is not None:
            arguments.text(name, value)
    file = None if prom is None else path_of("prom", prom)
    addresses = (apprise,) if isinstance(apprise, str) else apprise
    if not isinstance(addresses, Sequence):
        raise arguments.wrong("apprise", apprise, "must be an address, or a sequence of them")
    for address in addresses:
        arguments.text("apprise", address, "must be an address, or a sequence of them")
    return ops_monitor(
        path_of("path", path), every=every, command=command, webhook=webhook, apprise=addresses, prom=file, ping=ping,
        alerted=arguments.function("alerted", alerted), outlook=arguments.function("outlook", outlook),
    )  # fmt: skip


def pin(path: str | os.PathLike[str]) -> str:
    """Never delete a checkpoint from now on, whatever the rules say, until it is unpinned.

    path: the checkpoint, such as "RUN/checkpoint-5000".
    Returns its absolute path. Raises UsageError, NoSuchRun if there is no such checkpoint, and LockHeld.
    """
    return ops_pin(path_of("path", path))


def unpin(path: str | os.PathLike[str]) -> str:
    """Let the rules decide about a checkpoint again; also about one that is gone.

    path: the checkpoint, such as "RUN/checkpoint-5000".
    Returns its absolute path. Raises UsageError, NoSuchRun if there is no such run, and LockHeld.
    """
    return ops_unpin(path_of("path", path))


def _pruned(run: str, rules: Rules, quiet: float, acting: ActingArguments, trust: Sequence[str]) -> Pruned:
    """Prune; what the mass-delete guard stopped is an error here. quiet: seconds without a write."""
    plans: list[PrunePlan] = []
    try:
        pruned = ops_prune(run, rules, quiet=quiet, announce=plans.append, trust=trust, **acting)
    except MassDelete as stopped:
        raise MassDelete(str(stopped), Pruned(plans[-1], None, str(stopped))) from None
    if pruned.stopped and pruned.outcome is not None:  # a dry run was not stopped
        raise MassDelete(pruned.stopped, pruned)
    return pruned
