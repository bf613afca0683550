"""After a save, beside training: make it durable, verify it, prune. One piece of work at a time."""

import os
import threading
from collections.abc import Callable

from ckptkit.guard.room import Room, warn
from ckptkit.guard.storage_errors import make_durable


class Worker:
    """Runs what follows a save in a thread; `wait` returns once it is done. Not a daemon: an exit waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, room: Room, name: str, when_intact: Callable[[], None], record: Callable[[], None]) -> None:
        """Begin with the checkpoint that was just written; `when_intact` is called once it is known to be.

        record: writes the save into the history, last of all: what protects the training comes first.
        """
        self.wait()
        self._thread = threading.Thread(target=_follow_up, args=(room, name, when_intact, record), name="ckptkit")
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing is under way. Raises TimeoutError after so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                raise TimeoutError(f"what follows the last save has not ended within {seconds:g} s")
            self._thread = None


def _follow_up(room: Room, name: str, when_intact: Callable[[], None], record: Callable[[], None]) -> None:
    _secure(room, name, when_intact)
    record()


def _secure(room: Room, name: str, when_intact: Callable[[], None]) -> None:
    path = os.path.join(room.run, name)
    try:
        make_durable(path)
    except OSError as error:
        warn(f"{path} may not be durable: {error.strerror}; an earlier one stays until the next save is")
        return
    room.durable = {name: "the last one known to be durable"}
    if fault := room.read_back(name):
        warn(f"{path} was written but is not intact ({fault}); earlier ones stay")
        return
    when_intact()
    room.prune(room.settings.rules)
