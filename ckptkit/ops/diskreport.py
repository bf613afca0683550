"""diskreport: volumes, runs with what prune would do, what else takes room, and the flags, as one value."""

import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

from ckptkit.advise import flags
from ckptkit.errors import CkptkitError, NotInstalled, UsageError
from ckptkit.model.advice import Flag
from ckptkit.model.decision import PrunePlan
from ckptkit.model.disk import Eaters, Quota, Volume
from ckptkit.model.report import Box, Trail
from ckptkit.ops import outlook
from ckptkit.ops.at_work import with_guards
from ckptkit.ops.read import plan, rules_for, trust_for
from ckptkit.policy.keep import Rules
from ckptkit.runs import discover
from ckptkit.system import caches, quota, small_files, tools, trainings, unlinked, usage, volumes
from ckptkit.system.processes import environment, working_directory
from ckptkit.units import count, printable

DEPTH, TOP = 3, 10  # what a person can take in
SHOWS = {"sh": "quotas"}  # {package: what is left out without it}


class Report(Box):
    """All that diskreport tells. A notebook shows it as the page of `bin/diskreport --html`."""

    __slots__ = ()

    def __repr__(self) -> str:
        from ckptkit.render.freeing import sentence

        levels = [flag.level for flag in self.flags]
        raised = [f"{levels.count(level)} {level}" for level in ("red", "yellow") if level in levels]
        words = [count(len(self.volumes), "volume"), count(len(self.plans), "run"), " and ".join(raised)]
        return printable(f"<Report {', '.join(filter(None, [*words, sentence(self)]))}>")

    def _repr_html_(self) -> str | None:
        """The page; without Jinja2 a warning that says what to install, and a notebook shows the line of `repr`."""
        from ckptkit.render.html import fragment

        try:
            return fragment(self)
        except UsageError as error:
            warnings.warn(str(error), stacklevel=2)
            return None


def report(
    paths: str | Sequence[str] = (".",),
    rules_of: Callable[[str], Rules] = lambda run: rules_for(run, {}),
    now: float | None = None,
    *,
    depth: int = 0,
    top: int = TOP,
    progress: Callable[[int, str], None] | None = None,
    trails: Sequence[Trail] | None = None,
    trust_of: Callable[[str], Sequence[str]] = lambda run: trust_for(run, ()),
) -> Report:
    """Given a directory or several (runs, or roots above runs), return what stands there and what else takes room.

    rules_of: the rules that hold for a run's path; by default those of its ckptkit.toml and the environment.
    depth: name the `top` largest directories that far below each volume's mount point, and the largest files; 0: don't,
    it walks the whole volume. progress: called while it walks with the bytes seen so far and a path. trails: the past
    of volumes and runs, default: what the history knows of them. trust_of: patterns (`pkg.*`) of what the pickles of a
    run may name, default those of its ckptkit.toml and the environment. Raises NoSuchRun, UsageError.
    """
    moment = time.time() if now is None else now
    paths = [paths] if isinstance(paths, str) else paths
    runs = list(dict.fromkeys(run for path in paths for run in _runs_at(path)))
    volumes = _volumes([*paths, *runs])
    planned, errors = _planned(runs, rules_of, trust_of, now)
    active = trainings.trainings(runs, [v.mount for v in volumes])
    cached = caches.caches(runs, *_started_from(paths, [t.pid for t in active]))
    # A cache on another volume is worth a look at it.
    all_volumes = _volumes([*paths, *runs, *(c.path for c in cached)])
    measured = Report(
        all_volumes,
        tuple(prune_plan for prune_plan, _ in planned),
        (),
        errors,
        tuple(_eaten(volumes, depth, top, progress, runs)),
        cached,
        unlinked.open_deleted(),
        with_guards(runs, [t for t in active if t.run or t.on_volume]),
        tuple(outlook.trails(volumes, planned, moment) if trails is None else trails),
        _quotas(all_volumes),
        moment,
    )
    order = ("red", "yellow", "green")
    raised = sorted(_flags(measured, planned), key=lambda flag: order.index(flag.level))
    return measured._replace(flags=tuple(raised))


