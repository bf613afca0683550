"""diskreport as one page that needs nothing else: no script, no network, no picture. For a browser and a notebook."""

import os
from collections.abc import Iterator

from ckptkit.model.advice import Flag
from ckptkit.model.decision import Decision, Plan
from ckptkit.model.disk import Cache, Eater, Eaters, Volume
from ckptkit.model.report import Box, Trail
from ckptkit.model.thresholds import CRITICAL, USED, WARM, rung_of
from ckptkit.render import charts, freeing, tables
from ckptkit.render.json import iso
from ckptkit.render.outlook import of_trail
from ckptkit.render.pieces import bar, bars, paths, section, soft, table, text
from ckptkit.render.tables import what
from ckptkit.render.text import verdict_words
from ckptkit.units import age, count, human, percent
from ckptkit.version import __version__

LIGHT = """color-scheme: light; --page: #fff; --card: #f6f8fa; --line: #d0d7de; --text: #1f2328; --soft: #59636e;
  --red: #c62828; --yellow: #8a5d00; --green: #1a7f37; --blue: #0969da; --track: #e3e8ee;"""

DARK = """color-scheme: dark; --page: #0d1117; --card: #161b22; --line: #30363d; --text: #e6edf3; --soft: #9198a1;
  --red: #ff7b72; --yellow: #e3b341; --green: #3fb950; --blue: #58a6ff; --track: #2a313a;"""

THEMES = f"""
.ckptkit {{ {LIGHT} }}
@media (prefers-color-scheme: dark) {{ .ckptkit {{ {DARK} }} }}
[data-jp-theme-light="true"] .ckptkit, .vscode-light .ckptkit {{ {LIGHT} }}
[data-jp-theme-light="false"] .ckptkit, .vscode-dark .ckptkit {{ {DARK} }}
"""

