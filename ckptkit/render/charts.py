"""Use over time, drawn: for a page as what its SVG shows, for a terminal as blocks."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from ckptkit.calling import command
from ckptkit.model.checkpoint import State
from ckptkit.model.decision import PrunePlan
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.reason import reason_words
from ckptkit.model.thresholds import CRITICAL, WARM
from ckptkit.render.json import Document, iso
from ckptkit.render.text import table
from ckptkit.units import count, human, percent, printable

EDGE = 6.0  # per cent of the width that stay free on either side, for the letters below the first and the last

LABELS = 6  # more would run into one another on a telephone

Tone = Literal["red", "yellow", "green", "blue"]  # a class of the page's style sheet

TONES: dict[State, Tone] = {
    "intact": "green", "incomplete": "red", "corrupt": "red", "in_progress": "blue", "unknown": "yellow",
}  # fmt: skip

MARKS = (WARM, CRITICAL)


class Spot(NamedTuple):
    """A checkpoint on a line of time: how far from the left in per cent, what it is, and its step where there is room.

    gone: it would be deleted.
    """

    x: float
    tone: Tone
    gone: bool
    words: str
    label: str


def timeline(plan: PrunePlan) -> list[Spot]:
    """Given a run's plan, return its checkpoints by the time they were saved."""
    places = _places([d.checkpoint.modified_at for d in plan.decisions])
    every = -(-len(places) // LABELS) or 1
    spots = []
    for index, (decision, x) in enumerate(zip(plan.decisions, places, strict=True)):
        checkpoint, verdict, action, reasons = decision
        words = f"{checkpoint.name}: {verdict.state}, {action}: {reason_words(reasons)}"
        label = "" if (len(places) - 1 - index) % every else f"{checkpoint.step:,}"
        spots.append(Spot(x, TONES[verdict.state], action == "delete", words, label))
    return spots


def _places(moments: Sequence[float]) -> list[float]:
    """Per cent from the left; evenly where all were saved at once, as after a copy."""
    if not moments:
        return []
    first, width = min(moments), max(moments) - min(moments)
    if width < 1:
        shares = [(i + 0.5) / len(moments) for i in range(len(moments))]
    else:
        shares = [(moment - first) / width for moment in moments]
    return [EDGE + share * (100 - 2 * EDGE) for share in shares]


class Curve(NamedTuple):
    """A volume's use over time, as points of an SVG that is 100 wide and 100 high.

    x: of its last point. ahead: the line on to when it is full, "" if it is not known to be. start, end: in words.
    """

    line: str
    x: str
    ahead: str
    start: str
    end: str


def use(samples: Sequence[Sample], outlook: Outlook | None) -> Curve | None:
    """Given samples of one volume, oldest first, return its use over time; None if there is no line between them."""
    if len(samples) < 2:
        return None
    first, last = samples[0].at, samples[-1].at
    end = max(last, outlook.full_at or last) if outlook else last
    total, width = max(1, samples[-1].total_bytes), max(1.0, end - first)
    points = [f"{100 * (s.at - first) / width:.2f},{100 - 100 * s.used_bytes / total:.2f}" for s in samples]
    ahead, until = (f"{points[-1]} 100,0", f"full {iso(end)}") if end > last else ("", iso(last))
    return Curve(" ".join(points), points[-1].split(",")[0], ahead, iso(first), until)


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


def _use(sample: Sample) -> tuple[str, str, str]:
    return iso(sample.at), percent(used_fraction(sample)), f"{human(sample.available_bytes)} free"


def _checkpoints(sample: Sample) -> tuple[str, str, str]:
    sizes = f"{count(sample.checkpoints, 'checkpoint')}, {human(sample.checkpoint_bytes)}"
    return iso(sample.at), f"step {sample.step:,}", sizes


def document(samples: Iterable[Sample], since: float) -> Document:
    """Return the samples as JSON values. since: seconds since the epoch, the earliest that was asked for."""
    return {"since": iso(since), "samples": [sample(s) for s in samples]}


def sample(sample: Sample) -> Document:
    """Return one sample as JSON values."""
    return sample._asdict() | {"at": iso(sample.at), "used_fraction": round(used_fraction(sample), 4)}


def _grouped(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.mount, sample.run), []).append(sample)
    return dict(sorted(groups.items()))
