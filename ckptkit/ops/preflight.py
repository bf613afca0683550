"""preflight: measures what a start depends on, really writing and deleting a file, and has it judged."""

from __future__ import annotations

import errno
import glob
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ckptkit.advise.preflight import Facts, Place, Session, checks
from ckptkit.advise.preflight_disk import PROBE_BYTES
from ckptkit.errors import CkptkitError, NoIntactCheckpoint, NoSuchRun, NotInstalled, UsageError
from ckptkit.forecast import budget
from ckptkit.formats import training_args, training_config, training_names
from ckptkit.model.disk import Worker
from ckptkit.ops.at_work import look_at, perhaps_at_work, workers
from ckptkit.ops.cron import root_of, watcher
from ckptkit.ops.latest import latest
from ckptkit.ops.read import moment, plan
from ckptkit.policy.keep import DEFAULT_RULES, Rules
from ckptkit.policy.lineage import kind_of
from ckptkit.render import text
from ckptkit.runs import discover, nearby, trackers
from ckptkit.system import small_files, volumes
from ckptkit.system.processes import ancestors, command_of
from ckptkit.system.trainings import session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ckptkit.model.advice import Check, ScriptReport
    from ckptkit.model.decision import Decision, PrunePlan
    from ckptkit.model.preflight import SessionKind

SHM = "/dev/shm"  # noqa: S108 - looked at

TMUX = "tmux new -A -s train"


# --- what keeps it --------------------------------------------------------------------------------------------------
def session() -> Session:
    """Return what keeps us alive when the connection drops, and what would."""
    kind = _keeper()
    return Session(kind, _starts_one() if kind in ("", "jupyter") else "")


def _keeper() -> SessionKind | None:
    """None where there is no connection to drop."""
    if os.environ.get("TMUX"):
        return "tmux"
    if os.environ.get("STY"):
        return "screen"
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return "nohup"
    if "JPY_PARENT_PID" in os.environ:  # of a kernel, and of the terminals in its page
        return "jupyter"
    above = [command_of(pid) for pid in ancestors(str(os.getpid()))]
    if os.environ.get("INVOCATION_ID") and not any(name.startswith(("sshd", "login")) for name in above):
        return "systemd"
    kind, _, _ = session_of(str(os.getpid()))
    if kind == "detached" and os.environ.get("SSH_CONNECTION") and not any(name.startswith("sshd") for name in above):
        return "setsid"
    return "" if os.environ.get("SSH_CONNECTION") or os.isatty(0) else None


def _starts_one() -> str:
    if _is_installed("tmux"):
        return TMUX
    if _is_installed("screen"):
        return "screen -S train"
    return f"apt-get install -y tmux && {TMUX}" if _is_installed("apt-get") and os.geteuid() == 0 else ""


def _is_installed(program: str) -> bool:
    places = os.environ.get("PATH", "").split(os.pathsep)
    return any(place and os.access(os.path.join(place, program), os.X_OK) for place in places)


# --- where else it writes -------------------------------------------------------------------------------------------
def places(run: str) -> tuple[Place, ...]:
    """Given a run's path, or of what lies above where it will be, return where else a training writes."""
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    hub = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    paths = {"HOME": home, "TMPDIR": os.environ.get("TMPDIR") or "/tmp", "HF_HOME": hub}  # noqa: S108 - looked at
    for name in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_DATASETS_CACHE"):
        path = os.environ.get(name)
        if path and not os.path.realpath(path).startswith(os.path.realpath(hub) + "/"):
            paths[name] = path
    if os.path.isdir(SHM):
        paths[SHM] = SHM
    mount = volumes.volume(run).mount
    return tuple(_place(name, path, mount) for name, path in paths.items())


def _place(name: str, path: str, mount: str) -> Place:
    there = volumes.nearest_directory(os.path.realpath(path))  # a cache is made when it is used
    try:
        volume = volumes.volume(there)
    except OSError as error:
        return Place(name, path, None, f"can't be looked at: {error.strerror}")
    fault = ""
    if volume.read_only:
        fault = "is on a volume that is mounted read-only"
    elif name in ("HOME", "TMPDIR") and not os.path.isdir(path):
        return Place(name, path, None, "does not exist")
    elif not os.access(there, os.W_OK | os.X_OK):
        fault = "can't be written to by this user"
    return Place(name, path, volume, fault, volume.mount == mount)


