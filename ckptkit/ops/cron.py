"""cron: what runs by itself for a directory above runs, who runs it on this box, and the yes for what it deletes."""

from __future__ import annotations

import os
import shutil
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from ckptkit import calling, config, history
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.model.schedule import Job, Schedule, Scheduled, Sweep
from ckptkit.ops.prune import prune
from ckptkit.ops.read import find_runs, rules_for, rules_where, trust_for
from ckptkit.policy import mass_delete
from ckptkit.runs import discover
from ckptkit.schedulers import cron, crontab, systemd, tmux
from ckptkit.schedulers.box_tools import processes, user
from ckptkit.system.volumes import nearest_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptkit.policy.keep import Rules

WAYS = ("cron", "systemd", "tmux")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LATER = "a run that appears later"  # its rules are those that hold where no ckptkit.toml says otherwise


def schedule(path: str, way: str = "cron", now: float | None = None) -> Schedule:
    """Given a directory above runs, return what will be put in and what its first sweeps would delete.

    way: cron, systemd or tmux. now: seconds since the epoch, default the time.
    Raises UsageError if the way is not there on this box, or the directory is /, a home or the like, NoSuchRun.
    """
    root = _root(path)
    _require(way, root)
    jobs = _jobs(root, way)
    text, changed = _text(root, way, jobs)
    policy = rules_where(os.path.join(root, LATER), {})._replace(max_delete=None)
    sweeps, own = _sweeps(root, policy, now)
    logs = _logs(root)
    return Schedule(
        root=root,
        way=way,
        place=_place(way),
        jobs=jobs,
        text=text,
        changed=changed,
        logs=logs,
        logs_beside=_device(logs) == _device(root),
        rules=" ".join(mass_delete.flags(policy)) or "none",
        sweeps=sweeps,
        agreed=all(mass_delete.is_agreed(rules, history.recall_root(root, run)) for run, rules in (("", policy), *own)),
        policy=policy,
        own=dict(own),
    )


def put_in(schedule: Schedule, yes: bool) -> str:
    """Install it, in place of what is there for the same directory; other lines, units and windows stay.

    yes: remember it for the schedule's rules, before the first sweep can run. Returns "" or why that failed.
    Raises SchedulerError; then no new yes is remembered.
    """
    fault = history.remember_root(schedule.root, schedule.policy, schedule.own) if yes else ""
    try:
        if schedule.changed:
            _install(schedule)
    except CkptkitError:
        if not schedule.agreed:
            history.forget_root(schedule.root)
        raise
    return fault


def _install(schedule: Schedule) -> None:
    if schedule.way == "cron":
        cron.write(crontab.install(cron.read(), schedule.root, cron.lines(schedule.jobs)))
    elif schedule.way == "systemd":
        systemd.install(schedule.root, schedule.jobs)
    else:
        tmux.install(schedule.root, schedule.jobs)


def scheduled(path: str | None = None) -> tuple[Scheduled, ...]:
    """What is put in, for each directory above runs or one of them."""
    installed = list(_installed())
    wanted = None if path is None else os.path.realpath(path)
    return tuple(_scheduled(root, way, text) for root, way, text in installed if wanted in (None, root))


def unschedule(path: str | None = None, *, dry_run: bool = False) -> tuple[Scheduled, ...]:
    """Take out what `put_in` put in, for each directory or one of them, and the yes for it. Returns what that was.

    path: need not be there any more. Raises SchedulerError, UsageError if the crontab has half of our markers.
    """
    taken_out = scheduled(path)
    for entry in () if dry_run else taken_out:
        if entry.way == "cron":
            cron.write(crontab.remove(cron.read(), entry.root))
        elif entry.way == "systemd":
            systemd.remove(entry.root)
        else:
            tmux.remove(entry.root)
        history.forget_root(entry.root)
    if path is not None and not dry_run:
        history.forget_root(os.path.realpath(path))
    return taken_out


def installed_root() -> str:
    """The directory to take where none is named: that of our lines above the current one, else the current one."""
    here = os.getcwd()
    above = [root for root, _, _ in _installed() if _below(here, root)]
    return max(above, key=len, default=here)


