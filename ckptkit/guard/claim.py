"""What other processes see of a training and of a save under way: an open descriptor, a claim, a mark."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ckptkit.errors import LockHeld
from ckptkit.guard.writers import replaced
from ckptkit.model.checkpoint import SAVING
from ckptkit.ops.start import note_start
from ckptkit.system import lock


class Hold:
    """Holds at most one directory. Forked children, such as the data loader's workers, let go of it at once."""

    def __init__(self) -> None:
        self._fd: int | None = None
        os.register_at_fork(after_in_child=self.release)

    def take(self, path: str) -> int:
        """Hold this directory instead of the last; returns its descriptor."""
        self.release()
        self._fd = fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return fd

    def claim(self, run: str) -> None:
        """Hold this run, made if it is not there yet, against every other training. Raises LockHeld, OSError."""
        os.makedirs(run, exist_ok=True)
        fd = self.take(run)
        try:
            lock.claim(fd, run, time.time())
        except LockHeld:
            self.release()
            raise
        note_start(run)

    def release(self) -> None:
        """Hold nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):  # a disk that went away: the descriptor is gone all the same (close(2))
                os.close(fd)


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


@contextmanager
def as_made(run: str, is_checkpoint: Callable[[str], bool]) -> Iterator[None]:
    """In this thread, each checkpoint's directory that a writer makes in the run is marked as soon as it is there.

    Made before, it would be in the way of a writer that wants none to be there (Accelerate with automatic names).
    """

    def marking(original: Callable[..., object]) -> Callable[..., object]:
        def mkdir(path: "str | os.PathLike[str]", *args: object, **kwargs: object) -> None:
            original(path, *args, **kwargs)
            with suppress(TypeError, ValueError):  # another kind of path than any of ours
                parent, name = os.path.split(os.path.abspath(path))
                if is_checkpoint(name) and os.path.realpath(parent) == run:
                    mark(os.path.join(parent, name))

        return mkdir

    with replaced(os, marking, "mkdir"):
        yield