def _volumes(paths: Sequence[str]) -> tuple[Volume, ...]:
    """One a file system, in the order of the paths; what vanished meanwhile is left out."""
    by_device: dict[int, Volume] = {}
    for path in paths:
        try:
            by_device.setdefault(os.stat(path).st_dev, volumes.volume(path))
        except OSError:
            continue
    return tuple(by_device.values())


Planned = list[tuple[PrunePlan, Rules]]


def _planned(
    runs: Sequence[str],
    rules_of: Callable[[str], Rules],
    trust_of: Callable[[str], Sequence[str]],
    now: float | None,
) -> tuple[Planned, tuple[tuple[str, str], ...]]:
    planned, errors = [], []
    for run in runs:
        try:
            rules = rules_of(run)
            planned.append((plan(run, rules, now=now, trust=trust_of(run)), rules))
        except CkptkitError as error:  # one bad run never hides the others
            errors.append((run, str(error)))
    return planned, tuple(errors)


def _started_from(paths: Sequence[str], pids: Sequence[int]) -> tuple[list[str], list[dict[str, str]]]:
    """(directories, environments) of this process and of those that train, who may keep their caches elsewhere."""
    folders = [*map(os.path.abspath, paths), os.getcwd(), *filter(None, (working_directory(str(p)) for p in pids))]
    return folders, [dict(os.environ), *(dict(environment(str(pid))) for pid in pids)]


def _eaten(
    volumes: Sequence[Volume], depth: int, top: int, progress: Callable[[int, str], None] | None, runs: Sequence[str]
) -> Iterator[Eaters]:
    for volume in volumes if depth else ():
        try:
            yield usage.eaters(volume.mount, depth, top, progress, runs=runs)
        except OSError as error:  # a mount that went away
            yield Eaters(volume.mount, unreadable=1, first_unreadable=str(error))


def _quotas(volumes: Sequence[Volume]) -> tuple[Quota, ...]:
    try:
        return quota.quotas(volumes)
    except NotInstalled:
        return ()  # a flag tells it


def _flags(measured: Report, planned: Planned) -> Iterator[Flag]:
    for volume in measured.volumes:
        yield from flags.of_volume(volume, _room_on(volume, measured))
    for prune_plan, rules in planned:
        yield from flags.of_run(prune_plan, rules)
        for volume in _volumes([prune_plan.run]):  # none if it vanished meanwhile
            yield from flags.of_place(prune_plan.run, volume)
    for limit in measured.quotas:
        yield from flags.of_quota(limit)
    for eaten in measured.eaters:
        yield from flags.of_eaters(eaten)
    yield from flags.of_caches(measured.caches, measured.volumes)
    yield from flags.of_open_deleted(measured.open_deleted, measured.volumes)
    for training in (training for training in measured.processes if training.run):  # others are one line of the page
        yield from flags.of_training(training, measured.at)
    for trail in measured.trails:
        yield from flags.of_trail(trail, measured.at)
    yield from flags.of_missing({package: what for package, what in SHOWS.items() if not tools.is_installed(package)})


def write_page(path: str, page: str) -> None:
    """Put the text of a page into a file, whole or not at all. Raises OSError; then what was there still is."""
    small_files.replace_at(path, page.encode())


def _room_on(volume: Volume, measured: Report) -> str:
    """The command that makes room on a volume, a prune before all; a page that walked it does not name itself."""
    from ckptkit.render.freeing import savings

    here = [way for way in savings(measured) if way.mount == volume.mount and way.command]
    here.sort(key=lambda way: not way.prunes)
    if here or not any(eaten.root == volume.mount for eaten in measured.eaters):
        return here[0].command if here else ""
    return f"du -xh --max-depth=3 {shlex.quote(volume.mount)} | sort -h | tail -20"


def _runs_at(path: str) -> list[str]:
    real = discover.directory_at(path)
    try:
        run = discover.scan(real)
        if run.checkpoints or run.leftovers:
            return [real]
    except CkptkitError:
        pass  # a root such as / or a home is no run, but runs may lie below it
    return discover.find_runs(real)
