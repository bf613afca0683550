"""Man pages (groff's man macros), from the same facts as the help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ckptkit.manual.facts import Flag, Page

KEEPS = "Keeps fine-tuning runs alive on small disks: deletes only what the rules release, resumes from what is intact."


def verb_page(page: Page, version: str, verbs: Iterable[str]) -> str:
    """The page ckptkit-VERB(1). verbs: all of them, for SEE ALSO."""
    name = f"ckptkit-{page.verb}"
    lines = [*_head(name, version, page.summary), ".SH SYNOPSIS", ".B " + _text(page.command)]
    lines += [f".I {_text(flag.value)}" for flag in page.arguments]
    lines += ['.RI [ FLAGS ]', ".SH DESCRIPTION", _text(page.description), *_entries(_section("ARGUMENTS", page.arguments))]
    for group in page.groups:
        lines += _entries(_section(group.title.upper(), group.flags))
    lines += [".SH EXAMPLES", *_commands(page.examples), ".SH EXIT STATUS"]
    for code, what in page.exits:
        lines += [".TP", f".B {code}", _text(what)]
    others = ["ckptkit", *(f"ckptkit-{verb}" for verb in verbs if verb != page.verb)]
    return _page([*lines, *_see_also(others)])


def main_page(
    groups: Mapping[str, Iterable[str]], verbs: Mapping[str, str], lines: Sequence[tuple[str, str]], version: str
) -> str:
    """The page ckptkit(1): all verbs by when one needs them, and the lines to know."""
    page = [*_head("ckptkit", version, "keep fine-tuning runs alive on small disks")]
    page += [".SH SYNOPSIS", ".B ckptkit", ".I VERB", ".RI [ FLAGS ]", ".SH DESCRIPTION", _text(KEEPS), ".SH VERBS"]
    for when, names in groups.items():
        known = [name for name in names if name in verbs]
        page += [".SS " + _text(when)] if known else []
        for name in known:
            page += [".TP", f".B {_text(name)}", _text(verbs[name])]
    page += [".SH EXAMPLES", *_commands(lines)]
    return _page([*page, *_see_also([f"ckptkit-{verb}" for verb in verbs])])


def _head(name: str, version: str, summary: str) -> list[str]:
    """The title line has no date: the same sources make the same page."""
    return [f'.TH {name.upper()} 1 "" "ckptkit {version}" "User Commands"', ".SH NAME", f"{_text(name)} \\- {_text(summary)}"]


def _section(title: str, flags: Sequence[Flag]) -> list[tuple[str, Flag | None]]:
    return [(title, None), *(("", flag) for flag in flags)] if flags else []


def _entries(section: Iterable[tuple[str, Flag | None]]) -> list[str]:
    lines = []
    for title, flag in section:
        if flag is None:
            lines.append(f'.SH "{_text(title)}"')
            continue
        names = ", ".join(rf"\fB{_text(name)}\fR" for name in flag.names)
        lines += [".TP", f"{names} \\fI{_text(flag.value)}\\fR".strip() if flag.value else names, _text(flag.help)]
    return lines


def _commands(pairs: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for command, comment in pairs:
        lines += [".TP", rf"\fB{_text(command)}\fR", _text(comment)] if comment else [".PP", rf"\fB{_text(command)}\fR"]
    return lines


def _see_also(names: Sequence[str]) -> list[str]:
    last = len(names) - 1
    return [".SH SEE ALSO", *(f".BR {_text(name)} (1){'' if at == last else ','}" for at, name in enumerate(names))]


def _text(text: str) -> str:
    """With nothing in it that roff takes for its own: a backslash, a dash that must stay one, a leading dot or quote."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq").replace("^", r"\(ha")
    text = text.replace("~", r"\(ti").replace("`", r"\(ga")
    return rf"\&{text}" if text.startswith(".") else text


def _page(lines: Iterable[str]) -> str:
    return "\n".join(line for line in lines if line) + "\n"
