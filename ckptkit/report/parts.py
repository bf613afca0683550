"""The pieces of the page. Whatever comes from a disk goes through `text` and nothing else."""

from collections.abc import Sequence
from html import escape

from ckptkit.report.text import printable


def text(name: str) -> str:
    """Given any text, return it for HTML: control codes, newlines and broken bytes as escapes, markup as text."""
    return escape(printable(name))


def bar(share: float, tone: str = "blue", marks: Sequence[float] = (), kind: str = "") -> str:
    """Given a share of 0 to 1, return a bar that is so full, with a gap at each mark."""
    percent = 100 * min(1.0, max(0.0, share))
    gaps = "".join(f'<i style="left:{mark:.0%}"></i>' for mark in marks)
    return f'<div class="bar {kind} {tone}"><span style="width:{percent:.1f}%"></span>{gaps}</div>'


def bars(rows: Sequence[tuple[str, str, float, str]]) -> str:
    """Given (name, size in words, share, command or ""), return a line with a bar for each."""
    return "".join(
        f'<div class="row"><span>{text(name)}</span><span class="size">{text(size)}</span>{bar(share)}'
        + (f'<code class="how">{text(command)}</code>' if command else "")
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
    told = (f'<td data-name="{name}"><span>{cell}</span></td>' for name, cell in named)
    return f"<tr>{''.join(told)}</tr>"


def section(title: str, *content: str) -> str:
    """Given a title and HTML, return the section; nothing if there is no content."""
    return f"<h2>{text(title)}</h2>{''.join(content)}" if any(content) else ""


def soft(words: str) -> str:
    """Given a remark, return its paragraph; nothing if it is empty."""
    return f'<p class="soft">{text(words)}</p>' if words else ""
