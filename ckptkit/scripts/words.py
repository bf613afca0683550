"""A shell script, cut into commands: what stands between `;`, `&&`, `do` and the ends of lines, and its pipes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEYWORDS = ("do", "then", "else", "elif", "{", "(", "!", "time", "sudo", "command", "exec", "nohup", "if", "until")
LONGEST = 20_000  # characters of a command that a person wrote
HERE = re.compile(r"<<-?\s*([\"']?)(\w+)\1")


class Pipeline(NamedTuple):
    """The stages of one pipe, and the line that it begins in."""

    line: int
    stages: tuple[str, ...]


def commands(text: str, line: int = 1) -> Iterator[Pipeline]:
    """Given a script, yield its commands in their order. line: that of its first one."""
    for number, pipe in _pieces(_without_documents(text), line):
        if sum(map(len, pipe)) <= LONGEST:
            stages = tuple(stage for stage in map(_bare, pipe) if stage)
            if stages:
                yield Pipeline(number, stages)


def _without_documents(text: str) -> str:
    """A script without the texts that it writes elsewhere (`<<EOF`); their lines stay, and are empty."""
    if "<<" not in text:
        return text
    lines, until = list[str](), ""
    for line in text.split("\n"):
        inside = until
        until = "" if line.strip() == until else until
        lines.append("" if inside else line)
        document = None if inside or "<<<" in line else HERE.search(line)
        until = document[2] if document else until
    return "\n".join(lines)


def split(text: str) -> list[str]:
    """Given a command, return its words; quotes stay in them."""
    words, word, end = list[str](), "", 0
    while end < len(text):
        after = _after(text, end)
        if text[end].isspace():
            words, word = [*words, word] if word else words, ""
        else:
            word += text[end:after]
        end = after
    return [*words, word] if word else words


def unquoted(word: str) -> str:
    """Return a word as the command sees it, as far as quotes go."""
    return word.replace('"', "").replace("'", "").replace("\\", "")


def inner(text: str) -> list[str]:
    """Given a text, return the commands in `$(...)`, `<(...)` and backticks that it holds."""
    commands, at = [], 0
    while at < len(text):
        start = re.compile(r"[$<]\(|`").search(text, at)
        if start is None:
            break
        if text.startswith("$((", start.start()):  # it only reckons
            at = start.end() + 1
            continue
        end = _closing(text, start.start())
        commands.append(text[start.end() : end - 1])
        at = end
    return commands


def _pieces(text: str, line: int) -> Iterator[tuple[int, Sequence[str]]]:
    """(line, stages) of each pipe."""
    pipe, stage, at, start, now = list[str](), list[str](), 0, line, line
    while at < len(text):
        after = _after(text, at)
        piece = text[at:after]
        if piece in ("\n", ";", "&&", "||", "&") and not (piece == "\n" and pipe and not stage):
            yield start, [*pipe, "".join(stage)]  # a pipe that a line ends in goes on in the next one
            pipe, stage = [], []
        elif piece == "|":
            pipe, stage = [*pipe, "".join(stage)], []
        elif not piece.startswith(("\\\n", "#")) and (stage or not piece.isspace()):
            start = start if pipe or stage else now
            stage.append(piece)
        now += piece.count("\n")
        at = after
    yield start, [*pipe, "".join(stage)]


def _after(text: str, at: int) -> int:
    """Where the piece ends that begins there: a quoted text, a `$(...)`, a comment, an operator or one character."""
    sign = text[at]
    if sign == "\\":
        return min(len(text), at + 2)
    if sign in "'\"`" or text.startswith(("$(", "<(", "${"), at):
        return _closing(text, at)
    if sign == "#" and (at == 0 or text[at - 1].isspace() or text[at - 1] == ";"):
        end = text.find("\n", at)
        return len(text) if end < 0 else end
    if text.startswith((">&", "<&", "&>", "&&", "||"), at):
        return at + 2
    return at + 1


def _closing(text: str, at: int) -> int:
    """Where what is opened there is closed again; at the end of the text if nowhere."""
    if text[at] in "'`":
        end = text.find(text[at], at + 1)
        return len(text) if end < 0 else end + 1
    opening = '"' if text[at] == '"' else text[at + 1]
    closing, at, depth = {'"': '"', "(": ")", "{": "}"}[opening], at + (1 if opening == '"' else 2), 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == closing:
            depth -= 1
            if not depth:
                return at + 1
        elif text[at] == opening:
            depth += 1
        elif opening != "{" and text[at] in "'`" and opening != '"':
            at = _closing(text, at) - 1
        at += 1
    return len(text)


def _bare(stage: str) -> str:
    """A stage without the words that only lead to it."""
    stage = stage.strip().strip(")").strip() if stage.count(")") > stage.count("(") else stage.strip()
    while stage:
        first, _, rest = stage.partition(" ")
        if first not in KEYWORDS:
            return stage.lstrip("(").lstrip() if stage.startswith("(") and not stage.startswith("((") else stage
        stage = rest.strip()
    return ""
