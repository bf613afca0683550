"""preflight's page: one screen. What is well is short, what is not has its reason and its command."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ckptkit.model.advice import Check
from ckptkit.units import count, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = ("volume", "headroom", "resume", "config", "second-training", "watch", "session")  # also where they are well
INDENT = " " * 24  # of a message


def page(checks: Iterable[Check], columns: int | None = None) -> str:
    """Given checks, return a line each, but one for all that are well and say little.

    columns: of the terminal; no word is folded there. None: no line is.
    """
    checks = list(checks)
    short = [check.code for check in checks if check.state == "go" and check.code not in SHOWN]
    lines = [line for check in checks if check.state == "go" and check.code in SHOWN for line in _lines(check, columns)]
    if short:
        also = Check("go", "also", f"{', '.join(dict.fromkeys(short))} (-v says more)")
        lines += _lines(also, columns)
    for state in ("warn", "no-go"):
        for check in checks:
            lines += _lines(check, columns) if check.state == state else []
    return "\n".join(lines)


def verdict(checks: Iterable[Check]) -> str:
    """Given checks, return the last line: go or no-go, and how many things are in the way."""
    states = [check.state for check in checks]
    if against := states.count("no-go"):
        return f"no-go: {count(against, 'thing')} in the way"
    look = states.count("warn")
    return f"go: {count(look, 'thing')} to look at" if look else "go"


def _lines(check: Check, columns: int | None) -> list[str]:
    text = f"{check.state:<6} {check.code:<16} {printable(check.message)}"
    width = max(columns or 0, 40)
    indent = INDENT if width >= 60 else INDENT[:7]
    lines = [text] if columns is None else _wrapped(text, width, indent)
    if check.state != "go" and check.command:
        lines.append(f"       fix: {printable(check.command)}")  # whole, so that it can be pasted
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
