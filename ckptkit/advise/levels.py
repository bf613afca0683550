"""PURE: what the monitor warns of, and when it stops warning.

Each gauge climbs a ladder. It takes a rung as soon as its value exceeds the rung's threshold, and gives it up only
when the value is a whole band below: what flutters at 60 % makes one alert, not one at each look.
"""

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from statistics import median
from typing import NamedTuple

from ckptkit.calling import command
from ckptkit.model.checkpoint import Severity
from ckptkit.model.events import Alert, Outlook, RunSight, Sample, Sight, VolumeSight
from ckptkit.model.thresholds import (
    DAY,
    FULL,
    GROWTH_BYTES,
    HEADROOM,
    HEALTHY_SHARES,
    HOUR,
    LATE_INTERVALS,
    STEADY_SHARES,
    USED,
    Rung,
)
from ckptkit.units import age, count, human, percent, saves

SHORTEST_TREND = HOUR / 2  # of samples from which a growth is told
MOST_SAMPLES = 60  # for the slopes between all pairs of them
SHORTEST_INTERVAL = 60.0  # copied checkpoints have times within one second of one another
ASLEEP = DAY  # a run that nobody saved to for longer, and for ten intervals, is not being trained
STEADY_SECONDS = 6 * HOUR  # for so long, or since it is watched
PACE_SAVES = 2.0  # below so much headroom the monitor looks more often
SHORTEST_WAIT = 5.0  # seconds


class Ladder(NamedTuple):
    """rungs, rising; well: what is said once it stands on none; band: how far below one it is given up."""

    rungs: tuple[Rung, ...]
    well: str
    band: float = 0.0


def _single(level: Severity, words: str, well: str, above: float = 0.0, band: float = 0.0) -> Ladder:
    return Ladder((Rung(above, level, "", words),), well, band)


LADDERS = {
    "used": Ladder(USED, "below 50 % again", 0.02),
    "inodes": Ladder(USED, "below 50 % again", 0.02),
    "read-only": _single("red", "no save can succeed", "it can be written again"),
    "growth": _single("yellow", "more than 5 GB an hour", "less than 5 GB an hour again", GROWTH_BYTES, 1e9),
    "headroom": Ladder(HEADROOM, "that is enough again", 0.2),
    "count": _single("red", "nothing prunes here", "no more than the rules keep"),
    "no-save": _single("yellow", "training hangs, has died, or is done", "it saves again", LATE_INTERVALS),
    "damaged": _single("red", "training can't resume from it", "training can resume from it"),
    "full-soon": Ladder(FULL, "", HOUR),
    "unreadable": _single("yellow", "it is not watched", "it is watched again"),
}


class Gauge(NamedTuple):
    """One value to judge; None: it can't be told right now, so what stands stays. message: what was seen, in words."""

    subject: str
    code: str
    value: float | None
    message: str
    command: str = ""


def judge(sight: Sight, told_rungs: Mapping[tuple[str, str], int]) -> tuple[Alert, ...]:
    """Given what is seen and {(subject, code): rung} as told before, return an alert for each rung that changed."""
    alerts = []
    for gauge in gauges(sight):
        before = told_rungs.get((gauge.subject, gauge.code), 0)
        after = before if gauge.value is None else rung(LADDERS[gauge.code], gauge.value, before)
        if after != before:
            alerts.append(alert(sight.at, gauge, after))
    return tuple(alerts)


def rung(ladder: Ladder, value: float, before: int) -> int:
    """Given a value and the rung it stood on, return the one it stands on now."""
    up = sum(value > rung.above for rung in ladder.rungs)
    down = sum(value > rung.above - ladder.band for rung in ladder.rungs)
    return max(up, min(before, down))


def alert(at: float, gauge: Gauge, rung: int) -> Alert:
    """Given a gauge and the rung that it stands on now, return how that is told."""
    ladder = LADDERS[gauge.code]
    stands = ladder.rungs[rung - 1] if rung else Rung(0, "green", "", ladder.well)
    message = ": ".join(filter(None, [gauge.message, stands.words]))
    return Alert(at, gauge.subject, gauge.code, rung, stands.level, message, gauge.command if rung else "")


def gauges(sight: Sight) -> Iterator[Gauge]:
    """Given what is seen, yield each value that has a ladder."""
    for volume in sight.volumes:
        yield from _of_volume(volume)
    for run in sight.runs:
        yield from _of_run(run, sight.at)
    for path, why in sight.errors:
        yield Gauge(path, "unreadable", 1, why)
    failed = {path for path, _ in sight.errors}
    for subject in dict.fromkeys([*(v.volume.path for v in sight.volumes), *(r.sample.run for r in sight.runs)]):
        if subject not in failed:
            yield Gauge(subject, "unreadable", 0, subject)


