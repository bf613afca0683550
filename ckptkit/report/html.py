"""diskreport as one page that needs nothing else: no script, no network, no picture. For a browser and a notebook."""

import os
from collections.abc import Iterator

from ckptkit import __version__
from ckptkit.model.advice import Flag
from ckptkit.model.disk import Cache, Eater, Eaters, Volume
from ckptkit.model.plan import Decision, Plan
from ckptkit.model.report import Box, Trail
from ckptkit.report import charts, freeing, rows
from ckptkit.report.documents import iso
from ckptkit.report.outlook import of_trail
from ckptkit.report.parts import bar, bars, paths, section, soft, table, text
from ckptkit.report.rows import what
from ckptkit.report.style import CSS, PAGE_CSS
from ckptkit.report.text import verdict_words
from ckptkit.units import age, count, human, percent

# No script may run, even if a name found a way past the escaping.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WORDS = {"red": "RED", "yellow": "YELLOW", "green": "ok"}
ACTIONS = {"keep": "green", "delete": "red", "leave": "yellow"}
MARKS = (0.60, 0.90)


def page(box: Box) -> str:
    """Given what was found, return the whole document."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{text(title(box))}</title><style>{PAGE_CSS}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{fragment(box)}</body></html>\n'


def fragment(box: Box) -> str:
    """Given what was found, return it as a part of somebody else's page; its style touches nothing outside."""
    return f'<style>{CSS}</style><div class="ckptkit">{"".join(_sections(box))}</div>'


def title(box: Box) -> str:
    """Given what was found, return the host and its run, or how many runs."""
    runs = [made.run for made in box.plans]
    return f"{os.uname().nodename}: {runs[0] if len(runs) == 1 else count(len(runs), 'run')}"


def _sections(box: Box) -> Iterator[str]:
    yield f"<h1>{paths(title(box))}</h1>{soft(f'diskreport of ckptkit {__version__}, {iso(box.at)}')}"
    yield _freeing(box)
    yield "".join(map(_flag, box.flags))
    yield "".join(soft(f"{run}: {fault}") for run, fault in box.errors)
    yield section("Volumes", f'<div class="volumes">{"".join(map(_volume, box.volumes))}</div>')
    yield section("Use over time", *(_trail(trail, box.at) for trail in _drawn(box)))
    yield section("Checkpoints", *(_run(made, box.at) for made in box.plans))
    yield from map(_eaters, box.eaters)
    yield section("Caches and leftovers", _caches(box.caches))
    for made in (rows.open_deleted(box), rows.processes(box)):
        yield section(made.title.capitalize(), _table(made), soft(made.note))


def _freeing(box: Box) -> str:
    """What each fix would free, largest first, with its command."""
    ways = freeing.savings(box)
    if not ways:
        return soft("ckptkit found nothing here that could be freed")
    mounts = {way.mount for way in ways}
    names = [f"{way.what} on {way.mount}" if len(mounts) > 1 else way.what for way in ways]
    drawn = bars([
        (name, human(way.bytes), way.bytes / ways[0].bytes, way.command) for name, way in zip(names, ways, strict=True)
    ])  # fmt: skip
    total = human(sum(way.bytes for way in ways))
    return f'<div class="free"><div class="big">{total} could be freed</div>{drawn}</div>'


def _flag(flag: Flag) -> str:
    command = f"<code>{paths(flag.command)}</code>" if flag.command else ""
    return f'<div class="flag {flag.level}"><b>{WORDS[flag.level]}</b>{paths(flag.message)}{command}</div>'


def _volume(v: Volume) -> str:
    tone = "red" if v.used_fraction > MARKS[1] else "yellow" if v.used_fraction > MARKS[0] else "green"
    inodes = f"{percent(v.inodes_used_fraction)} of inodes used" if v.total_inodes else "no inode limit"
    reserve = f"{human(v.reserved_bytes)} reserved for root" if v.reserved_bytes else ""
    facts = [inodes, reserve, f"{v.filesystem} on {v.device}", "READ-ONLY" if v.read_only else ""]
    return (
        f'<div class="card {tone}"><code>{paths(v.mount)}</code><div class="big">{percent(v.used_fraction)} used</div>'
        f"{bar(v.used_fraction, tone, MARKS, 'gauge')}"
        f"<div>{human(v.available_bytes)} available of {human(v.total_bytes)}</div>"
        f"{soft(' · '.join(filter(None, facts)))}</div>"
    )


def _drawn(box: Box) -> list[Trail]:
    """A line for each run, and for each volume on which none is: a run's shows its volume's use."""
    runs = [trail for trail in box.trails if trail.run]
    theirs = {trail.mount for trail in runs}
    return [trail for trail in box.trails if trail.run or trail.mount not in theirs]


def _trail(trail: Trail, now: float) -> str:
    drawn = charts.use(trail.samples, trail.outlook)
    return f"<h3>{paths(trail.run or trail.mount)}</h3>{soft(of_trail(trail, now))}{drawn}" if drawn else ""


def _run(made: Plan, now: float) -> str:
    freed = made.expected_freed_bytes
    would = f"prune would free {human(freed)}" if freed else "prune would delete nothing"
    columns = ("checkpoint", "size", "age", "verdict", "prune would", "because")
    drawn = charts.timeline(made) if made.decisions else ""
    cells = [_cells(decision, now) for decision in made.decisions]
    legend = "from left to right: when each was saved; × would be deleted" if made.deletions else ""
    return f"<h3>{paths(made.run)}</h3>{soft(would)}{drawn}{soft(legend)}{table(columns, cells)}"


def _cells(decision: Decision, now: float) -> list[str]:
    checkpoint, verdict, action, reasons = decision
    state = f'<b class="{charts.TONES[verdict.state]}">{text(verdict_words(verdict))}</b>'
    act = f'<b class="{ACTIONS[action]}">{action}</b>'
    size, old = human(checkpoint.allocated_bytes), age(now - checkpoint.modified_at)
    return [paths(checkpoint.name), size, old, state, act, paths("; ".join(reasons))]


def _table(made: rows.Section) -> str:
    """Its commands, if it has any, stand in a last column."""
    commands = [[f"<code>{paths(command)}</code>"] for command in made.commands] or [[]] * len(made.rows)
    cells = [[*map(paths, row), *command] for row, command in zip(made.rows, commands, strict=True)]
    return table((*made.columns, "fix") if made.commands else made.columns, cells) if cells else ""


def _eaters(eaters: Eaters) -> str:
    parts = [
        f"<h3>{name}</h3>{_largest(found, eaters.allocated_bytes)}"
        for name, found in (("Directories", eaters.directories), ("Files", eaters.files))
        if found
    ]
    unseen = rows.directories(eaters).note
    return section(f"What fills {eaters.root} ({human(eaters.allocated_bytes)})", *parts, soft(unseen))


def _largest(found: tuple[Eater, ...], total: int) -> str:
    """Bars against the largest of them: against the whole volume all but the first would be a hair."""
    most = max(1, found[0].allocated_bytes)
    drawn = [(e.path, f"{human(e.allocated_bytes)} · {percent(e.allocated_bytes / max(1, total))}", e) for e in found]
    return bars([(path, size, e.allocated_bytes / most, "") for path, size, e in drawn])


def _caches(caches: tuple[Cache, ...]) -> str:
    most = caches[0].allocated_bytes if caches else 1
    shown = caches[: rows.TOP]
    drawn = [(f"{c.kind}: {what(c)}", human(c.allocated_bytes), c.allocated_bytes / most, c.command) for c in shown]
    return bars(drawn)
