"""What stands in the run at each instant, told by the kernel: no checkpoint comes or goes between two looks.

Created, removed and renamed names come from inotify(7), in the order in which they happened; the use of the volume and
which checkpoint is complete are polled.
"""

import ctypes
import os
import re
import select
import struct
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.002
NAME = re.compile(r"checkpoint-([0-9]+)")
LAST_FILE = "trainer_state.json"  # the Trainer writes it last (transformers 5.17, `_save_checkpoint`)
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_Q_OVERFLOW = 0x40, 0x80, 0x100, 0x200, 0x4000
COME_OR_GO = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class Watch(threading.Thread):
    """Counts a run's checkpoints until `finish`; `completed` is called with the path of each complete one."""

    def __init__(self, run: str, keep: int, completed: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self.run_path, self.keep, self.completed = run, keep, completed
        self.peak_checkpoints = self.peak_used_bytes = self.volume_bytes = self._used_bytes = 0
        self.longest_surplus = 0.0
        self.uses: list[tuple[int, int]] = []  # step of each complete checkpoint, bytes used when it was
        self._there: set[str] = set()
        self._complete: set[str] = set()
        # Since when it is one too many, on the monotonic clock; kept when it goes, for one that gets its name back.
        self._surplus_since: dict[str, float] = {}
        self._fd = _inotify(run)
        self._done = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Until `finish`."""
        try:
            while not self._done.is_set():
                self._look()
            self._look()
        except Exception as error:  # noqa: BLE001 - a watch that broke has no figure to give: `finish` raises it
            self._error = error

    def finish(self) -> None:
        """Stop looking. Raises what broke the watch, if anything did; then no figure counts."""
        self._done.set()
        self.join()
        os.close(self._fd)
        for name in self._complete:  # what is one too many at the end never went
            self._time_surplus(name)
        if self._error:
            raise self._error

    def _look(self) -> None:
        if select.select([self._fd], [], [], POLL_SECONDS)[0]:
            self._read_events()
        status = os.statvfs(self.run_path)
        self.volume_bytes = status.f_blocks * status.f_frsize
        self._used_bytes = (status.f_blocks - status.f_bfree) * status.f_frsize
        self.peak_used_bytes = max(self.peak_used_bytes, self._used_bytes)
        for name in self._there - self._complete:
            if os.path.exists(os.path.join(self.run_path, name, LAST_FILE)):
                self._completes(name)

    def _read_events(self) -> None:
        block, at = os.read(self._fd, 1 << 16), 0
        while at < len(block):
            _, mask, _, length = EVENT.unpack_from(block, at)
            at += EVENT.size + length
            if mask & IN_Q_OVERFLOW:
                raise RuntimeError("the kernel dropped events: the count would be a guess")
            self._happened(mask, block[at - length : at].rstrip(b"\0").decode())

    def _happened(self, mask: int, name: str) -> None:
        if not NAME.fullmatch(name):
            return
        if mask & (IN_CREATE | IN_MOVED_TO):
            self._there.add(name)
            self.peak_checkpoints = max(self.peak_checkpoints, len(self._there))
        else:
            self._time_surplus(name)
            self._there.discard(name)
            self._complete.discard(name)

    def _completes(self, name: str) -> None:
        """From now on, all but the `keep` newest complete ones are too many."""
        self._complete.add(name)
        self.uses.append((_step(name), self._used_bytes))
        for old in sorted(self._complete, key=_step)[: -self.keep]:
            self._surplus_since.setdefault(old, time.monotonic())
        self.completed(os.path.join(self.run_path, name))

    def _time_surplus(self, name: str) -> None:
        now = time.monotonic()
        self.longest_surplus = max(self.longest_surplus, now - self._surplus_since.get(name, now))


def _inotify(directory: str) -> int:
    """A descriptor from which the directory's events are read. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(directory), COME_OR_GO) < 0:
        raise OSError(ctypes.get_errno(), "inotify", directory)
    return fd


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])
