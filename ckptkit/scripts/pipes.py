"""What the commands of a pipe list, and in which order: ls, find, sort, head."""

from __future__ import annotations

import re
from typing import Protocol

from ckptkit.scripts import words
from ckptkit.scripts.names import hint_of, listing_of, opposite, refined
from ckptkit.scripts.value import LISTED, LISTING, NAMES, NOTHING, NUMBERS, OTHER, TIMES, Value, join, picked, sorted_by


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
    first, *given = words.split(stage)
    name = words.unquoted(first).rpartition("/")[2]
    if name == "ls":
        return _ls(given, script)
    if name == "find":
        return _find([words.unquoted(word) for word in given], script)
    if name not in PASSES:
        return NOTHING
    made = script.value(" ".join(given))
    return made._replace(depth=1, measure=TIMES if PRINTS_TIMES.search(stage) else made.measure)


def _ls(given: list[str], script: Reader) -> Value:
    flags = "".join(word[1:] for word in given if re.match(r"-\w", word))
    paths = [word for word in given if not word.startswith("-") and not re.match(r"\d?>", word) and word != "/dev/null"]
    shown = [script.value(path) for path in paths]
    made = join([one for one in shown if one.listed])
    if not made.listed:
        at = words.unquoted(paths[0]).rstrip("/") if paths else "."
        made = script.matching(f"{at}/*")
    if "t" in flags or "--sort=time" in given:
        return sorted_by(made, TIMES)
    if "v" in flags or "--sort=version" in given:
        return sorted_by(made, NUMBERS)
    if "S" in flags or "X" in flags:
        return sorted_by(made, OTHER)
    return made._replace(depth=1, order=frozenset()) if "U" in flags or "f" in flags else sorted_by(made, NAMES)


def _find(given: list[str], script: Reader) -> Value:
    """Where no name is asked for, it is all that lies there."""
    made = Value(source=LISTED, depth=1, text="/".join(given[:1]))
    for at, word in enumerate(given[:-1]):
        refuses = at > 0 and given[at - 1] in ("!", "-not")
        if word in ("-name", "-iname", "-path", "-wholename", "-regex"):
            hint = hint_of(given[at + 1])
            made = made._replace(source=refined(made.source, opposite(hint) if refuses else hint), text=given[at + 1])
        elif word in ("-mtime", "-mmin", "-ctime", "-cmin", "-newer", "-amin", "-atime"):
            made = made._replace(picks=made.picks | {TIMES})
        elif word == "-printf" and PRINTS_TIMES.search(given[at + 1]):
            made = made._replace(measure=TIMES)
    if made.source == LISTED and given and not given[0].startswith("-"):
        return made._replace(source=listing_of(f"{given[0].rstrip('/')}/*"))
    return made


def sorted_as(made: Value, stage: str) -> Value:
    """What is left of lines, and in which order, after a stage that sorts, cuts or chooses."""
    name = words.unquoted(stage.split()[0])
    if name == "sort":
        return sorted_by(made, order) if (order := _order(made, stage)) else made._replace(order=frozenset())
    if name == "shuf":
        return made._replace(order=frozenset())
    if name in ("head", "tail") or (name == "awk" and "NR" in stage) or (name == "sed" and _cuts_lines(stage)):
        return picked(made) if made.order else made._replace(picks=made.picks | {LISTING})
    if name in ("sed", "awk", "cut", "tr", "perl", "grep", "xargs", "while", "rev"):
        return made._replace(measure=made.measure or NUMBERS)  # a number may stand first now
    return made


def _cuts_lines(stage: str) -> bool:
    return bool(re.search(r"['\"\s][\d$][\d,$]*\s*[dpq]['\"\s]|\s-n\s", f"{stage} "))


def _order(made: Value, stage: str) -> str:
    """How `sort` sorts. `-n` reads a number where a line begins: with `checkpoint-9` there, the text decides."""
    given = " ".join(words.unquoted(word) for word in words.split(stage)[1:])
    flags = "".join(re.findall(r"(?:^|\s)-([a-zA-Z]+)", given))
    key = re.search(r"-\w*k\s*(\d+)[.,\d]*([a-zA-Z]*)", given)
    flags += key[2] if key else ""
    if "R" in flags or "random" in given:
        return ""
    if "V" in flags or "version-sort" in given:
        return NUMBERS
    if re.search("[ngh]", flags) or "numeric-sort" in given:
        return made.measure or (NUMBERS if key and _is_number(made, given, int(key[1])) else NAMES)
    return TIMES if made.measure == TIMES else NAMES


def _is_number(made: Value, given: str, field: int) -> bool:
    """Whether that field of the line is the step: `-t-` also cuts where the directory's own name has a dash."""
    mark = re.search(r"-\w*t\s*(\S)", given)
    known = made.text if "*" in made.text and "$" not in made.text.partition("*")[0] else ""
    return not known or mark is None or known.partition("*")[0].count(mark[1]) + 1 == field
