"""The box's own tools, called with plain words: what they said, and their exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

SECONDS = 30.0
INSTALLERS = {  # {tool: how it installs, what it calls cron}
    "apt-get": ("apt-get update && apt-get install -y", "cron"),
    "dnf": ("dnf install -y", "cronie"),
    "yum": ("yum install -y", "cronie"),
    "apk": ("apk add", "dcron"),
    "zypper": ("zypper install -y", "cron"),
    "pacman": ("pacman -S --noconfirm", "cronie"),
}


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


def installing(package: str) -> str:
    """The command that installs a package here; "cron" is called as this box calls it."""
    tool = next((name for name in INSTALLERS if shutil.which(name)), "apt-get")
    how, cron = INSTALLERS[tool]
    return as_root(f"{how} {cron if package == 'cron' else package}")


def as_root(command: str) -> str:
    """Given a command that root may run, return what this user types."""
    if os.geteuid() == 0:
        return command
    return " && ".join(f"sudo {part}" for part in command.split(" && "))


def processes() -> dict[int, list[str]]:
    """{process id: the words that started it}, of those that can be seen."""
    found: dict[int, list[str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as command:
            found[int(pid)] = command.read().split("\0")
    return found
