"""The nouns: what there is to tell of a verb."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Option(NamedTuple):
    """A flag or an argument."""

    names: tuple[str, ...]  # ("-n", "--dry-run"); none: an argument
    value: str  # what follows, such as FILE or quick|full|deep; "" where nothing does
    choices: tuple[str, ...]
    help: str

    @property
    def spelled(self) -> str:
        """`-n, --dry-run`, `--log-to FILE`, `[RUN ...]`."""
        return f"{', '.join(self.names)} {self.value}".strip()

    @property
    def takes(self) -> Literal["choices", "directory", "file", ""]:
        """What a shell completes its value with: "choices", "directory", "file", or "" where it knows of none."""
        words = {word.strip("[].") for part in self.value.split() for word in part.split("|")}
        if self.choices:
            return "choices"
        return "directory" if words & DIRECTORIES else "file" if words & FILES else ""


DIRECTORIES = {"RUN", "RUNS", "ROOT", "CKPT", "CHECKPOINT", "DIR", "DIRECTORY", "DEST", "RUN|CHECKPOINT"}
FILES = {"FILE", "PATH"}  # a shell offers directories among files


class Group(NamedTuple):
    """Flags that belong together, below a title."""

    title: str
    flags: tuple[Option, ...]


class Example(NamedTuple):
    """A command to copy, and what it is for."""

    command: str
    comment: str


class VerbPage(NamedTuple):
    """All that is told of a verb."""

    verb: str
    command: str  # the verb as the person calls it
    summary: str  # half a line, as in the list of verbs
    description: str
    arguments: tuple[Option, ...]
    groups: tuple[Group, ...]
    examples: tuple[Example, ...]
    exits: tuple[tuple[int, str], ...]

    @property
    def flags(self) -> tuple[Option, ...]:
        """Those of all groups."""
        return tuple(flag for group in self.groups for flag in group.flags)


def examples(lines: str) -> tuple[Example, ...]:
    """Given lines of `COMMAND   COMMENT`, with two blanks or more between them, return the examples."""
    parts = [line.strip().partition("  ") for line in lines.splitlines() if line.strip()]
    return tuple(Example(command, comment.strip()) for command, _, comment in parts)
