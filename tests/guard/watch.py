"""An exact count of the checkpoints in a run: the kernel queues every creation, rename and removal (inotify(7))."""

import ctypes
import os
import re
import struct

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_Q_OVERFLOW = 0x40, 0x80, 0x100, 0x200, 0x4000
HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
CHECKPOINT = re.compile(r"checkpoint-[0-9]+")

libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Starts when it is made; `peak` and `gone` read what has happened since."""

    def __init__(self, run: str) -> None:
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(run), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self.there = {name for name in os.listdir(run) if CHECKPOINT.fullmatch(name)}
        self.most = len(self.there)
        self.removed: list[str] = []
        self.seen: list[str] = sorted(self.there)

    @property
    def peak(self) -> int:
        """The most checkpoints at any instant so far, the one being written included."""
        self._read()
        return self.most

    @property
    def gone(self) -> list[str]:
        """The checkpoints that were removed so far, in that order."""
        self._read()
        return self.removed

    @property
    def begun(self) -> list[str]:
        """The checkpoints that anybody began to write so far, in that order; a second attempt counts again."""
        self._read()
        return self.seen

    def close(self) -> None:
        os.close(self.fd)

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return
            at = 0
            while at < len(block):
                _, mask, _, length = HEADER.unpack_from(block, at)
                name = block[at + HEADER.size : at + HEADER.size + length].rstrip(b"\0").decode()
                at += HEADER.size + length
                self._happened(mask, name)

    def _happened(self, mask: int, name: str) -> None:
        assert not mask & IN_Q_OVERFLOW, "the kernel dropped events: the count would be a guess"
        if not CHECKPOINT.fullmatch(name):
            return
        if mask & (IN_CREATE | IN_MOVED_TO):
            self.there.add(name)
            self.seen.append(name)
        else:
            self.there.discard(name)
            self.removed.append(name)
        self.most = max(self.most, len(self.there))
