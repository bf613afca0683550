"""The one table of thresholds: from when on a person is told, and how loudly.

diskreport, the monitor, preflight and the page read it, so that none of them can say another thing than the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Severity

HOUR, DAY = 3600.0, 86_400.0  # seconds


class Rung(NamedTuple):
    """above: the value from which on it holds. name: of it in a flag's code."""

    above: float
    level: Severity
    name: str
    words: str


# Of a volume's bytes or inodes, and of a quota's.
USED = (
    Rung(0.50, "green", "noticed", "keep an eye on it"),
    Rung(0.60, "yellow", "filling", "it is filling up (up to 60 % is good)"),
    Rung(0.80, "yellow", "high", "make room before the next save"),
    Rung(0.90, "red", "critical", "the next save may fail"),
)
NOTICED, WARM, HOT, CRITICAL = (rung.above for rung in USED)
# Seconds until a volume is full, as it grows now.
FULL = (
    Rung(-7 * DAY, "yellow", "in-sight", "make room this week"),
    Rung(-DAY, "red", "soon", "make room today"),
    Rung(-2 * HOUR, "red", "now", "make room now"),
)
# Saves for which there is room, with a minus: fewer are worse.
HEADROOM = (Rung(-2.0, "yellow", "low", "make room soon"), Rung(-1.0, "red", "none", "the next save will fail"))

GROWTH_BYTES = 5e9  # an hour
STEADY_SHARES, HEALTHY_SHARES = 0.05, (0.30, 0.40)  # of a volume: less movement than that; and well between these
LATE_INTERVALS = 3.0  # without a save
CACHES_SHARE = 0.05  # of a volume
OPEN_DELETED_BYTES, OPEN_DELETED_SHARE = 10**9, 0.02  # held by processes, on one volume; whichever is less
OUTLIER_TIMES = 1.5  # the median size of the run's checkpoints
SILENT_LOG_SECONDS = 900.0  # a training logs every few steps; its log should not stand still for longer
CLOCK_SECONDS = 120.0  # by which a disk's clock may differ

FEWEST_INODES = 200  # a save makes about a dozen files
LOW_BYTES, NO_BYTES = 10**9, 50_000_000  # available on another volume, where a cache or temporary files go
DOCKERS_SHM_BYTES = 68_000_000  # 64 MiB is what a container gets where nobody asked for more


def rung_of(value: float, ladder: tuple[Rung, ...]) -> Rung | None:
    """The highest rung that the value is above; None below all."""
    return next((rung for rung in reversed(ladder) if value > rung.above), None)
