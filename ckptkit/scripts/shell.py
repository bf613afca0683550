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
    found: dict[int, str] = {}
    script, every = ShellReader(), list(words.commands(text))
    for at, command in enumerate(every):
        reads = READS.match(command.stages[0])
        for order in script.feed(reads[1], _fed_by(every, at)) if reads else script.read(command.stages):
            held = found.get(command.line, ALL)
            found[command.line] = min(held, order, key=WORST_FIRST.index)
    return tuple(Cleanup(line, order, False) for line, order in sorted(found.items()))


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
        self.tests: frozenset[str] = frozenset()
        self.depth = 0

    def read(self, stages: Sequence[str]) -> list[str]:
        """Given the stages of a pipe, return by which order each of its deletions chooses."""
        first, found = stages[0], list[str]()
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
                self.names[bound[1]] = join([one for one in (held, self.names[bound[1]]) if one.listed])
        elif first.startswith(("[", "test ", "((", "case ", "break", "continue")):
            self._test(first)
        elif first == "done" or first.startswith(("done ", "done<")):
            self.tests = frozenset()
        else:
            found += self._pipe(stages)
        return found + (self._inside(first) if bound or loop else [])

    def _inside(self, text: str) -> list[str]:
        """What the commands in `$(...)` delete."""
        self.depth += 1
        pieces = words.inner(text) if self.depth <= DEEPEST else []
        found = [self.read(command.stages) for piece in pieces for command in words.commands(piece)]
        self.depth -= 1
        return [order for orders in found for order in orders]

    def feed(self, name: str, text: str) -> list[str]:
        """Bind what a loop reads from the words behind its end."""
        text = text.lstrip(" (") if text.startswith("(") else text
        self._loop(name, self._printed(text.rstrip(" )")) if text[:1].isalpha() else self.value(text))
        return []

    def _loop(self, name: str, through: Value) -> None:
        self.names[name] = item(through, 1)
        self.tests = frozenset()

    def _assign(self, name: str, text: str) -> None:
        made = self.value(text)
        if made.listed and re.search(r"##|grep\s+-\w*o|basename|\bsed\b|\bcut\b|\bawk\b|##\*|%%", text):
            made = made._replace(measure=made.measure or ("" if made.depth else NUMBERS))
        if re.search(r"-r\b|stat -c ?['\"]?%Y", text) and made.listed and "stat" in text:
            made = made._replace(measure=TIMES)
        reckons = text.lstrip("\"'").startswith("$((") and "-" in text
        self.names[name] = made._replace(picks=frozenset({NUMBERS}), hint="reckoned") if reckons else made

    def _test(self, text: str) -> None:
        """A condition chooses by what it compares; a place in a loop that is counted, by the loop's own order."""
        loops = [value for value in self.names.values() if value.root and value.listed]
        seen = [self.names[name] for name, _ in _variables(text) if name in self.names]
        picks = frozenset().union(*(value.picks for value in seen))
        if re.search(r"\s-(nt|ot)\s", text):
            picks |= {TIMES}
        elif COMPARES.search(text) or text.startswith("break"):
            measured = {value.measure for value in seen if value.listed and value.measure}
            counted = frozenset().union(*(value.order or {LISTING} for value in loops[-1:]))
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
        return join([one for one in printed if one.listed])

    def _through(self, stages: Sequence[str]) -> Value:
        made = stage_of(stages[0], self)
        for stage in stages[1:]:
            made = self._stage(made, stage)
        return made

    def _stage(self, made: Value, stage: str) -> Value:
        """What is left of lines after one stage."""
        if re.match(r"(e|f)?grep\b", stage):
            given = words.split(stage)[1:]
            spared = self.value(" ".join(given))
            inverted = any(re.match(r"-\w*v", word) for word in given)
            if spared.picks and inverted:
                return made._replace(picks=made.picks | spared.picks)
            hint = hint_of(" ".join(word for word in given if not word.startswith(("-", '"$', "$"))))
            return made._replace(source=refined(made.source, opposite(hint) if inverted else hint))
        return sorted_as(made, stage)

    # --- deletions --------------------------------------------------------------------------------------------------

    def _pipe(self, stages: Sequence[str]) -> list[str]:
        found, made = list[str](), NOTHING
        for number, stage in enumerate(stages):
            reads = READS.match(stage)
            if reads:
                self._loop(reads[1], made)
            elif re.match(r"(xargs|parallel)\b", stage) and RM.search(stage + " "):
                named = made.listed and ONE_OF_THEM.search(stage)
                found += self._deleted(made._replace(source=CHECKPOINTS) if named else made)
            elif not number:
                found += self._removes(stage)
                made = stage_of(stage, self)
            else:
                made = self._stage(made, stage)
        return found

    def _removes(self, stage: str) -> list[str]:
        """What one command deletes by itself: rm, or find."""
        first = words.unquoted(stage.split()[0]).rpartition("/")[2]
        if first == "find" and (
            " -delete" in stage or (re.search(r"-(exec|execdir|ok)\s", stage) and RM.search(stage))
        ):
            return self._deleted(stage_of(stage, self))
        if first not in ("rm", "unlink", "trash"):
            return []
        made = join([one for one in map(self.value, words.split(stage)[1:]) if one.listed])
        return self._deleted(made)

    def _deleted(self, made: Value) -> list[str]:
        if made.source not in (CHECKPOINTS, OUTPUT) or (made.source == OUTPUT and not made.picks):
            return []
        return [worst(made.picks or (self.tests if made.root else ()))]


def _variables(text: str) -> list[tuple[str, str]]:
    """(name, what is made of it) of each variable in a text: `${#all[@]}` is ("all", "#[@]")."""
    return [(plain or name, sign + how) for plain, sign, name, how in VARIABLE.findall(text)]


def _has_command(text: str) -> bool:
    """Whether `NAME=value command` stands there, which binds nothing."""
    return len(words.split(text)) > 1 and not text.startswith("(")
