"""What was measured, as rows: a figure, its target, and whether it is met."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.verify.turns import Cost

MEMORY_BYTES = 100_000_000


class Row(NamedTuple):
    """A ratio of speeds, at least `target`, or a peak of memory, at most `target`; None: told, and not judged."""

    what: str
    peer: str
    value: float
    target: float | None
    more: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        return self.value >= self.target if self.peer else self.value <= self.target


def against(
    what: str, own: Sequence[Cost], peer: str, others: Sequence[Cost], target: float | None, size: int = 0
) -> Row:
    """Given all starts of verify and of its peer, return how many times as fast verify is.

    By the best of each: whatever else the machine does adds to a time and never takes from it. The median of the
    rounds' own ratios stands beside it, and tells how far to trust it; so does the ratio of processor time.
    """
    best, other = min(c.seconds for c in own), min(c.seconds for c in others)
    each = [o.seconds / c.seconds for c, o in zip(own, others, strict=True)]
    more = {
        "seconds": best,
        "peer_seconds": other,
        "bytes": size,
        "bytes_per_second": size / best,
        "median_ratio": statistics.median(each),
        "lowest_ratio": min(each),
        "highest_ratio": max(each),
        "cpu_ratio": min(o.cpu for o in others) / min(c.cpu for c in own),
        "rounds": len(own),
    }
    return Row(what, peer, other / best, target, more)


def memory(what: str, own: Sequence[Cost], size: int) -> Row:
    """Given all starts, return the most memory that any had."""
    return Row(what, "", max(c.peak_bytes for c in own), MEMORY_BYTES, {"bytes": size})


def document(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return row._asdict() | {"met": row.met}


def table(rows: Sequence[Row]) -> str:
    """The rows as a person reads them."""
    head = (
        f"{'what':<28}{'against':<26}{'ratio':>7}{'target':>8}{'median':>8}{'lowest..highest':>17}{'cpu':>7}{'GB/s':>7}"
    )
    lines = [_ratio(row) if row.peer else _memory(row) for row in rows]
    return "\n".join([head, *lines, "ratio: the peer's best time by verify's own; median: of the rounds' ratios"])


def _ratio(row: Row) -> str:
    more = row.more
    target = "" if row.target is None else f"{row.target:.1f}"
    spread = f"{more['lowest_ratio']:.2f}..{more['highest_ratio']:.2f}"
    speed = f"{more['bytes_per_second'] / 1e9:.2f}" if more["bytes"] else f"{more['seconds']:.2f} s"
    return (
        f"{row.what:<28}{row.peer:<26}{row.value:>7.2f}{target:>8}{more['median_ratio']:>8.2f}{spread:>17}"
        f"{more['cpu_ratio']:>7.2f}{speed:>7}{_told(row)}"
    )


def _memory(row: Row) -> str:
    return f"{row.what:<54}{row.value / 1e6:>7.1f} MB, at most {MEMORY_BYTES / 1e6:.0f}{_told(row)}"


def _told(row: Row) -> str:
    return "" if row.met else "  MISSED"
