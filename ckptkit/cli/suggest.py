"""What a person meant who mistyped a verb, a flag or a choice. Loaded when there is a fault to tell."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What other tools call it.
OTHER_WORDS = {
    "prune": ("purge", "rotate", "gc", "clean", "cleanup", "sweep", "delete"),
    "discard": ("rm", "remove"),
    "verify": ("check", "validate", "fsck", "explain"),
    "diskreport": ("report", "status", "df", "du", "ls", "list", "disk"),
    "recover": ("resume", "fix", "repair", "rescue"),
    "latest": ("last", "newest", "best"),
    "monitor": ("watch",),
    "strip": ("slim", "shrink"),
    "preflight": ("doctor",),
    "pin": ("keep", "protect"),
}

ALONE = {"--version": ("v", "version"), "--help": ("h", "usage")}  # flags that need no verb


def close(typed: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant, or ""."""
    matches = get_close_matches(typed.lower(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def verb(typed: str, known: Iterable[str]) -> str:
    """The verb that was meant, or "": another tool's word for it counts."""
    known = list(known)
    for name, others in OTHER_WORDS.items():
        if typed.lower() in others and name in known:
            return name
    return close(typed, known)


def first(typed: str, verbs: Iterable[str]) -> str:
    """What the first word of all meant, a verb or a flag that needs none, or ""."""
    word = typed.lstrip("-").lower()
    for flag, others in ALONE.items():
        if word in others:
            return flag
    matches = get_close_matches(f"--{word}", list(ALONE), n=1, cutoff=0.75) if typed[0] == "-" else ()
    return matches[0] if matches else verb(word, [*verbs, "help"])


def flag(typed: str, known: Iterable[str]) -> str:
    """The flag that was meant, or "". typed: with or without `=VALUE`, with one dash or underscores."""
    long = [name for name in known if name.startswith("--")]
    name = "--" + typed.split("=", 1)[0].strip("-").replace("_", "-")
    starting = [flag for flag in long if flag.startswith(name)]
    if name in long or len(starting) == 1:
        return name if name in long else starting[0]
    return close(name, long)


def ask(meant: str) -> str:
    """` (did you mean WORD?)`, or nothing."""
    return f" (did you mean {meant}?)" if meant else ""
