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


def judge(sight: Sight, standing: Mapping[tuple[str, str], int]) -> tuple[Alert, ...]:
    """Given what is seen and {(subject, code): rung} as told before, return an alert for each rung that changed."""
    found = []
    for gauge in gauges(sight):
        before = standing.get((gauge.subject, gauge.code), 0)
        after = before if gauge.value is None else rung(LADDERS[gauge.code], gauge.value, before)
        if after != before:
            found.append(alert(sight.at, gauge, after))
    return tuple(found)


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


def _of_volume(seen: VolumeSight) -> Iterator[Gauge]:
    volume, mount = seen.volume, seen.volume.mount
    look = command("diskreport", mount)
    yield Gauge(mount, "used", volume.used_fraction, f"{mount} is {percent(volume.used_fraction)} used", look)
    inodes = volume.inodes_used_fraction
    find = f"du --inodes -x --max-depth=2 {quote(mount)} | sort -n | tail -20"
    yield Gauge(mount, "inodes", inodes, f"{mount} has {percent(inodes)} of its inodes used", find)
    state = "read-only" if volume.read_only else "writable"
    yield Gauge(mount, "read-only", float(volume.read_only), f"{mount} is mounted {state}", "dmesg | tail -30")
    grows = f"{mount} grows by {human(max(0.0, seen.growth or 0))} an hour"
    yield Gauge(mount, "growth", seen.growth, grows, look)


def _of_run(seen: RunSight, now: float) -> Iterator[Gauge]:
    run = seen.sample.run
    prune, verify = command("prune", run, "--dry-run"), command("verify", run, "--explain")
    fit = seen.saves_that_fit
    yield Gauge(run, "headroom", None if fit is None else -fit, f"{run}: room for {saves(fit or 0)}", prune)
    over = seen.over_policy
    yield Gauge(run, "count", over, f"{run}: {count(over or 0, 'checkpoint')} more than the rules keep", prune)
    yield _no_save(seen, now, command("recover", run, "--dry-run"))
    damaged = {"incomplete": 1.0, "corrupt": 1.0, "intact": 0.0}.get(seen.newest)
    newest = f"{seen.newest_path}, the newest, is {seen.newest}" + (f" ({seen.finding})" if damaged else "")
    yield Gauge(run, "damaged", damaged, newest, verify)
    if seen.outlook is not None:
        full_at = seen.outlook.full_at
        left = float("inf") if full_at is None else full_at - now
        yield Gauge(run, "full-soon", -left, f"{run}: {_full(seen.outlook, seen.sample, now)}", prune)


def _full(seen: Outlook, last: Sample, now: float) -> str:
    if seen.full_at is None:
        usable = last.used_bytes + last.available_bytes
        step = f" at step {seen.peak_step:,}" if seen.peak_step else ""
        peak = f" (peak {percent(seen.peak_used_bytes / usable)}{step})" if usable else ""
        return f"the disk will not fill up in this run{peak}"
    if seen.full_at <= now:
        return "the disk is full now"
    step = f", at step {seen.full_step:,}" if seen.full_step else ""
    return f"the disk will be full in {age(seen.full_at - now)}{step}"


def _no_save(seen: RunSight, now: float, command: str) -> Gauge:
    run, value, message = seen.sample.run, None, ""
    if seen.save_interval is not None and seen.last_save_at is not None:
        interval = max(SHORTEST_INTERVAL, seen.save_interval)
        silent = now - seen.last_save_at
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


def condition(samples: Sequence[Sample], seen: VolumeSight) -> str:
    """Given a volume's last samples, oldest first, return its state in a word: healthy, stable, growing, shrinking."""
    if between := steady(samples):
        return "healthy" if is_healthy(*between) else "stable"
    if seen.growth is None:
        return "no trend yet"
    return f"growing {human(seen.growth)} an hour" if seen.growth > 0 else "shrinking"


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