def processes(settings: Mapping[str, object] | None) -> int:
    """Given a training's settings, return how many processes it will have: ranks, and data loaders' workers."""
    workers = (settings or {}).get("dataloader_num_workers")
    ranks = os.environ.get("WORLD_SIZE", "")
    gpus = int(ranks) if ranks.isdecimal() and len(ranks) < 7 else len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, gpus) * (1 + (workers if type(workers) is int and workers > 0 else 0))


PROBE = ".ckptkit-probe"


def preflight(
    path: str,
    rules: Rules = DEFAULT_RULES,
    now: float | None = None,
    probe: bool = True,
    settings: Mapping[str, object] | None = None,
    origin: str = "as given",
    skip_unknown: bool = False,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
    scripts: tuple[ScriptReport, ...] = (),
    config: str = "",
    calls_tools: bool = True,
    afterwards: Callable[[Facts], Facts] = lambda facts: facts,
) -> tuple[Check, ...]:
    """Given a run, or where one will be, and its rules, return go or no-go, line by line.

    Raises UsageError, NoSuchRun (a file, a checkpoint, or a directory that holds runs and is none).

    probe: really write a file and delete it; without it nothing is touched, and nothing said of that.
    settings: of the training that will start, {name as in TrainingArguments: value}; else the last training's are read.
    origin: what to call them.
    skip_unknown: go on although a checkpoint that can't be judged is newer than the newest intact one.
    trust: patterns (`pkg.*`) of what pickles may name. allow_nonfinite: resume also from weights that are NaN or Inf.
    scripts: the training's own, as `scripts.scripts` returns them. config: path of the file with these settings.
    calls_tools: may call crontab, systemctl and tmux, for which sh forks; without it nobody can tell who watches.
    afterwards: given what was measured, returns it as it will be, and that is judged (a dry run).
    """
    measured = facts(
        path, rules, now, probe=probe, settings=settings, origin=origin, skip_unknown=skip_unknown, trust=trust,
        allow_nonfinite=allow_nonfinite, scripts=scripts, config=config, calls_tools=calls_tools,
    )  # fmt: skip
    return checks(afterwards(measured))


def facts(
    path: str,
    rules: Rules = DEFAULT_RULES,
    now: float | None = None,
    *,
    probe: bool = True,
    settings: Mapping[str, object] | None = None,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
    calls_tools: bool = True,
    **others: Any,
) -> Facts:
    """Given the same as `preflight`, return what it judges. `_replace(plan=..., volume=...)` makes it a planned state.

    Raises UsageError, NoSuchRun.
    """
    run = _run(path)
    place = volumes.nearest_directory(run)
    newest, skipped, why_none = _newest(run, trust, allow_nonfinite)
    prune_plan = _plan(run, rules, now, trust)
    own = settings is not None
    settings = _settings(newest) if settings is None else settings
    return Facts(
        run=run, now=moment(now), volume=volumes.volume(place), plan=prune_plan,
        newest=newest, skipped=skipped, why_none=why_none,
        unknown=tuple(text.unjudged(d.checkpoint, d.verdict, moment(now)) for d in newer_unknown(prune_plan)),
        keep_last=rules.keep_last.high if rules.keep_last else 2,
        probe=_probe(place) if probe else None,
        dangling=trackers.dangling(discover.scan(run)) if prune_plan else {},
        meant=_meant(path, run), settings=settings,
        misspelt=training_names.misspelt(settings or {}) if own else {},
        **(others if own else others | {"origin": "of the last training"}),
        watcher=_watcher(run) if calls_tools else None,
        **_around(run, place, settings),
    )  # fmt: skip


def _around(run: str, place: str, settings: Mapping[str, object] | None) -> Mapping[str, Any]:
    """Who else is at work there, and what lies around."""
    return {
        "trainings": workers(run),
        "perhaps": _perhaps(run),
        "above": root_of(run),
        "session": session(),
        "places": places(place),
        "processes": processes(settings),
    }


def _watcher(run: str) -> str | None:
    try:
        return watcher(run)
    except NotInstalled:
        return None