def watcher(run: str) -> str:
    """Who looks after a run: what prunes it by itself, else a monitor; "" if nobody does. Raises NotInstalled."""
    running = processes()
    if cron.daemon(running) and cron.prunes(run):
        return "cron"
    if any(_below(run, root) and systemd.is_active(root) for root in systemd.installed()):
        return "a systemd timer"
    if any(_below(run, root) for root in tmux.windows()):
        return f"the tmux session {tmux.SESSION}"
    pid = next((pid for pid, words in running.items() if _is_monitor(words)), 0)
    return f"a monitor (pid {pid})" if pid else ""


def root_of(run: str) -> str:
    """The directory to name to `cron --install` for a run: the one above it, if that can be meant; "" if none can."""
    for place in (os.path.dirname(run), run):
        try:
            return _root(place)
        except CkptkitError:
            continue
    return ""


def _root(path: str) -> str:
    root = discover.directory_at(path)
    try:
        discover.refuse_system_directory(root)
    except UsageError:
        raise UsageError(
            f"refusing {path!r}: it is a system or home directory; name the directory above your runs"
        ) from None
    crontab.require_plain(root)
    return root


def _require(way: str, root: str) -> None:
    if way == "tmux":
        tmux.require()
    elif way == "systemd":
        systemd.require(calling.command("cron", "--tmux", root))
    else:
        cron.require(calling.command("cron", "--tmux", root) if shutil.which("tmux") else "")


def _jobs(root: str, way: str) -> tuple[Job, ...]:
    """The jobs, each with its safeguards; what is missing on a small box (ionice) is left out. tmux knows no night."""
    logs, env = _logs(root), _environment(way)

    def job(verb: str, when: str, calendar: str, what: str, before: str, *flags: str) -> Job:
        words = (*env, *_there(before), *calling.words(verb), *flags)
        return Job(verb, when, calendar, what, (*words, "--log-to", os.path.join(logs, f"{verb}.log")))

    lock = ("--lock-timeout", "60", "--quiet")
    quiet = () if way == "tmux" else ("--once",)  # in a window a person looks at it
    jobs = (
        job("prune", "*/10 * * * *", "*:0/10", "every 10 minutes: delete what the rules release",
            "timeout 5m nice -n 10", "--recursive", root, *lock),
        job("monitor", "*/10 * * * *", "*:0/10", "every 10 minutes: look, keep a sample, tell what changed",
            "nice -n 10" if way == "tmux" else "timeout 5m nice -n 10", *quiet, root, *(("--quiet",) if quiet else ())),
        job("verify", "17 4 * * *", "*-*-* 04:17:00", "every night: read every byte of each checkpoint",
            "timeout 2h nice -n 19 ionice -c 3", "--level", "full", root, "--quiet"),
    )  # fmt: skip
    return jobs[:2] if way == "tmux" else jobs


def _there(before: str) -> list[str]:
    """Wrappers such as `timeout 5m nice -n 10`, without those that this box does not have."""
    kept: list[str] = []
    keep = True
    for word in before.split():
        if word in ("timeout", "nice", "ionice"):
            keep = shutil.which(word, path=PATH) is not None
        kept += [word] if keep else []
    return kept


def _environment(way: str) -> list[str]:
    """Nothing of what cron, a timer or tmux happens to have: what our commands need, and the settings that hold now."""
    names = {config.PREFIX + key.upper() for key in config.PARSERS}
    pairs = {"HOME": os.path.expanduser("~"), "PATH": PATH, "CKPTKIT_STATE": os.path.abspath(history.state_directory())}
    pairs |= {name: os.environ[name] for name in sorted(names & os.environ.keys())}
    if len(calling.words("prune")) == 1:  # a script of a checkout, which looks for a Python
        pairs["CKPTKIT_PYTHON"] = sys.executable
    if way == "tmux":
        pairs["TERM"] = "screen"
    return [shutil.which("env", path=PATH) or "env", "-i", *(f"{name}={value}" for name, value in pairs.items())]


def _logs(root: str) -> str:
    """The directory of our logs, on another volume than the runs if one is at hand."""
    state = os.path.abspath(history.state_directory())
    places = [state, *(["/var/log/ckptkit"] if os.geteuid() == 0 else [])]
    return next((place for place in places if _device(place) != _device(root)), state)


def _device(path: str) -> int:
    return os.stat(nearest_directory(path, os.path.exists)).st_dev


