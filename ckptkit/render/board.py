"""diskreport for a terminal: flags, what could be freed, volumes, each run's checkpoints, then what else takes room.

The standard library alone draws it: at 3 a.m. a box has nothing else.
"""

from collections.abc import Iterator
from typing import Literal

from ckptkit.model.decision import Decision, PrunePlan
from ckptkit.model.disk import Volume
from ckptkit.model.reason import reason_words
from ckptkit.model.report import Box
from ckptkit.render import freeing, outlook, plain
from ckptkit.render.tables import GAP, Section, sections, table, wrapped
from ckptkit.render.text import verdict_words
from ckptkit.units import age, human, percent, printable

Style = Literal["red", "yellow", "green", "bold"]

CODES: dict[Style, str] = {"red": "1;31", "yellow": "33", "green": "32", "bold": "1"}
ACTIONS: dict[str, Style] = {"keep": "green", "delete": "red", "leave": "yellow"}
GAUGE = 20  # blocks; a quarter of them on a narrow terminal
COLUMNS = ("checkpoint", "size", "age", "verdict", "prune", "because")


def board(box: Box, colour: bool, width: int | None) -> str:
    """Given what was found, return the page. colour: with escape codes.

    width: columns of the terminal, None: no line is broken.
    """
    return "\n".join(line for part in _parts(box, colour, width) for line in part)


def coloured(text: str, style: Style, colour: bool) -> str:
    """Given text and how it stands out, return it so for a terminal; as it is without colour."""
    return f"\x1b[{CODES[style]}m{text}\x1b[0m" if colour else text


def gauge(share: float, width: int | None) -> str:
    """Given a share of 0 to 1, return a bar that is so full. width: columns of the terminal, None if there is none."""
    blocks = GAUGE if width is None else max(5, min(2 * GAUGE, width // 4))
    full = max(0, min(blocks, round(share * blocks)))
    return "█" * full + "░" * (blocks - full)


def _parts(box: Box, colour: bool, width: int | None) -> Iterator[list[str]]:
    for flag in box.flags:
        sign, *more = plain.flag(flag, width)
        yield [coloured(sign[: plain.SIGN], flag.level, colour) + sign[plain.SIGN :], *more]
    if could := freeing.sentence(box):
        yield ["", *wrapped(printable(could), width, "", GAP)]
    for volume in box.volumes:
        yield ["", *_volume(volume, colour, width)]
    for plan in box.plans:
        yield _run(box, plan, colour, width)
    for section in sections(box):
        yield _section(section, colour, width)


def _volume(v: Volume, colour: bool, width: int | None) -> list[str]:
    inodes = f"{percent(v.inodes_used_fraction)} of inodes used" if v.total_inodes else ""
    reserve = f"{human(v.reserved_bytes)} reserved for root" if v.reserved_bytes else ""
    facts = [
        f"{human(v.available_bytes)} available of {human(v.total_bytes)}",
        reserve,
        inodes,
        printable(v.filesystem),
    ]
    return [
        *(coloured(line, "bold", colour) for line in wrapped(printable(v.mount), width)),
        f"{GAP}{gauge(v.used_fraction, width)} {percent(v.used_fraction)} used",
        *wrapped(", ".join(filter(None, facts)), width, GAP),
    ]


def _run(box: Box, plan: PrunePlan, colour: bool, width: int | None) -> list[str]:
    def paint(column: str, cell: str) -> str:
        return coloured(cell, ACTIONS[cell], colour) if column == "prune" and cell in ACTIONS else cell

    rows = [_cells(decision, box.at) for decision in plan.decisions]
    drawn = [line for lines in table(COLUMNS, rows, width, paint) for line in lines] if rows else []
    forecast = outlook.of_run(box, plan.run)
    return [*_title(plan.run, colour, width), *drawn, *(wrapped(printable(forecast), width, GAP) if forecast else [])]


def _section(section: Section, colour: bool, width: int | None) -> list[str]:
    head, *rows = table(section.columns, section.rows, width) if section.rows else [[]]
    commands = section.commands or ("",) * len(rows)
    lines = [*_title(section.title, colour, width), *head]
    for row, command in zip(rows, commands, strict=True):
        lines += [*row, f"{GAP * 2}fix: {printable(command)}"] if command else row
    return [*lines, *(wrapped(printable(section.note), width, GAP) if section.note else [])]


def _cells(decision: Decision, now: float) -> tuple[str, ...]:
    checkpoint, verdict, action, reasons = decision
    size, old = human(checkpoint.allocated_bytes), age(now - checkpoint.modified_at)
    return checkpoint.name, size, old, verdict_words(verdict), action, reason_words(reasons)


def _title(title: str, colour: bool, width: int | None) -> list[str]:
    return ["", *(coloured(line, "bold", colour) for line in wrapped(printable(title), width))]
