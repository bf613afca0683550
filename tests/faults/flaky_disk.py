"""Run as a script: a network disk on a bad day, as a FUSE file system over a directory.

python -m tests.faults.flaky_disk BACK MOUNT CONTROL SEED

CONTROL is a JSON file, read before each call: {"latency": seconds, "rate": of calls that fail, "hang": whether none is
answered}. What it does as NFS does: an unlinked file that somebody has open becomes .nfsXXXX until it is closed,
removing that one meanwhile is EBUSY; calls fail with EIO and ESTALE; attributes and names are those of a second ago.
"""

import errno
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import mfusepy

from tests.support.typed import present

STALE_SECONDS = 1.0


class FlakyDisk(mfusepy.Operations):
    """A passthrough; every call first takes its time, and may fail."""

    use_ns = True

    def __init__(self, back: str, control: str, seed: str) -> None:
        self.back, self.control, self.rng = back, control, random.Random(seed)
        self.open_inodes: Counter[int] = Counter()
        self.turn = threading.Lock()

    def init_with_config(self, connection: Any, config: Any) -> None:
        if config is not None:
            config.nullpath_ok = 1  # what was unlinked has no path any more, but can still be read

    def _real(self, path: str) -> str:
        return self.back + path

    def _day(self) -> None:
        """How this call goes."""
        while (how := self._asked())["hang"]:
            time.sleep(0.02)
        with self.turn:
            slow, fails = self.rng.random() < 0.02, self.rng.random() < how["rate"]
            code = self.rng.choice((errno.EIO, errno.EIO, errno.ESTALE))
        time.sleep(how["latency"] * (10 if slow else 1))
        if fails:
            raise mfusepy.FuseOSError(code)

    def _asked(self) -> dict[str, Any]:
        with open(self.control) as file:
            asked: dict[str, Any] = json.load(file)
        return asked

    # --- attributes and directories -------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._day()
        status = os.fstat(fh) if fh is not None else os.lstat(self._real(path))
        plain = ("mode", "ino", "nlink", "uid", "gid", "size", "blocks")
        times = {f"st_{name}": getattr(status, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}
        return {f"st_{name}": getattr(status, f"st_{name}") for name in plain} | times

    def opendir(self, path: str) -> int:
        self._day()
        return os.open(self._real(path), os.O_RDONLY | os.O_DIRECTORY)

    def readdir(self, path: str, fh: int) -> list[Any]:
        """With inodes, or libfuse says 0 and libc leaves the entry out."""
        self._day()
        folder, found = f"/proc/self/fd/{fh}", []
        for name in (".", "..", *os.listdir(folder)):
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                found.append((name, {"st_ino": status.st_ino, "st_mode": status.st_mode}, 0))
        return found

    def releasedir(self, path: str, fh: int) -> None:
        os.close(fh)

    def statfs(self, path: str) -> dict[str, int]:
        self._day()
        status = os.statvfs(self.back)
        names = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "frsize", "namemax")
        return {f"f_{name}": getattr(status, f"f_{name}") for name in names}

    def mkdir(self, path: str, mode: int) -> None:
        self._day()
        os.mkdir(self._real(path), mode)

    def rmdir(self, path: str) -> None:
        self._day()
        os.rmdir(self._real(path))

    def rename(self, old: str, new: str) -> None:
        self._day()
        os.rename(self._real(old), self._real(new))

    def chmod(self, path: str, mode: int) -> None:
        self._day()
        os.chmod(self._real(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._day()
        os.lchown(self._real(path), uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self._day()
        os.utime(self._real(path), ns=present(times))

    def unlink(self, path: str) -> None:
        self._day()
        real = self._real(path)
        with self.turn:
            if not self.open_inodes[os.lstat(real).st_ino]:
                os.unlink(real)
            elif os.path.basename(real).startswith(".nfs"):
                raise mfusepy.FuseOSError(errno.EBUSY)
            else:
                os.rename(real, os.path.join(os.path.dirname(real), f".nfs{os.lstat(real).st_ino:024x}"))

    # --- files ----------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        self._day()
        return self._opened(os.open(self._real(path), flags & ~os.O_EXCL))

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._day()
        return self._opened(os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode))

    def _opened(self, fd: int) -> int:
        with self.turn:
            self.open_inodes[os.fstat(fd).st_ino] += 1
        return fd

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._day()
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._day()
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self._day()
        os.truncate(self._real(path) if fh is None else fh, length)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        self._day()

    def flush(self, path: str, fh: int) -> None:
        """At each close: where a network disk tells that what was written never arrived."""
        self._day()

    def release(self, path: str, fh: int) -> None:
        with self.turn:
            inode, name = os.fstat(fh).st_ino, os.readlink(f"/proc/self/fd/{fh}")
            os.close(fh)
            self.open_inodes[inode] -= 1
            if not self.open_inodes[inode] and os.path.basename(name).startswith(".nfs"):
                os.unlink(name)


class Binding(mfusepy.FUSE):
    """ftruncate(2) of a file without a path: mfusepy 3.1 leaves out which one it is."""

    def truncate_fuse_3(self, path: bytes | None, length: int, info: Any) -> int:
        handle = info.contents.fh if info else None
        return self.operations.truncate(path.decode() if path else "", length, handle) or 0


def main(back: str, mount: str, control: str, seed: str) -> None:
    cached = {"attr_timeout": STALE_SECONDS, "entry_timeout": STALE_SECONDS, "use_ino": True, "hard_remove": True}
    disk = FlakyDisk(back, control, seed)
    Binding(disk, mount, foreground=True, allow_other=True, default_permissions=True, **cached)


if __name__ == "__main__":
    main(*sys.argv[1:])