def _text(root: str, way: str, jobs: Sequence[Job]) -> tuple[str, bool]:
    """What is put in, and whether it differs from what is there."""
    if way == "cron":
        old = cron.read()
        new = crontab.install(old, root, cron.lines(jobs))
        return crontab.blocks(new)[root], new != old
    if way == "systemd":
        units = systemd.units(root, jobs)
        active = units == systemd.installed().get(root) and systemd.is_active(root)
        return "\n".join(f"{name}:\n{text}" for name, text in units.items()), not active
    text = "\n".join(tmux.scripts(jobs).values())
    return text, tmux.text(root) != text


def _sweeps(root: str, policy: Rules, now: float | None) -> tuple[tuple[Sweep, ...], list[tuple[str, Rules]]]:
    """What the first sweeps would delete, and the policies of runs whose own settings differ from the given one."""
    sweeps, own = [], []
    for run in find_runs(root):
        try:
            rules = rules_for(run, {})
            sweeps.append(_sweep(run, rules, now))
            own += [(run, rules._replace(max_delete=None))] if rules._replace(max_delete=None) != policy else []
        except (CkptkitError, OSError) as error:
            sweeps.append(Sweep(run, fault=str(error)))
    return tuple(sweeps), own


def _sweep(run: str, rules: Rules, now: float | None) -> Sweep:
    pruned = prune(run, rules, now=now, trust=trust_for(run, ()), dry_run=True)
    plan = pruned.plan
    going = len(mass_delete.intact_deletions(plan))
    return Sweep(
        run,
        intact=len(plan.intact),
        going=going,
        damaged=len(plan.deletions) - going,
        freed_bytes=plan.expected_freed_bytes,
        needs_a_yes=bool(pruned.stopped),
        limit=rules.max_delete,
    )


def _place(way: str) -> str:
    if way == "cron":
        return f"the crontab of {user()}"
    return systemd.directory() if way == "systemd" else f"the tmux session {tmux.SESSION}"


def _installed() -> Iterator[tuple[str, str, str]]:
    """(root, way, what is there) of all that is ours."""
    if shutil.which("crontab"):
        yield from ((root, "cron", text) for root, text in crontab.blocks(cron.read()).items())
    for root, units in systemd.installed().items():
        yield root, "systemd", "\n".join(f"{name}:\n{text}" for name, text in units.items())
    yield from ((root, "tmux", tmux.text(root)) for root in tmux.windows())


def _scheduled(root: str, way: str, text: str) -> Scheduled:
    runs_it, fix = _runs_it(root, way)
    return Scheduled(root, way, text, runs_it, fix, tuple(_last(text)), bool(history.recall_root(root)))


def _runs_it(root: str, way: str) -> tuple[str, str]:
    """Who runs it, or "" and what starts that."""
    if way == "tmux":
        return f"the tmux session {tmux.SESSION}", ""
    if way == "systemd":
        active = systemd.is_active(root)
        return ("systemd", systemd.lingering()) if active else ("", calling.command("cron", "--systemd", root))
    pid = cron.daemon(processes())
    return (f"cron (pid {pid})", "") if pid else ("", cron.starting())


def runner(schedule: Schedule) -> tuple[str, str]:
    """Given what was put in, return who runs it, or "" and what to type so that somebody does."""
    return _runs_it(schedule.root, schedule.way)


def _last(text: str) -> Iterator[tuple[str, float]]:
    """When each log of ours that a text names was last written to."""
    files: set[str] = set()
    for line in text.split("\n"):
        words = crontab.words_of(line) if "--log-to" in line else []
        for flag, file in pairwise(words):
            if flag == "--log-to" and file not in files:
                files.add(file)
                try:
                    yield os.path.basename(file).removesuffix(".log"), os.stat(file).st_mtime
                except OSError:
                    continue


def _is_monitor(words: Sequence[str]) -> bool:
    """`ckptkit monitor` or `python -m ckptkit monitor`, words of their own and no mention in a script."""
    return "--once" not in words and any(
        os.path.basename(a) == "ckptkit" and b == "monitor" for a, b in pairwise(words)
    )


def _below(path: str, root: str) -> bool:
    return (path + "/").startswith(root.rstrip("/") + "/")
