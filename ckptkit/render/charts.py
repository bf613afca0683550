"""Use over time, drawn: for a page as SVG, for a terminal as blocks."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ckptkit.calling import command
from ckptkit.model.decision import Decision, Plan
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.thresholds import CRITICAL, WARM
from ckptkit.render.json import Document, iso
from ckptkit.render.pieces import text
from ckptkit.render.text import table
from ckptkit.units import count, human, percent, printable

EDGE = 6.0  # per cent of the width that stay free on either side, for the letters below the first and the last

LABELS = 6  # more would run into one another on a telephone

TONES = {"intact": "green", "incomplete": "red", "corrupt": "red", "in_progress": "blue", "unknown": "yellow"}

STRETCHED = 'viewBox="0 0 100 100" preserveAspectRatio="none" role="img"'

MARKS = (WARM, CRITICAL)


def timeline(made: Plan) -> str:
    """Given a run's plan, return its checkpoints on a line of time: filled ones stay, crossed ones would go."""
    places = _places([d.checkpoint.modified_at for d in made.decisions])
    every = -(-len(places) // LABELS) or 1
    shapes = []
    for index, (decision, x) in enumerate(zip(made.decisions, places, strict=True)):
        shapes.append(_checkpoint(decision, x))
        if (len(places) - 1 - index) % every == 0:
            shapes.append(f'<text x="{x:.2f}%" y="52" text-anchor="middle">{decision.checkpoint.step:,}</text>')
    line = '<line x1="0" x2="100%" y1="22" y2="22" stroke="var(--line)" stroke-width="2"/>'
    label = f"{len(places)} checkpoints of {made.run} by the time they were saved"
    drawn = f'<svg role="img" aria-label="{text(label)}">{line}{"".join(shapes)}</svg>'
    return f'<div class="chart timeline">{drawn}</div>'


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


def _checkpoint(decision: Decision, x: float) -> str:
    checkpoint, verdict, action, reasons = decision
    words = f"{checkpoint.name}: {verdict.state}, {action}: {'; '.join(reasons)}"
    fill = "var(--page)" if action == "delete" else "var(--tone)"
    dot = f'<circle cx="{x:.2f}%" cy="22" r="8" fill="{fill}" stroke="var(--tone)" stroke-width="2.5"/>'
    cross = f'<text x="{x:.2f}%" y="26.5" text-anchor="middle" style="fill:var(--tone)">×</text>'
    inside = dot + (cross if action == "delete" else "")
    return f'<g class="{TONES[verdict.state]}"><title>{text(words)}</title>{inside}</g>'


def use(samples: Sequence[Sample], outlook: Outlook | None) -> str:
    """Given samples of one volume, oldest first, return its use over time, and dashed on to when it is full."""
    if len(samples) < 2:
        return ""
    first, last = samples[0].at, samples[-1].at
    end = max(last, outlook.full_at or last) if outlook else last
    total, width = max(1, samples[-1].total_bytes), max(1.0, end - first)
    points = [(100 * (s.at - first) / width, 100 - 100 * s.used_bytes / total) for s in samples]
    line = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    area = f'<polygon points="0,100 {line} {points[-1][0]:.2f},100" fill="var(--blue)" opacity=".18"/>'
    drawn = _line(line, "var(--blue)", 2.5)
    if end > last:
        drawn += _line(f"{points[-1][0]:.2f},{points[-1][1]:.2f} 100,0", "var(--red)", 2, "5 4")
    marks = "".join(_line(f"0,{100 - m * 100:.0f} 100,{100 - m * 100:.0f}", "var(--line)", 1, "3 3") for m in MARKS)
    until = f"full {iso(end)}" if end > last else iso(last)
    ends = f'<div class="ends soft"><span>{iso(first)}</span><span>{until}</span></div>'
    inside = f'<svg {STRETCHED} aria-label="use over time">{marks}{area}{drawn}</svg>'
    return f'<div class="chart use">{inside}</div>{ends}'


def _line(points: str, colour: str, width: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    style = f'stroke="{colour}" stroke-width="{width}"{dashed} vector-effect="non-scaling-stroke"'
    return f'<polyline points="{points}" fill="none" {style}/>'


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
