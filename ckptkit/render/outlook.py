"""When a volume is full, in words: for a terminal, a log, a mail."""

import time

from ckptkit.model.events import Outlook
from ckptkit.model.report import Box, Trail
from ckptkit.units import percent

MINUTE, HOUR, DAY = 60, 3600, 86400


def of_run(box: Box, run: str) -> str:
    """Given what was found and a run of it, return when its volume is full; "" if that is not known."""
    return next((of_trail(trail, box.at) for trail in box.trails if trail.run == run), "")


def of_trail(trail: Trail, now: float) -> str:
    """Given a run's past and outlook, return that in words, with the volume; "" without one.

    now: seconds since the epoch.
    """
    last = trail.samples[-1]
    if trail.outlook is None:
        return ""
    return f"{trail.mount}: {outlook(trail.outlook, now, last.used_bytes + last.available_bytes)}"


def outlook(outlook: Outlook, now: float, total_bytes: int) -> str:
    """Given an outlook, return a sentence on when the disk is full.

    now: seconds since the epoch. total_bytes: of the volume, 0 if that is not known.
    """
    if outlook.full_at is None:
        return f"the disk will not fill up in this run{_peak(outlook, total_bytes)}"
    if outlook.full_at <= now:
        return "the disk is full now"
    moment = time.gmtime(outlook.full_at)
    clock = time.strftime("%H:%M" if outlook.full_at - now < DAY else "%Y-%m-%d %H:%M", moment)
    step = f" at step {outlook.full_step:,}" if outlook.full_step else ""
    return f"the disk will be full{step}, about {clock} UTC (in {span(outlook.full_at - now)})"


def _peak(outlook: Outlook, total_bytes: int) -> str:
    """The most that will be used, in brackets; "" if the volume's size is not known."""
    step = f" at step {outlook.peak_step:,}" if outlook.peak_step else ""
    return f" (peak {percent(outlook.peak_used_bytes / total_bytes)}{step})" if total_bytes else ""


def span(seconds: float) -> str:
    """Given a duration in seconds, return it as a person says it: 2 h 10 min, 3 d 4 h, 40 s."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
