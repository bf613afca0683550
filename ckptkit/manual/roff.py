"""Man pages (groff's man macros), from the same facts as the help."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptkit.manual.verb_facts import Option, VerbPage

KEEPS = "Keeps fine-tuning runs alive on small disks: deletes only what the rules release, resumes from what is intact."


def verb_page(page: VerbPage, version: str, verbs: Iterable[str]) -> str:
    """The page ckptkit-VERB(1). version: ours. verbs: all of them, for SEE ALSO."""
    name = f"ckptkit-{page.verb}"
    lines = [*_head(name, version, page.summary), ".SH SYNOPSIS", ".B " + _text(page.command)]
    lines += [f".I {_text(flag.value)}" for flag in page.arguments]
    lines += [".RI [ FLAGS ]", ".SH DESCRIPTION", _filled(page.description), *_section("arguments", page.arguments)]
    for group in page.groups:
        lines += _section(group.title, group.flags)
    lines += [".SH EXAMPLES", *_commands(page.examples), ".SH EXIT STATUS"]
    for code, what in page.exits:
        lines += [".TP", f".B {code}", _filled(what)]
    others = ["ckptkit", *(f"ckptkit-{verb}" for verb in verbs if verb != page.verb)]
    return _page([*lines, *_see_also(others)])


def main_page(
    groups: Mapping[str, Iterable[str]], verbs: Mapping[str, str], lines: Sequence[tuple[str, str]], version: str
) -> str:
    """The page ckptkit(1): all verbs by when one needs them, and the lines to know.

    groups: {when: verbs}. verbs: {verb: half a line on it}. lines: (command, what it is for). version: ours.
    """
    page = [*_head("ckptkit", version, "keep fine-tuning runs alive on small disks")]
    page += [".SH SYNOPSIS", ".B ckptkit", ".I VERB", ".RI [ FLAGS ]", ".SH DESCRIPTION", _filled(KEEPS), ".SH VERBS"]
    for when, names in groups.items():
        known = [name for name in names if name in verbs]
        page += [".SS " + _text(when)] if known else []
        for name in known:
            page += [".TP", f".B {_text(name)}", _filled(verbs[name])]
    page += [".SH EXAMPLES", *_commands(lines)]
    return _page([*page, *_see_also([f"ckptkit-{verb}" for verb in verbs])])


def _head(name: str, version: str, summary: str) -> list[str]:
    """The title line has no date: the same sources make the same page."""
    title = f'.TH {name.upper()} 1 "" "ckptkit {version}" "User Commands"'
    return [title, ".SH NAME", _filled(f"{name} - {summary}")]


def _section(title: str, flags: Sequence[Option]) -> list[str]:
    """Flags below a title; what it says in brackets is a sentence of its own."""
    name, bracket, rest = title.partition(" (")
    lines = [f".SH {_text(name.upper())}", *([_filled(bracket.strip() + rest)] if rest else [])] if flags else []
    for flag in flags:
        names = ", ".join(rf"\fB{_text(name)}\fR" for name in flag.names)
        value = rf"\fI{_text(flag.value)}\fR" if flag.value else ""
        lines += [".TP", f"{names} {value}".strip(), _filled(flag.help)]
    return lines


def _commands(pairs: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for command, comment in pairs:
        lines += (
            [".TP", rf"\fB{_text(command)}\fR", _filled(comment)] if comment else [".PP", rf"\fB{_text(command)}\fR"]
        )
    return lines[1:] if lines and lines[0] == ".PP" else lines


def _see_also(names: Sequence[str]) -> list[str]:
    last = len(names) - 1
    return [".SH SEE ALSO", *(f".BR {_text(name)} (1){'' if at == last else ','}" for at, name in enumerate(names))]


MARKS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga"}


def _text(text: str) -> str:
    """With nothing in it that roff takes for its own: a backslash, a dash that must stay one, a leading dot."""
    text = "".join(MARKS.get(mark, mark) for mark in text)
    return rf"\&{text}" if text.startswith(".") else text


def _filled(text: str) -> str:
    """A paragraph, in lines as a page's source has them."""
    lines = textwrap.wrap(_text(text), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(rf"\&{line}" if line.startswith(".") else line for line in lines)


def _page(lines: Iterable[str]) -> str:
    return "\n".join(line for line in lines if line) + "\n"
