"""Whether a training that has nothing of a run open says that it writes there: a Trainer opens files only to save.

Its output_dir may stand in its script, a settings file or an environment variable. Read from /proc and those files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from ckptkit.disk.training import environment, is_below, named, working_directory

SUFFIXES = (".py", ".sh", ".bash", ".yaml", ".yml", ".json", ".toml", ".cfg")
LARGEST_BYTES = 1 << 20  # a person wrote it
VARIABLE = re.compile(r".*(?:OUT|DIR|SAVE|CKPT|CHECKPOINT)", re.IGNORECASE)  # $RUN may stand in a person's shell
PLAIN = r"""[^\s"'`=:,;()\[\]{}<>|&]*"""  # of a path in a script
FLAG = re.compile(r"-{0,2}(?:[\w.]+\.)?output[-_]dir(?:ectory)?", re.IGNORECASE)


def mention(run: str, pid: str, words: Sequence[str]) -> str:
    """Given a run's real path, a training and its arguments, return what names the run; "" if nothing does.

    What names it: a variable (`$OUTPUT_DIR`), or the last part of a file's path (`train.py`, `train.yaml`).
    """
    here = working_directory(pid)
    for name, value in environment(pid).items():
        if VARIABLE.match(name) and value and _same(here, value, run):
            return f"${name}"
    if writes_elsewhere(run, pid, words):
        return ""
    return next((os.path.basename(file) for file in sorted(_texts(pid, words)) if _names(file, here, run)), "")


def writes_elsewhere(run: str, pid: str, words: Sequence[str]) -> bool:
    """Given the same, return whether its arguments name another output_dir."""
    here = working_directory(pid)
    named_ = [os.path.realpath(os.path.join(here, value)) for value in _output_dirs(words)]
    return bool(named_) and not any(is_below(run, path) or is_below(path, run) for path in named_)


def _output_dirs(words: Sequence[str]) -> Iterator[str]:
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if FLAG.fullmatch(flag) and (value or after):
            if equals:
                yield value
            elif flag.startswith("-"):
                yield after


def _texts(pid: str, words: Sequence[str]) -> set[str]:
    """The scripts and settings files among its arguments."""
    return {path for path in named(pid, words) if path.endswith(SUFFIXES)}


def _names(file: str, here: str, run: str) -> bool:
    """Whether a text holds a path that means the run, from where the training stands."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, encoding="utf-8", errors="replace") as read:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
                return False
            text = read.read(LARGEST_BYTES)
    except OSError:
        return False
    path = re.compile(PLAIN + re.escape(os.path.basename(run)) + r"(?![\w.-])")
    return any(_same(here, found, run) for found in set(path.findall(text)))


def _same(here: str, text: str, run: str) -> bool:
    """Whether a text means the run. One of another user, whose directory is not told, is compared as it stands."""
    if "\0" in text or not text.rstrip("/").endswith(os.path.basename(run)):
        return False
    return os.path.realpath(os.path.join(here, os.path.expanduser(text))) == run
