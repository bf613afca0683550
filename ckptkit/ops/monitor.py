"""monitor: look, record, warn once per change, tell whoever wants to know; again until somebody stops it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from ckptkit import arguments, forecast
from ckptkit.advise import levels
from ckptkit.errors import CkptkitError, NoSuchRun, UsageError
from ckptkit.history import records
from ckptkit.model.events import Alert, Outlook, RunSight, Sample, Save, Sight, VolumeSight
from ckptkit.ops import record
from ckptkit.ops.at_work import at_work
from ckptkit.ops.outlook import foreseen, last_step
from ckptkit.ops.read import plan, rules_for
from ckptkit.policy import keep, rules
from ckptkit.render import json
from ckptkit.runs import discover
from ckptkit.system import volumes
from ckptkit.system.timeout import Timeout
from ckptkit.units import printable

if TYPE_CHECKING:
    from ckptkit.model.decision import Decision, PrunePlan
    from ckptkit.model.disk import Volume
    from ckptkit.notify.sink import AlertSink

GRACE_SECONDS = 120.0  # in which whoever prunes after a save may still be at it

SAVES = 10  # of the history, for the usual interval

OutlookOf = Callable[[Sequence[Sample]], "Outlook | None"]

SamplesOf = Callable[[str, str], Sequence[Sample]]  # (mount, run, or "" for the volume's own) → oldest first


def look(path: str, now: float, samples_of: SamplesOf, outlook: OutlookOf | None = None) -> Sight:
    """Given a directory, return what stands at and below it. Raises NoSuchRun.

    samples_of: what was seen before. outlook: another forecast than ours.
    """
    discover.directory_at(path)
    runs, errors = [], []
    by_mount = {volume.mount: volume for volume in [volumes.volume(path)]}
    for run in discover.find_runs(path):
        try:
            volume = volumes.volume(run)
            runs.append(_run(run, volume, now))
            by_mount.setdefault(volume.mount, volume)
        except (CkptkitError, OSError) as error:  # one bad run never hides the others
            errors.append((run, str(error)))
    volume_sights = (VolumeSight(v, _growth(v, now, samples_of(v.mount, ""))) for v in by_mount.values())
    return Sight(now, tuple(volume_sights), tuple(_with_outlook(runs, samples_of, outlook)), tuple(errors))


def _growth(volume: Volume, now: float, before: Sequence[Sample]) -> float | None:
    return levels.growth([*before, record.of_volume(volume, now)])


def _with_outlook(runs: Iterable[RunSight], samples_of: SamplesOf, outlook: OutlookOf | None) -> Iterable[RunSight]:
    for sight in runs:
        samples = [*samples_of(sight.sample.mount, sight.sample.run), sight.sample]
        yield sight._replace(outlook=outlook(samples) if outlook else foreseen(samples, last_step=sight.last_step))


def _run(run: str, volume: Volume, now: float) -> RunSight:
    prune_plan = plan(run, rules_for(run, {}), now=now)
    if not prune_plan.decisions:
        raise NoSuchRun(f"{run!r} holds no checkpoint any more")
    newest = max(prune_plan.decisions, key=lambda d: d.checkpoint.modified_at)
    whole = [d.checkpoint.allocated_bytes for d in prune_plan.decisions if d.verdict.intact]
    at = newest.checkpoint.modified_at
    return RunSight(
        record.of_run(prune_plan, volume, now),
        save_bytes=forecast.next_save_bytes(whole[-1]) if whole else 0,
        over_policy=_over(prune_plan, now - at),
        last_save_at=at,
        save_interval=_interval(run, prune_plan.decisions, now),
        newest=newest.verdict.state,
        newest_path=newest.checkpoint.path,
        finding=keep.first_finding(newest) if newest.verdict.findings else "",
        last_step=last_step(prune_plan),
        at_work=at_work(run),
    )


def _over(prune_plan: PrunePlan, age: float) -> int | None:
    busy = age < GRACE_SECONDS or any(d.verdict.state == "in_progress" for d in prune_plan.decisions)
    return None if busy else sum(d.verdict.intact for d in prune_plan.deletions)


def _interval(run: str, decisions: Sequence[Decision], now: float) -> float | None:
    """The median of the times between two saves: those that the guard recorded, else of what is on disk."""
    saves, _ = records.recall(Save, now - 30 * records.DAY, SAVES, run=run)
    times = {save.checkpoint: save.at for save in saves}
    times |= {d.checkpoint.name: d.checkpoint.modified_at for d in decisions if d.verdict.intact}
    moments = sorted(times.values())
    between = [later - earlier for earlier, later in pairwise(moments)]
    return median(between) if between else None


WINDOW = 240  # samples of each volume and run that are held in memory

SPACING_SECONDS = 30.0  # between two of them, however often the monitor looks

SUBJECTS = 500  # volumes and runs of which samples are held

LOOK_SECONDS = 60.0  # a look that lasts longer hangs on a network disk


class Tick(NamedTuple):
    """One look, what changed with it, and what could not be done; wait: seconds until the next one.

    active_alerts: {(subject, code): rung} of all that is exceeded now. trail: the last samples of each volume, by its
    mount.
    """

    sight: Sight
    alerts: tuple[Alert, ...]
    faults: tuple[str, ...]
    wait: float
    active_alerts: dict[tuple[str, str], int]
    trail: dict[str, tuple[Sample, ...]]


class Watch:
    """Looks at a directory again and again, keeps samples and alerts, and tells each change once.

    What an earlier monitor told, or the last `--once` from cron, comes from the history; lost, it is told again.
    """

    def __init__(self, path: str, every: float, outlook: OutlookOf | None = None) -> None:
        """path: a run, or a directory above runs. every: usual seconds between looks. outlook: another forecast."""
        self.path, self.every, self.outlook = os.path.realpath(path), every, outlook
        self._windows: dict[tuple[str, str], deque[Sample]] = {}
        self._timeout = Timeout(LOOK_SECONDS)
        self._rungs, fault = records.last_rungs()
        self._faults = [fault] if fault else []

    def tick(self, now: float) -> Tick:
        """Look once. Raises nothing that a disk does: what can't be seen is told as an alert."""
        sight = self._look(now)
        alerts = levels.judge(sight, self._rungs)
        self._rungs = _still(self._rungs, sight) | {(a.subject, a.code): a.rung for a in alerts}
        volumes = [volume_sight.volume for volume_sight in sight.volumes]
        samples = [record.of_volume(volume, now) for volume in volumes] + [run.sample for run in sight.runs]
        due = [sample for sample in samples if self._keep(sample)]
        self._fault(records.record(*due, *alerts) if due or alerts else "")
        faults, self._faults = tuple(self._faults), []
        active_alerts = {key: rung for key, rung in self._rungs.items() if rung}
        trail = {volume.mount: tuple(self._samples(volume.mount, "")) for volume in volumes}
        return Tick(sight, alerts, faults, levels.wait(self.every, sight), active_alerts, trail)

    def _look(self, now: float) -> Sight:
        try:
            return self._timeout.call(lambda: look(self.path, now, self._samples, self.outlook))
        except Exception as error:  # noqa: BLE001 - a monitor outlives whatever it meets, and tells it
            return Sight(now, errors=((self.path, f"{self.path} can't be looked at: {error}"),))

    def _samples(self, mount: str, run: str) -> Sequence[Sample]:
        """What was seen before of a volume or a run, oldest first; the first time from the history."""
        key = (mount, run)
        if key not in self._windows:
            known, fault = records.recall(Sample, most=WINDOW, mount=mount, run=run)
            self._fault(fault)
            self._windows[key] = deque(known, WINDOW)
            while len(self._windows) > SUBJECTS:
                del self._windows[next(iter(self._windows))]
        return self._windows[key]

    def _keep(self, sample: Sample) -> bool:
        """Whether it goes into the window and the history: looks may follow one another faster than is worth it."""
        known = self._samples(sample.mount, sample.run)
        if known and 0 <= sample.at - known[-1].at < SPACING_SECONDS:
            return False
        self._windows[sample.mount, sample.run].append(sample)
        return True

    def _fault(self, fault: str) -> None:
        if fault and fault not in self._faults:
            self._faults.append(fault)


