"""The places of a shell script, or of a command in a Python script, that delete checkpoints. Nothing of it is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptkit.model.advice import Cleanup
from ckptkit.scripts import words
from ckptkit.scripts.names import hint_of, lies_in, listing_of, opposite, refined
from ckptkit.scripts.pipes import sorted_as, stage_of
from ckptkit.scripts.value import (
    ALL,
    CHECKPOINTS,
    CLOSE,
    LISTING,
    NAMES,
    NOTHING,
    NUMBERS,
    OPEN,
    OUTPUT,
    TIMES,
    WORST_FIRST,
    Order,
    Value,
    item,
    join,
    picked,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

READS = re.compile(r"while\s+.*?\bread\s+(?:-\w+\s+)*(\w+)")
MOST_IN_A_LOOP = 500
DEEPEST = 20  # of `$(...)` in one another
ASSIGNED = re.compile(r"^(?:local |export |declare (?:-\w+ )*|readonly )?(\w+)(\+?)=(.*)$", re.DOTALL)
VARIABLE = re.compile(r"\$(?:(\w+)|\{([#!]?)(\w+)([^{}]*)\})")
RECKONED = re.compile(r"(?i)(checkpoint|ckpt|global_step)[-_]?\$\(\(")
ONE_OF_THEM = re.compile(r"(?i)(checkpoint|ckpt|global_step)[-_]?(\{\}|%)")  # xargs -I{} rm -rf checkpoint-{}
RM = re.compile(r"(?:^|[\s'\"(\\/;])rm\s|\bunlink\s")
COMPARES = re.compile(r"-(lt|le|gt|ge|eq|ne)\b|[<>]=?")


def places(text: str) -> tuple[Cleanup, ...]:
    """Given a script, return where it deletes checkpoints and by which order, by line."""
    return tuple(Cleanup(line, order, False) for line, order in sorted(orders_by_line(text).items()))


def orders_by_line(text: str) -> dict[int, Order]:
    """Given a script, return {line in which it deletes checkpoints: the worst order by which it chooses them}."""
    orders: dict[int, Order] = {}
    script, every = ShellReader(), list(words.commands(text))
    for at, command in enumerate(every):
        reads = READS.match(command.stages[0])
        for order in script.feed(reads[1], _fed_by(every, at)) if reads else script.read(command.stages):
            held = orders.get(command.line, ALL)
            orders[command.line] = min(held, order, key=WORST_FIRST.index)
    return orders


def from_python(text: str) -> str:
    """Given a command as Python makes it, return it with what is not known as the shell's variables."""
    return re.sub(f"{OPEN}([^{CLOSE}]*){CLOSE}", lambda name: "$" + re.sub(r"\W+", "_", name[1]).strip("_"), text)


def is_rm(command: str) -> bool:
    """Whether a command removes what it names."""
    return bool(RM.search(f" {command} "))


def _fed_by(commands: Sequence[words.Pipeline], at: int) -> str:
    """What a loop reads that no pipe leads to: it stands behind its `done`."""
    depth = 0
    for command in commands[at : at + MOST_IN_A_LOOP]:
        stage = command.stages[0]
        depth += bool(re.match(r"(for|while|until|select)\b", command.stages[-1])) - bool(re.match(r"done\b", stage))
        if depth <= 0:
            return stage.removeprefix("done").lstrip(" <")
    return ""


