"""One removal, tries and all: through directory descriptors, follows no symlink, enters no other device."""

import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from ckptkit.delete.identity import DIRECTORY, ENDLESS, opened
from ckptkit.delete.words import in_words
from ckptkit.model.checkpoint import DEEPEST, Checkpoint
from ckptkit.model.plan import Failure

RETRY_SECONDS = (0.05, 0.2, 0.5)
RETRIED = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOTEMPTY, errno.ETXTBSY})


class Removal:
    """One removal: counts what it removed, and spends the sweep's pauses, not a pause a file that is refused."""

    def __init__(self, pauses: list[float]) -> None:
        self.removed = 0
        self.pauses = pauses

    def in_place(self, run_fd: int, checkpoint: Checkpoint, marker: str, witnesses: Collection[str]) -> list[Failure]:
        """Remove a checkpoint under its own name, the marker first: from then on it is incomplete to whoever looks.

        witnesses: files that show whose checkpoint it was. They go last, and stay where anything else does: what is
        left is known as torn, and the next sweep finishes it.
        """
        try:
            fd = opened(run_fd, checkpoint)
        except OSError as error:
            return [Failure(checkpoint.path, in_words(error))]
        try:
            path = os.path.join(checkpoint.path, marker)
            failures = list(self.attempt(path, lambda: os.unlink(marker, dir_fd=fd)))
            others = [] if failures else sorted(set(os.listdir(fd)) - set(witnesses))
            failures += [failure for name in others for failure in self._entry(fd, name, checkpoint.path, 0)]
        except OSError as error:
            return [Failure(checkpoint.path, in_words(error))]
        finally:
            os.close(fd)
        return failures or self.tree(run_fd, checkpoint.name, checkpoint.path)

    def tree(self, parent_fd: int, name: str, path: str, depth: int = 0) -> list[Failure]:
        """Remove a directory and all below it: follows no symlink, enters no other device, stops at no error."""
        if depth > DEEPEST:  # each level keeps a descriptor open
            return [Failure(path, ENDLESS)]
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            return [Failure(path, in_words(error))]
        try:
            if os.fstat(fd).st_dev != os.fstat(parent_fd).st_dev:
                return [Failure(path, "another file system is mounted here (busy): umount it first")]
            failures = [failure for entry in sorted(os.listdir(fd)) for failure in self._entry(fd, entry, path, depth)]
        except OSError as error:
            return [Failure(path, in_words(error))]
        finally:
            with suppress(OSError):  # nothing was written through it: what it says is about nothing that we did
                os.close(fd)
        return failures or list(self.attempt(path, lambda: os.rmdir(name, dir_fd=parent_fd)))

    def file(self, parent_fd: int, name: str, path: str) -> list[Failure]:
        """Remove a checkpoint that is one file."""
        return list(self.attempt(path, lambda: os.unlink(name, dir_fd=parent_fd)))

    def _entry(self, fd: int, name: str, parent: str, depth: int) -> Iterator[Failure]:
        path = os.path.join(parent, name)
        try:
            directory = stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if directory:
            yield from self.tree(fd, name, path, depth + 1)
        else:
            yield from self.attempt(path, lambda: os.unlink(name, dir_fd=fd))

    def attempt(self, path: str, action: Callable[[], None]) -> Iterator[Failure]:
        """Do it and count it; yields the failure if it can't be done, none if what it is about is gone already."""
        try:
            self.insist(action)
            self.removed += 1
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                return  # somebody else removed it: gone is gone
            yield Failure(path, in_words(error, path))

    def insist(self, action: Callable[[], None]) -> None:
        """Do it; a busy or permission error may pass (an uploader closes, NFS catches up), so try a few times more."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in RETRIED or not self.pauses:
                    raise
                time.sleep(self.pauses.pop(0))
