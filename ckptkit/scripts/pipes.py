"""What the commands of a pipe list, and in which order: ls, find, sort, head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from ckptkit.scripts import words
from ckptkit.scripts.names import hint_of, listing_of, opposite, refined
from ckptkit.scripts.value import LISTED, LISTING, NAMES, NOTHING, NUMBERS, OTHER, TIMES, Value, join, picked, sorted_by

if TYPE_CHECKING:
    from ckptkit.scripts.value import Measure


class Reader(Protocol):
    """What knows of a script's variables."""

    def value(self, text: str) -> Value:
        """What words come to."""

    def matching(self, pattern: str) -> Value:
        """What a pattern matches."""


PRINTS_TIMES = re.compile(r"%T@|%T\+|%[YZXWC@]\b|--time")
PASSES = ("echo", "printf", "cat", "compgen", "stat", "du", "basename", "readlink", "realpath", "tac", "tee")


def stage_of(stage: str, script: Reader) -> Value:
    """What a command prints that begins a pipe."""
    first, *arguments = words.split(stage)
    name = words.unquoted(first).rpartition("/")[2]
    if name == "ls":
        return _ls(arguments, script)
    if name == "find":
        return _find([words.unquoted(word) for word in arguments])
    if name not in PASSES:
        return NOTHING
    value = script.value(" ".join(arguments))
    return value._replace(depth=1, measure=TIMES if PRINTS_TIMES.search(stage) else value.measure)


def _ls(arguments: list[str], script: Reader) -> Value:
    flags = "".join(word[1:] for word in arguments if re.match(r"-\w", word))
    targets = [word for word in arguments if not word.startswith("-") and not re.match(r"\d?>", word)]
    paths = [word for word in targets if word != "/dev/null"]
    value = join([shown for shown in map(script.value, paths) if shown.listed])
    if not value.listed:
        at = words.unquoted(paths[0]).rstrip("/") if paths else "."
        value = script.matching(f"{at}/*")
    if "t" in flags or "--sort=time" in arguments:
        return sorted_by(value, TIMES)
    if "v" in flags or "--sort=version" in arguments:
        return sorted_by(value, NUMBERS)
    if "S" in flags or "X" in flags:
        return sorted_by(value, OTHER)
    return value._replace(depth=1, order=frozenset()) if "U" in flags or "f" in flags else sorted_by(value, NAMES)


def _find(arguments: list[str]) -> Value:
    """Where no name is asked for, it is all that lies there."""
    value = Value(source=LISTED, depth=1, text="/".join(arguments[:1]))
    for at, word in enumerate(arguments[:-1]):
        refuses = at > 0 and arguments[at - 1] in ("!", "-not")
        if word in ("-name", "-iname", "-path", "-wholename", "-regex"):
            hint = hint_of(arguments[at + 1])
            value = value._replace(
                source=refined(value.source, opposite(hint) if refuses else hint), text=arguments[at + 1]
            )
        elif word in ("-mtime", "-mmin", "-ctime", "-cmin", "-newer", "-amin", "-atime"):
            value = value._replace(picks=value.picks | {TIMES})
        elif word == "-printf" and PRINTS_TIMES.search(arguments[at + 1]):
            value = value._replace(measure=TIMES)
    if value.source == LISTED and arguments and not arguments[0].startswith("-"):
        return value._replace(source=listing_of(f"{arguments[0].rstrip('/')}/*"))
    return value


def sorted_as(value: Value, stage: str) -> Value:
    """What is left of lines, and in which order, after a stage that sorts, cuts or chooses."""
    name = words.unquoted(stage.split()[0])
    if name == "sort":
        return sorted_by(value, order) if (order := _order(value, stage)) else value._replace(order=frozenset())
    if name == "shuf":
        return value._replace(order=frozenset())
    if name in ("head", "tail") or (name == "awk" and "NR" in stage) or (name == "sed" and _cuts_lines(stage)):
        return picked(value) if value.order else value._replace(picks=value.picks | {LISTING})
    if name in ("sed", "awk", "cut", "tr", "perl", "grep", "xargs", "while", "rev"):
        return value._replace(measure=value.measure or NUMBERS)  # a number may stand first now
    return value


def _cuts_lines(stage: str) -> bool:
    return bool(re.search(r"['\"\s][\d$][\d,$]*\s*[dpq]['\"\s]|\s-n\s", f"{stage} "))


def _order(value: Value, stage: str) -> Measure:
    """How `sort` sorts, "" if it shuffles.

    `-n` reads a number where a line begins: with `checkpoint-9` there, the text decides.
    """
    arguments = " ".join(words.unquoted(word) for word in words.split(stage)[1:])
    flags = "".join(re.findall(r"(?:^|\s)-([a-zA-Z]+)", arguments))
    key = re.search(r"-\w*k\s*(\d+)[.,\d]*([a-zA-Z]*)", arguments)
    flags += key[2] if key else ""
    if "R" in flags or "random" in arguments:
        return ""
    if "V" in flags or "version-sort" in arguments:
        return NUMBERS
    if re.search("[ngh]", flags) or "numeric-sort" in arguments:
        return value.measure or (NUMBERS if key and _is_number(value, arguments, int(key[1])) else NAMES)
    return TIMES if value.measure == TIMES else NAMES


def _is_number(value: Value, arguments: str, field: int) -> bool:
    """Whether that field of the line is the step: `-t-` also cuts where the directory's own name has a dash."""
    mark = re.search(r"-\w*t\s*(\S)", arguments)
    known = value.text if "*" in value.text and "$" not in value.text.partition("*")[0] else ""
    return not known or mark is None or known.partition("*")[0].count(mark[1]) + 1 == field