RULES = """
.ckptkit { background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  max-width: 1180px; margin: 0 auto; padding: 16px; box-sizing: border-box; text-align: left; overflow-wrap: anywhere;
  container-type: inline-size; }
.ckptkit * { box-sizing: border-box; }
.ckptkit h1, .ckptkit h2, .ckptkit h3 { font-weight: 600; line-height: 1.3; }
.ckptkit h1 { font-size: 22px; margin: 0; } .ckptkit h2 { font-size: 17px; margin: 30px 0 10px; }
.ckptkit h3 { font-size: 15px; margin: 18px 0 8px; }
.ckptkit .soft { color: var(--soft); font-size: 13px; margin: 4px 0; }
.ckptkit code { font: 13px/1.45 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; color: inherit;
  background: none; padding: 0; }
.ckptkit .flag { border: 1px solid var(--line); border-left: 5px solid var(--tone); border-radius: 6px;
  background: var(--card); padding: 8px 12px; margin: 8px 0; }
.ckptkit .flag b { color: var(--tone); margin-right: 6px; }
.ckptkit .flag code, .ckptkit .how { display: block; margin-top: 4px; padding: 5px 9px; background: var(--page);
  border: 1px solid var(--line); border-radius: 4px; user-select: all; white-space: normal; }
.ckptkit .flag.green { padding: 3px 12px; margin: 4px 0; }
.ckptkit .free { border: 1px solid var(--line); border-radius: 6px; padding: 12px; margin: 12px 0; }
.ckptkit .free > :last-child { border: 0; }
.ckptkit .red { --tone: var(--red); } .ckptkit .yellow { --tone: var(--yellow); }
.ckptkit .green { --tone: var(--green); } .ckptkit .blue { --tone: var(--blue); }
.ckptkit .volumes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); gap: 12px; }
.ckptkit .card { border: 1px solid var(--line); border-radius: 6px; background: var(--card); padding: 12px;
  min-width: 0; }
.ckptkit .big { font-size: 26px; font-weight: 600; color: var(--tone, var(--text)); line-height: 1.4; }
.ckptkit .bar { position: relative; height: 10px; border-radius: 5px; background: var(--track); overflow: hidden; }
.ckptkit .bar span { position: absolute; left: 0; top: 0; bottom: 0; background: var(--tone, var(--blue)); }
.ckptkit .bar i { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--page); }
.ckptkit .gauge { height: 16px; margin: 6px 0; border-radius: 8px; }
.ckptkit .row { display: grid; grid-template-columns: minmax(0, 1fr) auto 180px; gap: 2px 14px; align-items: center;
  padding: 6px 0; border-bottom: 1px solid var(--line); }
.ckptkit .row .size { text-align: right; white-space: nowrap; }
.ckptkit .row .how { grid-column: 1 / -1; background: var(--card); }
.ckptkit .chart { overflow: hidden; } .ckptkit .use { height: 150px; }
.ckptkit .timeline { height: 60px; overflow: visible; }
.ckptkit .chart svg { display: block; width: 100% !important; height: 100% !important; max-width: none; margin: 0; }
.ckptkit .timeline svg { overflow: visible; }
.ckptkit svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.ckptkit .ends { display: flex; justify-content: space-between; gap: 12px; }
.ckptkit table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 0; table-layout: auto; border: 0;
  color: inherit; }
.ckptkit thead { border: 0; } .ckptkit tr, .ckptkit tbody tr:nth-child(n) { background: none; }
.ckptkit th, .ckptkit td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; line-height: 1.5;
  border: 0; border-bottom: 1px solid var(--line); background: none; color: inherit; overflow-wrap: normal; }
.ckptkit th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.ckptkit td.short { white-space: nowrap; } .ckptkit td.long { overflow-wrap: anywhere; min-width: 150px; }
.ckptkit td:first-child { font-weight: 600; }
.ckptkit td b { color: var(--tone); font-weight: 600; }
@container (max-width: 640px) {
  .ckptkit .row { grid-template-columns: minmax(0, 1fr) auto; } .ckptkit .row .bar { grid-column: 1 / -1; }
  .ckptkit tbody, .ckptkit table { display: block; } .ckptkit thead { display: none; }
  .ckptkit tr { display: block; border-bottom: 1px solid var(--line); padding: 6px 0; }
  .ckptkit td, .ckptkit td.short, .ckptkit td.long { display: grid; grid-template-columns: 100px minmax(0, 1fr);
    border: 0; padding: 1px 0; white-space: normal; min-width: 0; overflow-wrap: anywhere; }
  .ckptkit td::before { content: attr(data-name); color: var(--soft); font-weight: 400; } }
"""

# Said three times, a class beats each rule of JupyterLab, which names two classes and two elements at most.
CSS = (THEMES + RULES).replace(".ckptkit", ".ckptkit" * 3)

PAGE_CSS = (
    "html { background: #fff; } body { margin: 0; }"
    " @media (prefers-color-scheme: dark) { html { background: #0d1117; } }"
)

# No script may run, even if a name found a way past the escaping.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

WORDS = {"red": "RED", "yellow": "YELLOW", "green": "ok"}

ACTIONS = {"keep": "green", "delete": "red", "leave": "yellow"}

MARKS = (WARM, CRITICAL)


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
    for made in (tables.open_deleted(box), tables.processes(box)):
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
    rung = rung_of(v.used_fraction, USED)
    tone = rung.level if rung else "green"
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


def _table(made: tables.Section) -> str:
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
    unseen = tables.directories(eaters).note
    return section(f"What fills {eaters.root} ({human(eaters.allocated_bytes)})", *parts, soft(unseen))


def _largest(found: tuple[Eater, ...], total: int) -> str:
    """Bars against the largest of them: against the whole volume all but the first would be a hair."""
    most = max(1, found[0].allocated_bytes)
    drawn = [(e.path, f"{human(e.allocated_bytes)} · {percent(e.allocated_bytes / max(1, total))}", e) for e in found]
    return bars([(path, size, e.allocated_bytes / most, "") for path, size, e in drawn])


def _caches(caches: tuple[Cache, ...]) -> str:
    most = caches[0].allocated_bytes if caches else 1
    shown = caches[: tables.TOP]
    drawn = [(f"{c.kind}: {what(c)}", human(c.allocated_bytes), c.allocated_bytes / most, c.command) for c in shown]
    return bars(drawn)
