"""Sentences and tables for a terminal of any width. A word stays whole; a path that is too long breaks after a slash.

width: columns of the terminal, None where nobody looks at one (a pipe, a file): then no line is broken.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from ckptkit.units import printable

NARROW = 60  # columns; on fewer, a row of a table becomes lines
ROOM = 20  # columns that a table's last cell wants for itself
GAP = "  "
UNITS = re.compile(r"(?<=\d) (?=(?:[kMGTP]?B|%|s|min|h|d)(?![A-Za-z]))")  # a number and its unit are one word
NAMED_BY_ITSELF = {"size", "share", "file", "directory", "checkpoint", "volume", "run", "process", "kind", "what"}
Paint = Callable[[str, str], str]  # (name of the column, what stands there) → the same with colour


def wrapped(text: str, width: int | None, first: str = "", rest: str | None = None) -> list[str]:
    """Given a sentence, return its lines. first: what the first begins with. rest: the others, default as many blanks.

    What can't be broken (a name without a slash that is longer than a line) stays whole.
    """
    rest = " " * len(first) if rest is None else rest
    if width is None:
        return [first + text]
    lines, line = [], first
    for piece, space in _pieces(text, width - len(rest)):
        begun = line not in (first, rest)
        if begun and len(line) + len(space) + len(piece) > width:
            lines.append(line)
            line = rest + piece
        else:
            line += (space if begun else "") + piece
    return [*lines, line]


def _pieces(text: str, room: int) -> Iterator[tuple[str, str]]:
    """(what stays whole, what stands before it on the same line)."""
    for word in UNITS.sub("\0", text).split(" "):
        word = word.replace("\0", " ")
        parts = re.findall(r"/*[^/]+/*|/+", word) if len(word) > room else [word]
        yield from ((part, "" if index else " ") for index, part in enumerate(parts))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, paint: Paint = lambda column, cell: cell
) -> list[list[str]]:
    """Given names of columns and rows of cells, return the head's lines, then each row's; no head where rows are lines.

    Any name may stand in a cell. paint: what colours a cell; it must not change how wide it is on the terminal.
    """
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *clean, strict=True)]
    before = sum(widths[:-1]) + len(GAP) * len(widths)
    if width is not None and before + widths[-1] > width and (width < NARROW or width - before < ROOM):
        return [[], *(_stacked(columns, row, width, paint) for row in clean)]
    return [_aligned(columns, columns, widths, width, lambda _, cell: cell)] + [
        _aligned(columns, row, widths, width, paint) for row in clean
    ]


def _aligned(
    columns: Sequence[str], row: Sequence[str], widths: Sequence[int], width: int | None, paint: Paint
) -> list[str]:
    """The last cell is broken into several lines below one another."""
    *others, (_, last) = zip(columns, row, strict=True)
    padded = (
        paint(name, cell) + " " * (columns - len(cell)) for (name, cell), columns in zip(others, widths, strict=False)
    )
    indent = sum(widths[:-1]) + len(GAP) * len(widths)
    first, *more = wrapped(last, None if width is None else width - indent)
    begun = GAP + "".join(f"{cell}{GAP}" for cell in padded) + paint(columns[-1], first)
    return [begun.rstrip(), *(" " * indent + paint(columns[-1], line) for line in more)]


def _stacked(columns: Sequence[str], row: Sequence[str], width: int, paint: Paint) -> list[str]:
    named = [
        cell if column in NAMED_BY_ITSELF or cell.startswith(column) else f"{column} {cell}"
        for column, cell in zip(columns, row, strict=True)
        if cell
    ]
    lines = wrapped(named[0], width, GAP, GAP * 2)
    rest = wrapped(", ".join(named[1:]), width, GAP * 2) if named[1:] else []
    head = paint(columns[0], lines[0].lstrip())
    return [GAP + head, *lines[1:], *rest]
