"""One look at a volume and the runs on it: reads only, and tells what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median

from ckptkit import forecast
from ckptkit.advise import levels
from ckptkit.errors import CkptkitError, NoSuchRun
from ckptkit.history import records
from ckptkit.model.disk import Volume
from ckptkit.model.events import Outlook, RunSight, Sample, Save, Sight, VolumeSight
from ckptkit.model.plan import Decision, Plan
from ckptkit.ops import measuring
from ckptkit.ops.at_work import at_work
from ckptkit.ops.foreseeing import foreseen, last_step
from ckptkit.ops.looking import plan
from ckptkit.ops.reporting import default_rules
from ckptkit.policy import keep
from ckptkit.runs import discover
from ckptkit.system import volumes

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
    seen = (VolumeSight(v, _growth(v, now, samples_of(v.mount, ""))) for v in by_mount.values())
    return Sight(now, tuple(seen), tuple(_with_outlook(runs, samples_of, outlook)), tuple(errors))


def _growth(volume: Volume, now: float, before: Sequence[Sample]) -> float | None:
    return levels.growth([*before, measuring.of_volume(volume, now)])


def _with_outlook(runs: Iterable[RunSight], samples_of: SamplesOf, outlook: OutlookOf | None) -> Iterable[RunSight]:
    for seen in runs:
        samples = [*samples_of(seen.sample.mount, seen.sample.run), seen.sample]
        yield seen._replace(outlook=outlook(samples) if outlook else foreseen(samples, last_step=seen.last_step))


def _run(run: str, volume: Volume, now: float) -> RunSight:
    made = plan(run, default_rules(run), now=now)
    if not made.decisions:
        raise NoSuchRun(f"{run!r} holds no checkpoint any more")
    newest = max(made.decisions, key=lambda d: d.checkpoint.modified_at)
    whole = [d.checkpoint.allocated_bytes for d in made.decisions if d.verdict.intact]
    at = newest.checkpoint.modified_at
    return RunSight(
        measuring.of_run(made, volume, now),
        save_bytes=forecast.next_save_bytes(whole[-1]) if whole else 0,
        over_policy=_over(made, now - at),
        last_save_at=at,
        save_interval=_interval(run, made.decisions, now),
        newest=newest.verdict.state,
        newest_path=newest.checkpoint.path,
        finding=keep.first_finding(newest) if newest.verdict.findings else "",
        last_step=last_step(made),
        at_work=at_work(run),
    )


def _over(made: Plan, age: float) -> int | None:
    busy = age < GRACE_SECONDS or any(d.verdict.state == "in_progress" for d in made.decisions)
    return None if busy else sum(d.verdict.intact for d in made.deletions)


def _interval(run: str, decisions: Sequence[Decision], now: float) -> float | None:
    """The median of the times between two saves: those that the guard recorded, else of what is on disk."""
    saves, _ = records.recall(Save, now - 30 * records.DAY, SAVES, run=run)
    times = {save.checkpoint: save.at for save in saves}
    times |= {d.checkpoint.name: d.checkpoint.modified_at for d in decisions if d.verdict.intact}
    moments = sorted(times.values())
    between = [later - earlier for earlier, later in pairwise(moments)]
    return median(between) if between else None
