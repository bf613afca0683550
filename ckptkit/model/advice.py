"""The nouns of what a person is told, each with the command that mends it. As in `model`: frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Severity

CheckState = Literal["go", "warn", "no-go"]


class Flag(NamedTuple):
    """One thing that a person should know about a volume or a run, and the command that mends it."""

    level: Severity
    code: str
    message: str
    command: str = ""


class Check(NamedTuple):
    """One line of preflight's list. state: go, warn (goes, but look) or no-go. command: what mends it."""

    state: CheckState
    code: str
    message: str
    command: str = ""


class Cause(NamedTuple):
    """One thing that ended a training: its code, in plain words, the line that says so, and what to type."""

    code: str
    message: str
    line: str
    command: str


class Cleanup(NamedTuple):
    """A place in a training's own script that deletes checkpoints.

    order: by which it chooses them: names (as text), listing (as the disk lists them), numbers, times, other (by what
    can't be told), all (it chooses none). in_class: in a class, such as a callback.
    """

    line: int
    order: str
    in_class: bool


class ScriptReport(NamedTuple):
    """A training's own script that was looked at. path: as named. fault: why it could not be read, or ""."""

    path: str
    fault: str
    cleanups: tuple[Cleanup, ...]
