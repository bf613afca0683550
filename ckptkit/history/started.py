"""How each run's training was started, so that the same can be typed again after a crash. Nothing here raises."""

from __future__ import annotations

from typing import NamedTuple

from ckptkit.history.remembered import content_of, file_of, replace_file


class Start(NamedTuple):
    """words: the command line. directory: where it was typed. log: the file that its output goes to, or ""."""

    words: tuple[str, ...]
    directory: str
    log: str


def remember_start(run: str, start: Start) -> str:
    """Given a run's real path and how its training started, keep that. Returns "" or the fault."""
    content = {"run": run, "words": start.words, "directory": start.directory, "log": start.log}
    return replace_file(file_of("start", run), content)


def recall_start(run: str) -> Start | None:
    """Given a run's real path, return how its last training started; None where nobody knows."""
    known = content_of("start", run, "run")
    words, rest = known.get("words"), (known.get("directory"), known.get("log"))
    if not isinstance(words, list) or not words or not all(isinstance(text, str) for text in (*words, *rest)):
        return None
    return Start(tuple(words), *map(str, rest))
