"""What could not be removed, for a person."""

import errno
import fcntl
import os
import shlex
import struct
from contextlib import suppress

from ckptkit.model.plan import Failure

GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS of a 64-bit Linux, ioctl_iflags(2)
LOCKED = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL


def first_of(failures: list[Failure]) -> list[Failure]:
    """One line for a directory of a hundred files that are all refused: the first, and how many more."""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f._replace(error=more.join(_before_fix(f.error))) for f in failures[:1]]


def _before_fix(error: str) -> tuple[str, str]:
    words, mark, fix = error.partition("; fix: ")
    return words, mark + fix


def in_words(error: OSError, path: str = "") -> str:
    """What the disk said, and what to do about it where that is not plain. path: what could not be removed."""
    locked = _locked(path) if error.errno == errno.EPERM and path else ""
    if locked:
        root = "" if os.geteuid() == 0 else "sudo "
        return f"{error.strerror} (immutable or append-only); fix: {root}chattr -ia {shlex.quote(locked)}"
    hint = {
        errno.EPERM: " (another user's? see ls -l)",
        errno.EACCES: " (its directory can't be written by this user)",
        errno.EBUSY: " (in use: a mount, or an open file on a network disk)",
        errno.EROFS: " (the volume is mounted read-only: see dmesg)",
    }.get(error.errno or 0, "")
    return f"{error.strerror or error}{hint}"


def _locked(path: str) -> str:
    """The file, or the directory that it lies in, that chattr made immutable or append-only; "" if neither is."""
    for place in (path, os.path.dirname(path)):
        with suppress(OSError):
            fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if struct.unpack("L", fcntl.ioctl(fd, GET_FLAGS, bytes(8)))[0] & LOCKED:
                    return place
            finally:
                os.close(fd)
    return ""
