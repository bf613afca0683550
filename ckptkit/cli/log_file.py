"""Our own log, as `--log-to` names it. A file that is not ours is never written, renamed or deleted.

Each line begins with the mark, so the first line of a file tells whose it is, after a rotation too.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loguru import Logger

ROTATION = "10 MB"
ROTATED_FILES = 5
MARK = b"ckptkit "
FORMAT = "ckptkit {time:YYYY-MM-DDTHH:mm:ssZ} {level} {message}"
FIRST_LINE = re.compile(rb"ckptkit [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[^ ]* [A-Z]+ ")
LONGEST_START = 64  # bytes, enough for what the pattern asks for
ROTATED = r"\.[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2}_[0-9]{6}(\.[0-9]+)?"  # what loguru puts in between


def open_log(path: str, dry_run: bool) -> Logger:
    """Given the file that --log-to names, return loguru's logger that writes there, and there alone.

    dry_run: append only; nothing is rotated or deleted.
    Raises UsageError if something is there that is not ours, OSError or ImportError if it can't be written.
    """
    require_ours(path)
    from loguru import logger

    logger.remove()
    logger.add(
        path.replace("{", "{{").replace("}", "}}"),  # loguru would fill in what stands in braces
        rotation=None if dry_run else ROTATION, retention=None if dry_run else retention(path),
        format=FORMAT, catch=False,
    )  # fmt: skip
    return logger


def require_ours(path: str) -> None:
    """Raise UsageError if something is there and is not a log of ours, OSError if nobody can tell."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(kind):
        raise UsageError(
            f"--log-to {path!r} is {_noun(kind)}, not a file of our own: name a new file; nothing was done"
        )
    if not _begins_as_ours(path):
        raise UsageError(f"--log-to {path!r} exists and is not a log of ckptkit: name another file; nothing was done")


def retention(path: str) -> Callable[[Sequence[str]], None]:
    """Given our log, return what deletes its rotations but the newest few, of all the names that loguru lists."""
    root, ending = os.path.splitext(os.path.basename(path))
    ours = re.compile(re.escape(root) + ROTATED + re.escape(ending))

    def delete_old(paths: Sequence[str]) -> None:
        rotated = [(_ended_at(p), p) for p in paths if ours.fullmatch(os.path.basename(p))]
        for _, old in sorted((r for r in rotated if r[0]), reverse=True)[ROTATED_FILES:]:
            with suppress(FileNotFoundError):  # another verb that writes there was first
                os.unlink(old)

    return delete_old


def _ended_at(path: str) -> float:
    """When the last line of a log of ours was written, in seconds since the epoch; 0 if it is not ours."""
    try:
        status = os.lstat(path)
        return status.st_mtime if stat.S_ISREG(status.st_mode) and _begins_as_ours(path) else 0.0
    except OSError:
        return 0.0


def _begins_as_ours(path: str) -> bool:
    """Whether its first line is one of ours. A full disk may have cut even that one off."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = os.read(fd, LONGEST_START)
    finally:
        os.close(fd)
    return MARK.startswith(start) or bool(FIRST_LINE.match(start))


def _noun(kind: int) -> str:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISLNK: "a symlink", stat.S_ISFIFO: "a pipe"}
    return next((noun for is_it, noun in kinds.items() if is_it(kind)), "a device or socket")