def _of_volume(sight: VolumeSight) -> Iterator[Gauge]:
    volume, mount = sight.volume, sight.volume.mount
    look = command("diskreport", mount)
    yield Gauge(mount, "used", volume.used_fraction, f"{mount} is {percent(volume.used_fraction)} used", look)
    inodes = volume.inodes_used_fraction
    find = f"du --inodes -x --max-depth=2 {quote(mount)} | sort -n | tail -20"
    yield Gauge(mount, "inodes", inodes, f"{mount} has {percent(inodes)} of its inodes used", find)
    state = "read-only" if volume.read_only else "writable"
    yield Gauge(mount, "read-only", float(volume.read_only), f"{mount} is mounted {state}", "dmesg | tail -30")
    grows = f"{mount} grows by {human(max(0.0, sight.growth or 0))} an hour"
    yield Gauge(mount, "growth", sight.growth, grows, look)


def _of_run(sight: RunSight, now: float) -> Iterator[Gauge]:
    run = sight.sample.run
    prune, verify = command("prune", run, "--dry-run"), command("verify", run, "--explain")
    fit = sight.saves_that_fit
    yield Gauge(run, "headroom", None if fit is None else -fit, f"{run}: room for {saves(fit or 0)}", prune)
    over = sight.over_policy
    yield Gauge(run, "count", over, f"{run}: {count(over or 0, 'checkpoint')} more than the rules keep", prune)
    yield _no_save(sight, now, command("recover", run, "--dry-run"))
    damaged = {"incomplete": 1.0, "corrupt": 1.0, "intact": 0.0}.get(sight.newest)
    newest = f"{sight.newest_path}, the newest, is {sight.newest}" + (f" ({sight.finding})" if damaged else "")
    yield Gauge(run, "damaged", damaged, newest, verify)
    if sight.outlook is not None:
        full_at = sight.outlook.full_at
        left = float("inf") if full_at is None else full_at - now
        yield Gauge(run, "full-soon", -left, f"{run}: {_full(sight.outlook, sight.sample, now)}", prune)


def _full(outlook: Outlook, last: Sample, now: float) -> str:
    if outlook.full_at is None:
        usable = last.used_bytes + last.available_bytes
        step = f" at step {outlook.peak_step:,}" if outlook.peak_step else ""
        peak = f" (peak {percent(outlook.peak_used_bytes / usable)}{step})" if usable else ""
        return f"the disk will not fill up in this run{peak}"
    if outlook.full_at <= now:
        return "the disk is full now"
    step = f", at step {outlook.full_step:,}" if outlook.full_step else ""
    return f"the disk will be full in {age(outlook.full_at - now)}{step}"


def _no_save(sight: RunSight, now: float, command: str) -> Gauge:
    run, value, message = sight.sample.run, None, ""
    if sight.save_interval is not None and sight.last_save_at is not None:
        interval = max(SHORTEST_INTERVAL, sight.save_interval)
        silent = now - sight.last_save_at
        value = None if silent > max(ASLEEP, 10 * interval) else silent / interval
        message = f"{run}: the last save was {age(silent)} ago, usually there is one every {age(interval)}"
    return Gauge(run, "no-save", value, message, command)


def growth(samples: Sequence[Sample]) -> float | None:
    """Given samples of one volume, oldest first, return bytes an hour over the last hour, None if they are too few.

    The median of the slopes between all pairs (Theil and Sen): saving and pruning is a saw, whose teeth do not count.
    """
    last = [s for s in samples if s.at > samples[-1].at - HOUR - 1] if samples else []
    last = last[:: 1 + len(last) // MOST_SAMPLES]
    if len(last) < 3 or last[-1].at - last[0].at < SHORTEST_TREND:
        return None
    slopes = [
        (b.used_bytes - a.used_bytes) / (b.at - a.at) for i, a in enumerate(last) for b in last[i + 1 :] if b.at > a.at
    ]
    return median(slopes) * HOUR


def condition(samples: Sequence[Sample], sight: VolumeSight) -> str:
    """Given a volume's last samples, oldest first, return its state in a word: healthy, stable, growing, shrinking."""
    if between := steady(samples):
        return "healthy" if is_healthy(*between) else "stable"
    if sight.growth is None:
        return "no trend yet"
    return f"growing {human(sight.growth)} an hour" if sight.growth > 0 else "shrinking"


def steady(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Given a volume's last samples, oldest first, return the least and the most used of it lately, as df counts.

    None if that is more apart than a steady volume moves, or too little was seen.
    """
    last = [s for s in samples if s.at > samples[-1].at - STEADY_SECONDS]
    used = [s.used_bytes / (s.used_bytes + s.available_bytes) for s in last if s.used_bytes + s.available_bytes]
    return (min(used), max(used)) if len(used) >= 3 and max(used) - min(used) <= STEADY_SHARES else None


def is_healthy(least: float, most: float) -> bool:
    """Whether a volume that was used so much wants nothing."""
    return HEALTHY_SHARES[0] <= least and most <= HEALTHY_SHARES[1]


def wait(every: float, sight: Sight) -> float:
    """Given the usual seconds between two looks, return those until the next: fewer as room for saves runs out."""
    fits = [fit for fit in (run.saves_that_fit for run in sight.runs) if fit is not None]
    share = min([1.0, *(fit / PACE_SAVES for fit in fits)])
    return max(min(SHORTEST_WAIT, every), every * share)
