"""The hand that keeps finished checkpoints from going away, in the ways in which a deletion fails in real life."""

import os
import queue
import subprocess
import threading
import time

# A check of the checkpoint that is under way should see what the Trainer wrote, not what is done to it here.
LATER_SECONDS = 0.05
MODES = ("silent", "permission", "busy", "immutable", "held")


class Saboteur(threading.Thread):
    """Another process than the training, and root: does to each complete checkpoint what its mode says."""

    def __init__(self, mode: str) -> None:
        super().__init__(daemon=True)
        self.done_to: set[str] = set()
        self._deed = getattr(self, f"_{mode}")
        self._descriptors: list[int] = []
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._error: Exception | None = None

    def take(self, path: str) -> None:
        """Queue a complete checkpoint, unless it was here before and only got its name back."""
        if path not in self.done_to:
            self.done_to.add(path)
            self._queue.put(path)

    def run(self) -> None:
        """Until `finish`."""
        while (path := self._queue.get()) is not None:
            time.sleep(LATER_SECONDS)
            try:
                self._deed(path)
            except Exception as error:  # noqa: BLE001 - told by `finish`, unless the checkpoint went before we came
                self._error = self._error or (error if os.path.exists(path) else None)

    def finish(self) -> None:
        """Let go of everything. Raises what went wrong: a replay without its sabotage proves nothing."""
        self._queue.put(None)
        self.join()
        for fd in self._descriptors:
            os.close(fd)
        if self._error:
            raise self._error

    def _silent(self, path: str) -> None:
        """Nothing stands in the way: the Trainer's own rmtree fails unseen (training.py)."""

    def _permission(self, path: str) -> None:
        """The directory is another user's: what is in it can't be unlinked."""
        os.chown(path, 0, 0)
        os.chmod(path, 0o755)

    def _busy(self, path: str) -> None:
        """A file system is mounted inside."""
        inside = os.path.join(path, "mounted")
        os.mkdir(inside)
        subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", inside), check=True)

    def _immutable(self, path: str) -> None:
        """Its largest file may not be changed, nor unlinked, by anybody."""
        subprocess.run(("chattr", "+i", os.path.join(path, "optimizer.pt")), check=True)

    def _held(self, path: str) -> None:
        """This process holds all of its files open."""
        self._descriptors += [os.open(entry.path, os.O_RDONLY) for entry in os.scandir(path) if entry.is_file()]
