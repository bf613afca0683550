"""How each run's training was started, so that the same can be typed again after a crash. Nothing here raises."""

from __future__ import annotations

import json
import os
import zlib

from ckptkit.history.place import state_directory
from ckptkit.history.remembered import replace_file
from ckptkit.tuples import NamedTuple


class Start(NamedTuple):
    """words: the command line. directory: where it was typed. log: the file that its output goes to, or ""."""

    words: tuple[str, ...]
    directory: str
    log: str


def remember_start(run: str, start: Start) -> str:
    """Given a run's real path and how its training started, keep that. Returns "" or the fault."""
    return replace_file(_file(run), {"run": run, "words": start.words, "directory": start.directory, "log": start.log})


def recall_start(run: str) -> Start | None:
    """Given a run's real path, return how its last training started; None where nobody knows."""
    try:
        with open(_file(run), encoding="utf-8", errors="surrogateescape") as file:
            known = json.load(file)
        if known["run"] != run:
            return None
        words, *rest = known["words"], known["directory"], known["log"]
        texts = isinstance(words, list) and all(isinstance(word, str) for word in (*words, *rest))
        return Start(tuple(words), *rest) if texts and words else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _file(run: str) -> str:
    # A checksum keeps the name short; the run's own path inside the file settles a collision.
    return os.path.join(state_directory(), f"start-{zlib.crc32(os.fsencode(run)):08x}.json")
