"""Flags in plain lines, each above the command that fixes it."""

from ckptkit.model.advice import Flag
from ckptkit.model.report import Box
from ckptkit.render.tables import wrapped
from ckptkit.units import printable

SIGNS = {"red": "RED", "yellow": "YELLOW", "green": "ok"}
SIGN = 7  # columns that the longest takes, and a blank


def flags(box: Box, width: int | None = None) -> str:
    """Given what was found, return its flags. width: columns of the terminal, None: no line is broken."""
    return "\n".join(line for raised in box.flags for line in flag(raised, width))


def flag(raised: Flag, width: int | None = None) -> list[str]:
    """Given a flag, return its lines. The command's is never broken, so that it can be pasted."""
    lines = wrapped(printable(raised.message), width, SIGNS[raised.level].ljust(SIGN))
    return [*lines, f"{' ' * SIGN}fix: {printable(raised.command)}"] if raised.command else lines