def _still(rungs: dict[tuple[str, str], int], sight: Sight) -> dict[tuple[str, str], int]:
    """What is known of what is still there; where something could not be seen, of all."""
    if sight.errors:
        return rungs
    there = {gauge.subject for gauge in levels.gauges(sight)}
    return {key: rung for key, rung in rungs.items() if key[0] in there}


def conditions(tick: Tick) -> dict[str, str]:
    """Given a look, return {mount: its state in a word}."""
    volume_sights = tick.sight.volumes
    return {v.volume.mount: levels.condition(tick.trail.get(v.volume.mount, ()), v) for v in volume_sights}


EVERY = "10m"

STOP_SECONDS = 5.0


def duration(option: str, text: str) -> float:
    """Given a duration as typed and the flag it was typed for, return seconds. Raises UsageError."""
    try:
        return rules.duration(text)
    except ValueError as error:
        raise UsageError(f"--{option} {text!r}: {error}") from None


def interval(every: str | float) -> float:
    """Given a duration as text, or seconds, return seconds. Raises UsageError."""
    if isinstance(every, str):
        return rules.parse_argument("every", every, rules.duration)
    return arguments.number("every", every, "must be text such as '10m', or seconds above 0", zero=False)


def sinks(
    command: str | None = None,
    webhook: str | None = None,
    apprise: Sequence[str] = (),
    prom: str | None = None,
    ping: str | None = None,
) -> list[AlertSink]:
    """Given what was asked for, return the sinks, each loaded only if it was. Raises UsageError for a bad one."""
    chosen: list[AlertSink] = []
    if command is not None:
        from ckptkit.notify.command import CommandSink

        chosen.append(CommandSink(command))
    if webhook is not None or ping is not None:
        from ckptkit.notify.webhook import Ping, Webhook

        chosen += [Webhook(webhook)] if webhook is not None else []
        chosen += [Ping(ping)] if ping is not None else []
    if apprise:
        from ckptkit.notify.webhook import Chat

        chosen.append(Chat(apprise))
    if prom is not None:
        from ckptkit.notify.prometheus import Textfile

        chosen.append(Textfile(prom))
    return chosen


