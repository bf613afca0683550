"""The pieces of the page. Whatever comes from a disk goes through `text` and nothing else."""

import re
from collections.abc import Sequence
from html import escape

from ckptkit.units import printable

LONG, SHORT = 24, 16  # letters: of a word that may be broken anywhere, and of a cell that needs no second line


def text(name: str) -> str:
    """Given any text, return it for HTML: control codes, newlines and broken bytes as escapes, markup as text."""
    return escape(printable(name))


def paths(name: str) -> str:
    """Given any text, return it for HTML as `text` does; a path in it breaks after a slash."""
    return text(name).replace("/", "/<wbr>")


def bar(share: float, tone: str = "blue", marks: Sequence[float] = (), kind: str = "") -> str:
    """Given a share of 0 to 1, return a bar that is so full, with a gap at each mark."""
    percent = 100 * min(1.0, max(0.0, share))
    gaps = "".join(f'<i style="left:{mark:.0%}"></i>' for mark in marks)
    return f'<div class="bar {kind} {tone}"><span style="width:{percent:.1f}%"></span>{gaps}</div>'


def bars(rows: Sequence[tuple[str, str, float, str]]) -> str:
    """Given (name, size in words, share, command or ""), return a line with a bar for each."""
    return "".join(
        f'<div class="row"><span>{paths(name)}</span><span class="size">{text(size)}</span>{bar(share)}'
        + (f'<code class="how">{paths(command)}</code>' if command else "")
        + "</div>"
        for name, size, share, command in rows
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Given names of columns, and cells that are HTML already, return a table; on a telephone each cell is a line."""
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(_row(columns, row) for row in rows)}</tbody></table>"


def _row(columns: Sequence[str], cells: Sequence[str]) -> str:
    # One element a cell, so that name and content stand side by side where there is no head.
    named = zip(map(text, columns), cells, strict=True)
    cut = (f'<td{_kind(cell)} data-name="{name}"><span>{cell}</span></td>' for name, cell in named)
    return f"<tr>{''.join(cut)}</tr>"


def _kind(cell: str) -> str:
    """How its lines break: never, or anywhere where a word is as long as only a path is."""
    words = re.sub("<[^>]*>", "", cell)
    if any(len(word) > LONG for word in words.split()):
        return ' class="long"'
    return ' class="short"' if len(words) <= SHORT else ""


def section(title: str, *content: str) -> str:
    """Given a title and HTML, return the section; nothing if there is no content."""
    return f"<h2>{paths(title)}</h2>{''.join(content)}" if any(content) else ""


def soft(words: str) -> str:
    """Given a remark, return its paragraph; nothing if it is empty."""
    return f'<p class="soft">{paths(words)}</p>' if words else ""
