"""diskreport as one page that needs nothing else: no script, no network, no picture. For a browser and a notebook.

Here stands what it shows. How: page.html.j2, the whole document; fragment.html.j2, all that is in it, from the macros
of pieces.html.j2; page.css.j2.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ckptkit.calling import pip_install
from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Action
from ckptkit.model.decision import Decision, PrunePlan
from ckptkit.model.disk import Cache, Eater, Eaters, Volume
from ckptkit.model.reason import reason_words
from ckptkit.model.report import Box
from ckptkit.model.thresholds import USED, rung_of
from ckptkit.render import charts, freeing, tables
from ckptkit.render.json import iso
from ckptkit.render.outlook import of_trail
from ckptkit.render.text import verdict_words
from ckptkit.units import age, count, human, percent, printable
from ckptkit.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONG, SHORT = 24, 16  # letters: of a word that may be broken anywhere, and of a cell that needs no second line

ACTIONS: dict[Action, charts.Tone] = {"keep": "green", "delete": "red", "leave": "yellow"}

COLUMNS = ("checkpoint", "size", "age", "verdict", "prune would", "because")


def page(box: Box) -> str:
    """Given what was found, return the whole document. Raises UsageError without Jinja2."""
    return environment().get_template("page.html.j2").render(_context(box))


def fragment(box: Box) -> str:
    """Given what was found, return it as a part of somebody else's page. Raises UsageError without Jinja2."""
    return environment().get_template("fragment.html.j2").render(_context(box))


@functools.cache
def environment() -> "Environment":
    """What renders the templates, and escapes all that they print. Raises UsageError without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UsageError(f"the page needs Jinja2, which is not installed; fix: {pip_install('jinja2')}") from None
    jinja = Environment(
        loader=PackageLoader("ckptkit", "render"),
        autoescape=True,
        finalize=_safe,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters.update(facts=_facts, human=human, iso=iso, paths=_paths, percent=percent, tone=_tone, width=_width)
    return jinja


def _safe(value: object) -> object:
    """Control codes, newlines and broken bytes of a name become escapes; HTML that a macro made stays."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _paths(name: str) -> "Markup":
    """Given any text, return it for HTML; a path in it breaks after a slash."""
    from markupsafe import Markup

    return Markup("/<wbr>").join(printable(name).split("/"))  # join escapes each part


def _width(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.1f}%"


class Bar(NamedTuple):
    """A line with a bar: what, its size in words, the share of the bar that is full, and a command or ""."""

    name: str
    size: str
    share: float
    command: str = ""


class Cell(NamedTuple):
    """Of a table: what stands there, and its colour or whether it is a command."""

    words: str
    tone: charts.Tone | Literal[""] = ""
    is_command: bool = False

    @property
    def kind(self) -> str:
        """How its lines break: never, or anywhere where a word is as long as only a path is."""
        if any(len(word) > LONG for word in self.words.split()):
            return "long"
        return "short" if len(self.words) <= SHORT else ""


def _context(box: Box) -> dict[str, object]:
    """Given what was found, return what the templates show, by the names that they use."""
    ways = freeing.savings(box)
    return {
        "title": title(box),
        "version": __version__,
        "box": box,
        "marks": charts.MARKS,
        "ways": list(_ways(ways)),
        "could_free": human(sum(way.bytes for way in ways)),
        "trails": list(_trails(box)),
        "columns": COLUMNS,
        "runs": [_run(plan, box.at) for plan in box.plans],
        "eaten": [_eaten(eaters) for eaters in box.eaters],
        "caches": list(_caches(box.caches)),
        "tables": [_table(section) for section in (tables.open_deleted(box), tables.processes(box))],
    }


def title(box: Box) -> str:
    """Given what was found, return the host and its run, or how many runs."""
    runs = [plan.run for plan in box.plans]
    return f"{os.uname().nodename}: {runs[0] if len(runs) == 1 else count(len(runs), 'run')}"


def _ways(ways: Sequence[freeing.WayToFree]) -> Iterator[Bar]:
    """What each fix would free, largest first, with its command."""
    mounts = {way.mount for way in ways}
    for way in ways:
        name = f"{way.what} on {way.mount}" if len(mounts) > 1 else way.what
        yield Bar(name, human(way.bytes), way.bytes / ways[0].bytes, way.command)


def _tone(volume: Volume) -> charts.Tone:
    rung = rung_of(volume.used_fraction, USED)
    return rung.level if rung else "green"


def _facts(volume: Volume) -> str:
    inodes = f"{percent(volume.inodes_used_fraction)} of inodes used" if volume.total_inodes else "no inode limit"
    reserve = f"{human(volume.reserved_bytes)} reserved for root" if volume.reserved_bytes else ""
    facts = [inodes, reserve, f"{volume.filesystem} on {volume.device}", "READ-ONLY" if volume.read_only else ""]
    return " · ".join(filter(None, facts))


def _trails(box: Box) -> Iterator[tuple[str, str, charts.Curve]]:
    """A curve for each run, and for each volume on which none is: a run's shows its volume's use."""
    of_runs = {trail.mount for trail in box.trails if trail.run}
    for trail in box.trails:
        curve = charts.use(trail.samples, trail.outlook) if trail.run or trail.mount not in of_runs else None
        if curve:
            yield trail.run or trail.mount, of_trail(trail, box.at), curve


def _run(plan: PrunePlan, now: float) -> tuple[str, int, list[charts.Spot], list[list[Cell]]]:
    rows = [_cells(decision, now) for decision in plan.decisions]
    return plan.run, plan.expected_freed_bytes, charts.timeline(plan), rows


def _cells(decision: Decision, now: float) -> list[Cell]:
    checkpoint, verdict, action, reasons = decision
    size, old = human(checkpoint.allocated_bytes), age(now - checkpoint.modified_at)
    state = Cell(verdict_words(verdict), charts.TONES[verdict.state])
    return [
        Cell(checkpoint.name),
        Cell(size),
        Cell(old),
        state,
        Cell(action, ACTIONS[action]),
        Cell(reason_words(reasons)),
    ]


def _eaten(eaters: Eaters) -> tuple[Eaters, list[Bar], list[Bar], str]:
    directories, files = (
        list(_bars(largest, eaters.allocated_bytes)) for largest in (eaters.directories, eaters.files)
    )
    return eaters, directories, files, tables.directories(eaters).note


def _bars(largest: tuple[Eater, ...], total: int) -> Iterator[Bar]:
    """Bars against the largest of them: against the whole volume all but the first would be a hair."""
    for eater in largest:
        size = f"{human(eater.allocated_bytes)} · {percent(eater.allocated_bytes / max(1, total))}"
        yield Bar(eater.path, size, eater.allocated_bytes / max(1, largest[0].allocated_bytes))


def _caches(caches: tuple[Cache, ...]) -> Iterator[Bar]:
    for cache in caches[: tables.TOP]:
        share = cache.allocated_bytes / caches[0].allocated_bytes
        yield Bar(f"{cache.kind}: {tables.what(cache)}", human(cache.allocated_bytes), share, cache.command)


def _table(section: tables.Section) -> tuple[str, Sequence[str], list[list[Cell]], str]:
    """Its commands, if it has any, stand in a last column."""
    commands = [[Cell(command, is_command=True)] for command in section.commands] or [[]] * len(section.rows)
    rows = [[*map(Cell, row), *command] for row, command in zip(section.rows, commands, strict=True)]
    return (
        section.title.capitalize(),
        (*section.columns, "fix") if section.commands else section.columns,
        rows,
        section.note,
    )
