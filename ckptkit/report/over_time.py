"""Use over time, drawn: a line of blocks a volume, and a table of what changed."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ckptkit.calling import command
from ckptkit.model.events import Sample
from ckptkit.report.documents import Document, iso
from ckptkit.report.text import table
from ckptkit.units import count, human, percent, printable

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


def page(samples: Iterable[Sample], since: float, width: int | None = None) -> str:
    """Given samples, return them for a person: each volume's use as a line of blocks, then each run's checkpoints.

    since: seconds since the epoch, the earliest that was asked for. width: columns of the terminal, None if there is
    none.
    """
    lines = []
    for (mount, run), group in _grouped(samples).items():
        first, last = group[0], group[-1]
        if not run:
            blocks = sparkline([used_fraction(s) for s in group], WIDTH if width is None else max(10, width - 4))
            lines += [printable(mount), f"  {blocks}"]
            most = max(group, key=used_fraction)
            rows = [_use(first), (*_use(most)[:-1], f"{_use(most)[-1]} (the most used)"), _use(last)]
        else:
            lines.append(printable(run))
            rows = [_checkpoints(first), _checkpoints(last)]
        lines += table(rows)
    return "\n".join(lines) or f"no samples since {iso(since)}; to record some: {command('monitor', '--once')}"


def _use(taken: Sample) -> tuple[str, str, str]:
    return iso(taken.at), percent(used_fraction(taken)), f"{human(taken.available_bytes)} free"


def _checkpoints(taken: Sample) -> tuple[str, str, str]:
    sizes = f"{count(taken.checkpoints, 'checkpoint')}, {human(taken.checkpoint_bytes)}"
    return iso(taken.at), f"step {taken.step:,}", sizes


def document(samples: Iterable[Sample], since: float) -> Document:
    """Return the samples as JSON values. since: seconds since the epoch, the earliest that was asked for."""
    return {"since": iso(since), "samples": [sample(s) for s in samples]}


def sample(taken: Sample) -> Document:
    """Return one sample as JSON values."""
    return taken._asdict() | {"at": iso(taken.at), "used_fraction": round(used_fraction(taken), 4)}


def _grouped(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    groups: dict[tuple[str, str], list[Sample]] = {}
    for taken in samples:
        groups.setdefault((taken.mount, taken.run), []).append(taken)
    return dict(sorted(groups.items()))
