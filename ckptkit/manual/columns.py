"""Text that fits a number of columns: no word is folded, and what is to be copied can be pasted."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEFT = 26  # columns of the left one of two texts
RIGHT = 30  # columns that the right one needs at least
WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")  # of a shell command


def filled(text: str, columns: int, indent: str = "") -> str:
    """The text in lines of at most so many columns. A word that is longer has a line of its own.

    indent: what each line begins with.
    """
    return textwrap.fill(
        text, columns, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def listed(pairs: Iterable[tuple[str, str]], columns: int, left: int = LEFT) -> str:
    """Lines of a term and its text; below one another where there is no room for both. left: columns of the term."""
    return "\n".join(_entry(term, text, columns, left) for term, text in pairs)


def _entry(term: str, text: str, columns: int, left: int) -> str:
    if not text:
        return f"  {term}"
    if columns - left < RIGHT:
        return f"  {term}\n{filled(text, columns, ' ' * 6)}"
    beside = filled(text, columns, " " * left)
    if len(term) > left - 4:
        return f"{folded(term, columns, '  ', mark='')}\n{beside}"
    return f"  {term:<{left - 2}}{beside[left:]}"


def commands(pairs: Sequence[tuple[str, str]], columns: int) -> str:
    """Commands, each with its comment beside it; below it if one of them would not fit."""
    with_comment = [(command, comment) for command, comment in pairs if comment]
    left = max((len(command) for command, _ in with_comment), default=0) + 4
    if all(left + len(comment) <= columns for _, comment in with_comment):
        return "\n".join(
            f"  {command:<{left - 2}}{comment}" if comment else folded(command, columns) for command, comment in pairs
        )
    return "\n".join(
        "\n".join(filter(None, (folded(command, columns), filled(comment, columns, " " * 6) if comment else "")))
        for command, comment in pairs
    )


def folded(command: str, columns: int, indent: str = "  ", mark: str = " \\") -> str:
    """A command in as many lines as it takes, joined as a shell joins them; a word stays whole.

    columns: of a line. indent: what each begins with. mark: what each but the last ends in.
    """
    lines = [""]
    for word in WORD.findall(command):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and len(indent) + len(longer) + len(mark) > columns:
            lines.append(f"  {word}")
        else:
            lines[-1] = longer
    return f"{mark}\n".join(indent + line for line in lines)
