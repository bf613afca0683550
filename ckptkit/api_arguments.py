"""Arguments of the public functions, checked before anything is done: a wrong one is a UsageError that names it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from ckptkit import arguments
from ckptkit.config import parse_trust
from ckptkit.errors import UsageError
from ckptkit.ops.read import rules_for, trust_for
from ckptkit.policy.rules import Rules, parse_argument, parse_target

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Level

LEVELS: tuple[Level, ...] = ("quick", "full", "deep")
SECONDS = "must be a number of seconds, 0 or more"
PATH = "must be a path: text or an os.PathLike such as pathlib.Path, not empty"


def path_of(name: str, value: Any) -> str:
    """Return a path as text. Raises UsageError, which names the argument."""
    try:
        path = os.fspath(value)
        os.fsencode(path)  # half of a surrogate pair is no name
    except (TypeError, UnicodeEncodeError):
        raise arguments.wrong(name, value, PATH) from None
    if not isinstance(path, str) or not path or "\0" in path:
        raise arguments.wrong(name, value, PATH)
    return path


def paths_of(name: str, value: object) -> list[str]:
    """Return several paths as text. Raises UsageError.

    Text is one path: as a sequence of letters, "RUN" would name R, U and N.
    """
    if isinstance(value, (str, os.PathLike)):
        return [path_of(name, value)]
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray, memoryview)) or not value:
        raise arguments.wrong(name, value, "must be a path, or a sequence with at least one")
    return [path_of(f"{name}[{at}]", one) for at, one in enumerate(value)]


def trust_of(run: str, patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the patterns that were given, or what the run's settings say."""
    return trust_for(run, ()) if patterns is None else patterns


def patterns_of(value: object) -> tuple[str, ...] | None:
    """Return the patterns that pickles may name, None for the run's own. Raises UsageError."""
    must = 'must be a list of patterns, such as ["my_package.*"], or None for the run\'s settings'
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray, memoryview)):
        raise arguments.wrong("trust", value, must)
    if not all(isinstance(pattern, str) for pattern in value):
        raise arguments.wrong("trust", value, must)
    try:
        return tuple(pattern for text in value for pattern in parse_trust(text))
    except ValueError:
        raise arguments.wrong("trust", value, must) from None


def level_of(value: object) -> Level:
    """Return one of LEVELS. Raises UsageError."""
    return arguments.one_of("level", value, LEVELS)


class ActingArguments(TypedDict):
    """What each verb that deletes takes. lock_timeout: seconds to wait for another sweep."""

    dry_run: bool
    yes: bool
    lock_timeout: float


def acting_of(dry_run: object, yes: object, lock_timeout: object) -> ActingArguments:
    """Return the checked arguments of what deletes. Raises UsageError."""
    return {
        "dry_run": arguments.switch("dry_run", dry_run),
        "yes": arguments.switch("yes", yes),
        "lock_timeout": arguments.number("lock_timeout", lock_timeout, SECONDS),
    }


def require_rules(value: object) -> Rules:
    """Return the rules, if that is what they are. Raises UsageError."""
    if not isinstance(value, Rules):
        raise arguments.wrong("rules", value, "must be a ckptkit.Rules, as in ckptkit.Rules(keep_last=2)")
    return value


def rules_of(run: str, rules: object, asked: Mapping[str, Any]) -> Rules:
    """Return the rules that were given, or the run's settings with what was asked for in front. Raises UsageError."""
    both = [name for name, value in asked.items() if value is not None]
    if rules is None:
        _require_meant(asked)
        return rules_for(run, {}, asked=asked)
    if both:
        raise UsageError(f"rules and {', '.join(both)}: give one or the other, as in rules=Rules({both[0]}=...)")
    return require_rules(rules)


def _require_meant(asked: Mapping[str, Any]) -> None:
    """Before the run is looked at; a share of a volume is parsed alone, since no volume is known yet."""
    target = asked.get("free_target")
    if isinstance(target, str):
        parse_argument("free_target", target, parse_target)
        asked = {**asked, "free_target": None}
    Rules(**asked)
