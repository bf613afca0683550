"""The box's own tools, called with plain words: what they said, and their exit code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from ckptkit.tuples import NamedTuple

SECONDS = 30.0


class Called(NamedTuple):
    """What a tool said and how it ended; 127 if it could not be started, 124 if it did not end in time."""

    code: int
    out: str
    err: str


def call(words: Sequence[str], given: str = "") -> Called:
    """Run a tool, with a text on its stdin. Its words are English, and names that are no text survive."""
    try:
        done = subprocess.run(
            list(words), input=os.fsencode(given), capture_output=True, check=False, timeout=SECONDS,
            env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Called(124, "", f"{words[0]} did not end in {SECONDS:.0f} s")
    except OSError as error:
        return Called(127, "", f"{words[0]}: {error.strerror}")
    return Called(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr).strip())


def processes() -> dict[int, list[str]]:
    """{process id: the words that started it}, of those that can be seen."""
    found: dict[int, list[str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as command:
            found[int(pid)] = command.read().split("\0")
    return found
