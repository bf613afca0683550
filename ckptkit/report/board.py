"""diskreport for a person, drawn with rich: flags, volumes, each run's checkpoints, then what else takes room."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptkit.box import Box
from ckptkit.model import Decision, Plan, Volume
from ckptkit.report import outlook
from ckptkit.report.rows import Section, sections
from ckptkit.report.text import age, human, printable, verdict_words

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"red": "bold red", "yellow": "yellow", "green": "green"}
SIGNS = {"red": "RED", "yellow": "YELLOW", "green": "ok"}
ACTIONS = {"keep": "green", "delete": "red", "leave": "yellow"}


def board(box: Box, colour: bool, width: int) -> str:
    """Given what was found, return the page. width: columns."""
    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, force_terminal=colour, no_color=not colour, width=width, highlight=False)
    for flag in box.flags:
        console.print(f"[{COLOURS[flag.level]}]{SIGNS[flag.level]:<6}[/] ", end="")
        console.print(printable(flag.message), markup=False, soft_wrap=True)
        if flag.command:
            console.print(f"       fix: {printable(flag.command)}", markup=False, soft_wrap=True)
    console.print(_volumes(box.volumes))
    for plan in box.plans:
        console.print(_run(plan, box.at))
        if seen := outlook.of_run(box, plan.run):  # no caption: that is no wider than its table
            console.print(printable(seen), markup=False, soft_wrap=True)
    for section in sections(box):
        console.print(_section(section))
    return page.getvalue().rstrip()


def _volumes(volumes: Sequence[Volume]) -> "Table":
    table = ruled("volume", "", "used", "available", "size", "reserve", "inodes", "file system")
    for v in volumes:
        gauge = "█" * round(v.used_fraction * 20)
        inodes = f"{v.inodes_used_fraction:.0%}" if v.total_inodes else "-"
        sizes = (human(v.available_bytes), human(v.total_bytes), human(v.reserved_bytes))
        table.add_row(plain(v.mount), f"{gauge:░<20}", f"{v.used_fraction:.0%}", *sizes, inodes, plain(v.filesystem))
    return table


def _run(plan: Plan, now: float) -> "Table":
    table = _titled(plan.run, "checkpoint", "size", "age", "verdict", "prune would", "because")
    for decision in plan.decisions:
        table.add_row(*_cells(decision, now))
    return table


def _section(section: Section) -> "Table":
    table = _titled(section.title, *section.columns)
    for row in section.rows:
        table.add_row(*map(plain, row))
    if section.note:
        table.caption = section.note
        table.caption_justify = "left"
    return table


def _cells(decision: Decision, now: float) -> tuple[str, ...]:
    checkpoint, verdict, action, reasons = decision
    act = f"[{ACTIONS[action]}]{action}[/]"
    size, old = human(checkpoint.allocated_bytes), age(now - checkpoint.modified_at)
    return plain(checkpoint.name), size, old, verdict_words(verdict), act, plain("; ".join(reasons))


def _titled(title: str, *columns: str) -> "Table":
    table = ruled(*columns)
    table.title = plain(title)
    table.title_justify = "left"
    return table


def ruled(*columns: str) -> "Table":
    """Given the heads, return an empty table with a line below them."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def plain(text: str) -> str:
    """Given any name, return it safe for a terminal and for rich's own markup."""
    from rich.markup import escape

    return escape(printable(text))