def _run(path: str) -> str:
    """Where it is, or will be. Raises UsageError, NoSuchRun."""
    run = os.path.realpath(path)
    discover.refuse_system_directory(run)
    if discover.is_gone(run):
        return run
    discover.run_directory(path)
    if not nearby.holds_checkpoint(run):
        if nearby.is_step(os.path.basename(run)):
            raise NoSuchRun(nearby.no_checkpoint(path, ()))
        # The trials of a search lie below the run that searches.
        if below := [at for at in nearby.runs_below(run) if not os.path.basename(at).startswith("run-")]:
            raise NoSuchRun(nearby.no_checkpoint(path, below))
    return run


def _meant(path: str, run: str) -> str:
    """A run of a similar name, where nothing is at the path that was typed."""
    meant = nearby.similar(path, typo=True) if discover.is_gone(run) else ""
    return meant if meant and nearby.holds_checkpoint(meant) else ""


def _perhaps(run: str) -> Worker | None:
    """One line for all processes with torch that may train here, for all that can be seen."""
    pids = perhaps_at_work(run)
    if not pids:
        return None
    first = f"{command_of(str(pids[0]))} (pid {pids[0]})"
    who = f"{first} and {len(pids) - 1} more" if len(pids) > 1 else first
    message = f"{who} may train here: torch is loaded, and nothing shows where it writes"
    return Worker(message, look_at(pids[:10]))


def configured(file: str) -> tuple[Mapping[str, object], str] | None:
    """Given what --config names, return a training's settings and what to call them; None if it holds ours.

    Raises UsageError.
    """
    if not training_config.is_one(file):
        return None
    settings = training_config.settings(file)
    try:
        budget.saving(settings)
    except UsageError as error:
        raise UsageError(f"--config {file!r}: {error}") from None
    return settings, os.path.basename(file)


def newer_unknown(prune_plan: PrunePlan | None) -> tuple[Decision, ...]:
    """Given a run's plan, return the unknown ones of a higher step than any intact one of their kind, newest first.

    Where nothing is intact, that is each of them. None (there is no run) has none.
    """
    decisions = prune_plan.decisions if prune_plan else ()
    intact: dict[tuple[str, str], int] = {}
    for decision in decisions:
        if decision.verdict.intact:
            kind = kind_of(decision.checkpoint)
            intact[kind] = max(intact.get(kind, -1), decision.checkpoint.step)
    unknown = [d for d in decisions if d.verdict.state == "unknown"]
    newer = [
        d for d in unknown if not intact or d.checkpoint.step > intact.get(kind_of(d.checkpoint), d.checkpoint.step)
    ]
    return tuple(sorted(newer, key=lambda d: d.checkpoint.step, reverse=True))


def _plan(run: str, rules: Rules, now: float | None, trust: Sequence[str]) -> PrunePlan | None:
    try:
        return plan(run, rules, now=now, trust=trust)
    except CkptkitError:
        return None


def _newest(run: str, trust: Sequence[str], allow_nonfinite: bool) -> tuple[str | None, tuple[str, ...], str]:
    """What a resume takes, which intact ones it skips and why, and why it takes none."""
    try:
        newest = latest(run, trust=trust, allow_nonfinite=allow_nonfinite)
    except NoSuchRun:
        return None, (), ""
    except NoIntactCheckpoint as error:
        return None, (), error.why
    skipped = (f"{p.checkpoint.name} ({p.reason.message})" for p in newest.passed_over if p.verdict.intact)
    return newest.path, tuple(skipped), ""


def _settings(checkpoint: str | None) -> Mapping[str, object] | None:
    if checkpoint is None:
        return None
    with suppress(OSError, UsageError):  # numbers that are none: a file that nobody judged
        with small_files.opened(os.path.join(checkpoint, "training_args.bin")) as file:
            settings = training_args.settings(file, os.fstat(file.fileno()).st_size)
        budget.saving(settings)
        return settings or None
    return None


def _probe(directory: str) -> str:
    """Write a file, durably, and let go of it: why that failed, or ""."""
    try:
        fd = _nameless(directory)
        try:
            os.write(fd, b"\1" * PROBE_BYTES)
            os.fsync(fd)
        finally:
            os.close(fd)  # a network disk tells here that nothing arrived
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _nameless(directory: str) -> int:
    """A file that no kill can leave behind; where the file system has none (NFS, FUSE), its name goes at once."""
    try:
        return os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    path = os.path.join(directory, f"{PROBE}-{os.getpid()}")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd
