"""A monitor's memory between two looks: what it told, and what it saw lately. All of it is bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ckptkit.advise import levels
from ckptkit.history import records
from ckptkit.model.events import Alert, Sample, Sight
from ckptkit.ops import measuring
from ckptkit.ops.sampling import OutlookOf, look
from ckptkit.system.timeout import Patience

WINDOW = 240  # samples of each volume and run that are held in memory
SPACING_SECONDS = 30.0  # between two of them, however often the monitor looks
SUBJECTS = 500  # volumes and runs of which samples are held
LOOK_SECONDS = 60.0  # a look that lasts longer hangs on a network disk


class Tick(NamedTuple):
    """One look, what changed with it, and what could not be done; wait: seconds until the next one.

    standing: {(subject, code): rung} of all that is exceeded now. trail: the last samples of each volume, by mount.
    """

    sight: Sight
    alerts: tuple[Alert, ...]
    faults: tuple[str, ...]
    wait: float
    standing: dict[tuple[str, str], int]
    trail: dict[str, tuple[Sample, ...]]


class Watch:
    """Looks at a directory again and again, keeps samples and alerts, and tells each change once.

    What an earlier monitor told, or the last `--once` from cron, comes from the history; lost, it is told again.
    """

    def __init__(self, path: str, every: float, outlook: OutlookOf | None = None) -> None:
        """path: a run, or a directory above runs. every: usual seconds between looks. outlook: another forecast."""
        self.path, self.every, self.outlook = os.path.realpath(path), every, outlook
        self._windows: dict[tuple[str, str], deque[Sample]] = {}
        self._patience = Patience(LOOK_SECONDS)
        self._standing, fault = records.standing()
        self._faults = [fault] if fault else []

    def tick(self, now: float) -> Tick:
        """Look once. Raises nothing that a disk does: what can't be seen is told as an alert."""
        sight = self._look(now)
        alerts = levels.judge(sight, self._standing)
        self._standing = _still(self._standing, sight) | {(a.subject, a.code): a.rung for a in alerts}
        samples = [measuring.of_volume(seen.volume, now) for seen in sight.volumes] + [run.sample for run in sight.runs]
        due = [sample for sample in samples if self._keep(sample)]
        self._fault(records.record(*due, *alerts) if due or alerts else "")
        faults, self._faults = tuple(self._faults), []
        standing = {key: rung for key, rung in self._standing.items() if rung}
        trail = {seen.volume.mount: tuple(self._samples(seen.volume.mount, "")) for seen in sight.volumes}
        return Tick(sight, alerts, faults, levels.wait(self.every, sight), standing, trail)

    def _look(self, now: float) -> Sight:
        try:
            return self._patience.call(lambda: look(self.path, now, self._samples, self.outlook))
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


def _still(standing: dict[tuple[str, str], int], sight: Sight) -> dict[tuple[str, str], int]:
    """What is known of what is still there; where something could not be seen, of all."""
    if sight.errors:
        return standing
    there = {gauge.subject for gauge in levels.gauges(sight)}
    return {key: rung for key, rung in standing.items() if key[0] in there}


def conditions(tick: Tick) -> dict[str, str]:
    """Given a look, return {mount: its state in a word}."""
    seen = tick.sight.volumes
    return {v.volume.mount: levels.condition(tick.trail.get(v.volume.mount, ()), v) for v in seen}
