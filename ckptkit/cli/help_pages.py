"""What `--help`, man pages and completions are made from, and how wide the page is. Loaded when one is asked for."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit import calling
from ckptkit.cli.verbs import VERBS, load
from ckptkit.manual import page
from ckptkit.manual.verb_facts import Example, Group, Option, VerbPage, examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ckptkit.cli.verbs import VerbParser

NARROWEST, WIDEST, PIPE = 40, 110, 80  # columns
GROUPS = {
    "it died, or the disk is full": ("recover", "latest", "verify", "diskreport"),
    "before a training": ("preflight", "plan"),
    "while it trains": ("monitor", "cron"),
    "what is kept": ("prune", "strip", "compact", "pin", "unpin", "discard"),
    "elsewhere": ("move", "offload", "restore"),
    "this command line": ("completion",),
}
LINES = (
    ("{recover} RUN", "it died, or the disk is full: what to free, what to resume"),
    ("{prune} RUN --dry-run", "what would be deleted, and why; touches nothing"),
    ("ckptkit.guard(trainer)", "the line in a training script that prevents it"),
)


def columns() -> int:
    """How wide the page is: COLUMNS, else the terminal's width, else 80; between 40 and 110."""
    wide = 0
    with suppress(ValueError):
        wide = int(os.environ.get("COLUMNS", ""))
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        if wide > 0:
            break
        with suppress(AttributeError, OSError, ValueError):  # closed, or no terminal
            wide = os.get_terminal_size(stream.fileno()).columns
    return min(max(wide if wide > 0 else PIPE, NARROWEST), WIDEST)


def overview(verbs: Mapping[str, str]) -> str:
    """The page of `ckptkit --help`."""
    return page.overview(calling.program(), GROUPS, verbs, lines(verbs), columns())


def lines(verbs: Iterable[str]) -> tuple[Example, ...]:
    """The three lines to know, as the person calls us."""
    return tuple(Example(as_called(command, verbs), comment) for command, comment in LINES)


def as_called(command: str, verbs: Iterable[str]) -> str:
    """The command with each {verb} as the person calls it."""
    for verb in verbs:
        if f"{{{verb}}}" in command:
            command = command.replace(f"{{{verb}}}", calling.command(verb))
    return command


def facts(parser: VerbParser) -> VerbPage:
    """What a verb's parser knows, as the pages tell it."""
    groups = [Group(_title(group), _flags(group, True)) for group in _ordered(parser)]
    return VerbPage(
        verb=parser.verb,
        command=calling.command(parser.verb),
        summary=VERBS[parser.verb],
        description=" ".join((parser.description or "").split()),
        arguments=tuple(flag for group in _ordered(parser) for flag in _flags(group, False)),
        groups=tuple(group for group in groups if group.flags),
        examples=tuple(Example(as_called(e.command, VERBS), e.comment) for e in examples(parser.examples)),
        exits=parser.exits,
    )


def _ordered(parser: VerbParser) -> list[argparse._ArgumentGroup]:
    """The groups of a parser, those flags that all verbs take last."""
    return sorted(parser._action_groups, key=lambda group: group is parser.common)


def _title(group: argparse._ArgumentGroup) -> str:
    return {"options": "flags"}.get(group.title or "", group.title or "")


def _flags(group: argparse._ArgumentGroup, flags: bool) -> tuple[Option, ...]:
    """The flags of a group, or its arguments."""
    actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
    return tuple(_flag(action) for action in actions if bool(action.option_strings) is flags)


def _flag(action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices or ()))
    known = {"default": action.default, "prog": "", "type": "", "choices": ", ".join(choices)}
    return Option(tuple(action.option_strings), _value(action, choices), choices, (action.help or "") % known)


def _value(action: argparse.Action, choices: tuple[str, ...]) -> str:
    """What follows a flag, or an argument's own name, with what may be left out in brackets."""
    one = str(action.metavar or "|".join(choices) or action.dest.upper())
    forms = {"?": f"[{one}]", "*": f"[{one} ...]", "+": f"{one} [{one} ...]"}
    return "" if action.nargs == 0 else forms.get(str(action.nargs), one)


def pages() -> list[VerbPage]:
    """The facts of every verb, each with its own module loaded."""
    return [facts(load(verb).parser(verb)) for verb in VERBS]


def shared() -> dict[str, str]:
    """{path below a prefix's share/: text} of what an installation puts there: man pages and completions."""
    from ckptkit.manual import roff, shells
    from ckptkit.version import __version__

    calling.spelled("ckptkit")  # not as the build calls us
    all_pages = pages()
    files = {
        "man/man1/ckptkit.1": roff.main_page(GROUPS, VERBS, lines(VERBS), __version__),
        "bash-completion/completions/ckptkit": shells.script("bash", all_pages, VERBS),
        "zsh/site-functions/_ckptkit": shells.script("zsh", all_pages, VERBS),
        "fish/vendor_completions.d/ckptkit.fish": shells.script("fish", all_pages, VERBS),
    }
    return files | {f"man/man1/ckptkit-{p.verb}.1": roff.verb_page(p, __version__, VERBS) for p in all_pages}