class ShellReader:
    """Reads a script's commands one after the other. names: what its variables hold; tests: what spares or chooses."""

    def __init__(self) -> None:
        self.names: dict[str, Value] = {}
        self.tests: frozenset[Order] = frozenset()
        self.depth = 0

    def read(self, stages: Sequence[str]) -> list[Order]:
        """Given the stages of a pipe, return by which order each of its deletions chooses."""
        first, orders = stages[0], list[Order]()
        bound = ASSIGNED.match(first)
        loop = re.match(r"(?:for|select)\s+(\w+)\s+in\s+(.*)", first, re.DOTALL)
        mapped = re.match(r"(?:mapfile|readarray)\b.*?(\w+)\s*<\s*(<\(.*|.*)$", first, re.DOTALL)
        if loop:
            self._loop(loop[1], self.value(loop[2]))
        elif mapped:
            self.names[mapped[1]] = self.value(mapped[2])
        elif bound and not _has_command(bound[3]):
            held = self.names.get(bound[1], NOTHING)
            self._assign(bound[1], bound[3])
            if bound[2]:
                self.names[bound[1]] = join([value for value in (held, self.names[bound[1]]) if value.listed])
        elif first.startswith(("[", "test ", "((", "case ", "break", "continue")):
            self._test(first)
        elif first == "done" or first.startswith(("done ", "done<")):
            self.tests = frozenset()
        else:
            orders += self._pipe(stages)
        return orders + (self._inside(first) if bound or loop else [])

    def _inside(self, text: str) -> list[Order]:
        """What the commands in `$(...)` delete."""
        self.depth += 1
        pieces = words.inner(text) if self.depth <= DEEPEST else []
        orders_of_each = [self.read(command.stages) for piece in pieces for command in words.commands(piece)]
        self.depth -= 1
        return [order for orders in orders_of_each for order in orders]

    def feed(self, name: str, text: str) -> list[Order]:
        """Bind what a loop reads from the words behind its end."""
        text = text.lstrip(" (") if text.startswith("(") else text
        self._loop(name, self._printed(text.rstrip(" )")) if text[:1].isalpha() else self.value(text))
        return []

    def _loop(self, name: str, through: Value) -> None:
        self.names[name] = item(through, 1)
        self.tests = frozenset()

    def _assign(self, name: str, text: str) -> None:
        value = self.value(text)
        if value.listed and re.search(r"##|grep\s+-\w*o|basename|\bsed\b|\bcut\b|\bawk\b|##\*|%%", text):
            value = value._replace(measure=value.measure or ("" if value.depth else NUMBERS))
        if re.search(r"-r\b|stat -c ?['\"]?%Y", text) and value.listed and "stat" in text:
            value = value._replace(measure=TIMES)
        reckons = text.lstrip("\"'").startswith("$((") and "-" in text
        self.names[name] = value._replace(picks=frozenset({NUMBERS}), hint="reckoned") if reckons else value

    def _test(self, text: str) -> None:
        """A condition chooses by what it compares; a place in a loop that is counted, by the loop's own order."""
        loops = [value for value in self.names.values() if value.root and value.listed]
        variables = [self.names[name] for name, _ in _variables(text) if name in self.names]
        picks = frozenset().union(*(value.picks for value in variables))
        if re.search(r"\s-(nt|ot)\s", text):
            picks |= {TIMES}
        elif COMPARES.search(text) or text.startswith("break"):
            measured = {value.measure for value in variables if value.listed and value.measure}
            as_listed: frozenset[Order] = frozenset({LISTING})
            counted = (loops[-1].order or as_listed) if loops else frozenset[Order]()
            picks |= measured or picks or counted
        self.tests |= picks

    # --- values -----------------------------------------------------------------------------------------------------

    def value(self, text: str) -> Value:
        """Given words, return what they come to: what a pipe in them prints, what a variable holds, what matches."""
        inside = [self._printed(piece) for piece in words.inner(text)]
        if inside:
            return join(inside)
        held = [self._variable(name, how) for name, how in _variables(text)]
        known = [] if lies_in(VARIABLE.split(text)[-1]) else [value for value in held if value.listed]
        if RECKONED.search(text) or any(value.hint == "reckoned" and hint_of(text) == "checkpoint" for value in held):
            return Value(source=CHECKPOINTS, picks=frozenset({NUMBERS}))
        if known:
            return join(known)
        matches = [word for word in map(words.unquoted, words.split(text.strip("()"))) if re.search(r"[*?]", word)]
        return join([self.matching(word) for word in matches])

    def matching(self, pattern: str) -> Value:
        """What a pattern matches; the shell sorts it by name."""
        return Value(text=pattern, source=listing_of(pattern), depth=1, order=frozenset({NAMES}))

    def _variable(self, name: str, how: str) -> Value:
        held = self.names.get(name, NOTHING)
        if held.depth and re.match(r"\[[@*]\]:|\[[^@*]", how):
            return picked(held)
        return held._replace(measure=held.measure or NUMBERS) if how.startswith("#") and held.listed else held

    def _printed(self, text: str) -> Value:
        """What a command prints."""
        if self.depth > DEEPEST:
            return NOTHING
        self.depth += 1
        printed = [self._through(command.stages) for command in words.commands(text)]
        self.depth -= 1
        return join([value for value in printed if value.listed])

    def _through(self, stages: Sequence[str]) -> Value:
        value = stage_of(stages[0], self)
        for stage in stages[1:]:
            value = self._stage(value, stage)
        return value

    def _stage(self, value: Value, stage: str) -> Value:
        """What is left of lines after one stage."""
        if re.match(r"(e|f)?grep\b", stage):
            arguments = words.split(stage)[1:]
            spared = self.value(" ".join(arguments))
            inverted = any(re.match(r"-\w*v", word) for word in arguments)
            if spared.picks and inverted:
                return value._replace(picks=value.picks | spared.picks)
            hint = hint_of(" ".join(word for word in arguments if not word.startswith(("-", '"$', "$"))))
            return value._replace(source=refined(value.source, opposite(hint) if inverted else hint))
        return sorted_as(value, stage)

    # --- deletions --------------------------------------------------------------------------------------------------

    def _pipe(self, stages: Sequence[str]) -> list[Order]:
        orders, value = list[Order](), NOTHING
        for number, stage in enumerate(stages):
            reads = READS.match(stage)
            if reads:
                self._loop(reads[1], value)
            elif re.match(r"(xargs|parallel)\b", stage) and RM.search(stage + " "):
                names_them = value.listed and ONE_OF_THEM.search(stage)
                orders += self._deleted(value._replace(source=CHECKPOINTS) if names_them else value)
            elif not number:
                orders += self._removes(stage)
                value = stage_of(stage, self)
            else:
                value = self._stage(value, stage)
        return orders

    def _removes(self, stage: str) -> list[Order]:
        """What one command deletes by itself: rm, or find."""
        first = words.unquoted(stage.split()[0]).rpartition("/")[2]
        if first == "find" and (
            " -delete" in stage or (re.search(r"-(exec|execdir|ok)\s", stage) and RM.search(stage))
        ):
            return self._deleted(stage_of(stage, self))
        if first not in ("rm", "unlink", "trash"):
            return []
        value = join([word_value for word_value in map(self.value, words.split(stage)[1:]) if word_value.listed])
        return self._deleted(value)

    def _deleted(self, value: Value) -> list[Order]:
        if value.source not in (CHECKPOINTS, OUTPUT) or (value.source == OUTPUT and not value.picks):
            return []
        return [worst(value.picks or (self.tests if value.root else ()))]


def _variables(text: str) -> list[tuple[str, str]]:
    """(name, what is made of it) of each variable in a text: `${#all[@]}` is ("all", "#[@]")."""
    return [(plain or name, sign + how) for plain, sign, name, how in VARIABLE.findall(text)]


def _has_command(text: str) -> bool:
    """Whether `NAME=value command` stands there, which binds nothing."""
    return len(words.split(text)) > 1 and not text.startswith("(")
