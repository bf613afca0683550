"""The help of a verb, and the list of verbs, for a terminal so many columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.manual.columns import commands, filled, folded, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptkit.manual.verb_facts import VerbPage


def usage(page: VerbPage, columns: int) -> str:
    """The one line above all others. columns: of the terminal, as in all of this file."""
    words = " ".join([page.command, *(flag.value for flag in page.arguments), "[FLAGS]"])
    return folded(f"usage: {words}", columns, indent="", mark="")


def text(page: VerbPage, columns: int) -> str:
    """The whole help of a verb: what it is, commands to copy, then each flag."""
    parts = [usage(page, columns), filled(page.description, columns)]
    if page.examples:
        parts.append("examples:\n" + commands(page.examples, columns))
    if page.arguments:
        parts.append("arguments:\n" + listed(((flag.value, flag.help) for flag in page.arguments), columns))
    for group in page.groups:
        title = filled(f"{group.title}:", columns)
        parts.append(f"{title}\n" + listed(((flag.spelled, flag.help) for flag in group.flags), columns))
    parts.append("exit codes:\n" + listed(((str(code), what) for code, what in page.exits), columns, left=7))
    return "\n\n".join(parts)


def overview(
    program: str,
    groups: Mapping[str, Iterable[str]],
    verbs: Mapping[str, str],
    lines: Sequence[tuple[str, str]],
    columns: int,
) -> str:
    """All verbs by when one needs them, and the lines to know.

    program: what a verb follows, as the person calls it. verbs: {verb: half a line on it}.
    groups: {when: verbs}, of which those that are not in `verbs` are left out. lines: (command, what it is for).
    """
    parts = [folded(f"usage: {program} VERB [FLAGS]", columns, indent="", mark="")]
    for when, names in groups.items():
        known = [(name, verbs[name]) for name in names if name in verbs]
        if known:
            parts.append(f"{when}:\n" + listed(known, columns, left=14))
    parts.append(commands([(f"{program} VERB --help", "flags, examples and exit codes of a verb")], columns))
    parts.append("three lines to know:\n" + commands(lines, columns))
    return "\n\n".join(parts)
