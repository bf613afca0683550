"""The guard's own mark in a checkpoint that it has begun to save and not finished.

What a kill leaves of it is told from another program's files by that.
"""

import os
from contextlib import suppress

from ckptkit.model import SAVING


def mark(path: str) -> None:
    """Say in the checkpoint's directory, made now, that its save is under way; on a full disk it is tried without."""
    with suppress(OSError):
        os.makedirs(path, exist_ok=True)
        os.close(os.open(os.path.join(path, SAVING), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))


def unmark(path: str) -> None:
    """Take that back once the save is complete. Raises OSError where it can't be: then the save counts as broken off.

    The directory's mtime stays: the Trainer's rotation sorts by it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        with suppress(FileNotFoundError):  # a full disk had no room for it
            os.unlink(SAVING, dir_fd=fd)
            with suppress(OSError):
                os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        with suppress(OSError):
            os.close(fd)