class Telling:
    """Hands alerts and looks to the sinks. One that fails is told once, and again only after it worked meanwhile."""

    def __init__(self, sinks: Iterable[AlertSink], complain: Callable[[str], None]) -> None:
        """complain: takes a line about a sink that fails."""
        self.sinks, self.complain = list(sinks), complain
        self._failing: set[str] = set()

    def tell(self, tick: Tick) -> bool:
        """Whether every sink took all of it."""
        return sum(self._to(sink, tick) for sink in self.sinks) == len(self.sinks)

    def _to(self, sink: AlertSink, tick: Tick) -> bool:
        try:
            for alert in tick.alerts:
                sink.alert(alert, json.alert(alert))
            sink.look(tick.sight, tick.active_alerts)
        except Exception as fault:  # noqa: BLE001 - no sink may end the monitor, whatever it raises
            if sink.name not in self._failing:
                self.complain(f"{sink.name}: {fault}; it is tried again each time, and this is said once")
            self._failing.add(sink.name)
            return False
        self._failing.discard(sink.name)
        return True


def require_directory(path: str) -> None:
    """Raises NoSuchRun if there is nothing to watch: later it may come and go, but now it was typed."""
    discover.directory_at(path)


def watch(
    path: str,
    on_tick: Callable[[Tick], object],
    rest: Callable[[float], bool],
    *,
    every: float,
    clock: Callable[[], float] = time.time,
    outlook: OutlookOf | None = None,
) -> None:
    """Look at `path` until `rest`, which is given the seconds to wait, returns True. on_tick: is given each look."""
    watching = Watch(path, every, outlook)
    while True:
        tick = watching.tick(clock())
        on_tick(tick)
        if rest(tick.wait):
            return


class Monitor:
    """A monitor that runs beside what the process does. `.stop()` ends it; the end of the process does too."""

    def __init__(self, work: Callable[[Callable[[float], bool]], None], what: str = "") -> None:
        """work: gets `rest`, see `watch`. what: that it looks at, in words."""
        self.what = what
        self.last: Tick | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._stop.wait,), name="ckptkit-monitor", daemon=True)

    def __repr__(self) -> str:
        """Say what it watches, and when it last looked."""
        looked = f", looked at {json.iso(self.last.sight.at)}" if self.last else ""
        return printable(f"<Monitor {'watching' if self.running else 'stopped, watched'} {self.what}{looked}>")

    @property
    def running(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def start(self) -> Monitor:
        """Begin to look."""
        self._thread.start()
        return self

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End it and wait for that; a look that hangs is waited for no longer than `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def monitor(
    path: str = ".",
    *,
    every: str | float = EVERY,
    command: str | None = None,
    webhook: str | None = None,
    apprise: Sequence[str] = (),
    prom: str | None = None,
    ping: str | None = None,
    alerted: Callable[[Alert], None] | None = None,
    outlook: OutlookOf | None = None,
) -> Monitor:
    """Watch a run, or a directory above runs, in a daemon thread: for a notebook. Returns its handle.

    every: "10m", "30s", ... or seconds, between looks. alerted: called with each alert; default: loguru tells it.
    command, webhook, apprise, prom, ping: as the flags of bin/monitor (command: --exec).
    outlook: from samples of a run, oldest first, to when its volume is full.
    Raises NoSuchRun, UsageError at once for what can't be meant; afterwards nothing reaches the caller.
    """
    require_directory(path)
    seconds = interval(every)
    telling = Telling(sinks(command, webhook, apprise, prom, ping), _warn)

    def on_tick(tick: Tick) -> None:
        handle.last = tick
        for fault in tick.faults:
            _warn(fault)
        for alert in tick.alerts:
            (alerted or _tell)(alert)
        telling.tell(tick)

    handle = Monitor(
        lambda rest: watch(path, on_tick, rest, every=seconds, outlook=outlook),
        f"{path} every {every if isinstance(every, str) else f'{every:g}s'}",
    )
    return handle.start()


def _tell(alert: Alert) -> None:
    _warn(f"{alert.message}" + (f"; fix: {alert.command}" if alert.command else ""))


def _warn(line: str) -> None:
    from loguru import logger

    logger.warning("{}", f"ckptkit: {line}")
