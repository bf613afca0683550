"""Use over time, drawn: a line of blocks a volume, and a table of what changed."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ckptkit.events import Sample
from ckptkit.report.documents import Document, iso
from ckptkit.report.text import human, printable, table

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def sparkline(fractions: Sequence[float], width: int = WIDTH) -> str:
    """Given fractions between 0 and 1, oldest first, return a block for each; more than `width` share their highest.

    The scale is always from empty to full, so that two lines can be compared.
    """
    count = min(width, len(fractions))
    bounds = [i * len(fractions) // count for i in range(count + 1)] if count else [0]
    highest = [max(fractions[a:b]) for a, b in pairwise(bounds)]
    return "".join(BLOCKS[min(int(max(0.0, value) * len(BLOCKS)), len(BLOCKS) - 1)] for value in highest)


def used_fraction(sample: Sample) -> float:
    """Given a sample, return how full its volume was, as df counts it."""
    usable = sample.used_bytes + sample.available_bytes
    return sample.used_bytes / usable if usable else 1.0


def page(samples: Iterable[Sample], since: float) -> str:
    """Given samples, return them for a person: each volume's use as a line, then each run's checkpoints.

    since: seconds since the epoch, from when on they were asked for.
    """
    lines = []
    for (mount, run), group in _grouped(samples).items():
        first, last = group[0], group[-1]
        if not run:
            lines.append(f"{printable(mount)}  {sparkline([used_fraction(s) for s in group])}")
            rows = [(_when(s), f"{used_fraction(s):.0%}", human(s.available_bytes)) for s in (first, last)]
            most = max(group, key=used_fraction)
            rows.insert(
                1, (_when(most), f"{used_fraction(most):.0%}", f"{human(most.available_bytes)} (the most used)")
            )
        else:
            lines.append(printable(run))
            rows = [(_when(s), f"step {s.step}", f"{s.checkpoints} checkpoints, {human(s.checkpoint_bytes)}")
                    for s in (first, last)]  # fmt: skip
        lines += table(rows)
    return "\n".join(lines) or f"no sample since {iso(since)}: `monitor` takes them"


def document(samples: Iterable[Sample], since: float) -> Document:
    """Given the same, return it as JSON values."""
    return {"since": iso(since), "samples": [sample(s) for s in samples]}


def sample(taken: Sample) -> Document:
    """One sample as JSON values."""
    return taken._asdict() | {"at": iso(taken.at), "used_fraction": round(used_fraction(taken), 4)}


def _grouped(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    groups: dict[tuple[str, str], list[Sample]] = {}
    for taken in samples:
        groups.setdefault((taken.mount, taken.run), []).append(taken)
    return dict(sorted(groups.items()))


def _when(taken: Sample) -> str:
    return iso(taken.at)
