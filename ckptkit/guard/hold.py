"""An open descriptor on a directory: in every process that looks, `what a live process has open` stays."""

import os
import time
from contextlib import suppress

from ckptkit.errors import LockHeld
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
