"""Small files where others may write too: no FIFO is waited for, no link is followed or written through."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import BinaryIO

AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BTIME = -100, 0x100, 0x800  # linux/fcntl.h, linux/stat.h
LARGEST_BYTES = 1 << 20  # of a file that a person wrote; /dev/zero has no end


def opened(path: str, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading. Raises OSError for all else: a FIFO would hang, a device has no end.

    follow: also behind a symlink, where a person may have meant it. Looked at before it is opened, as the same inode:
    the mere opening of /dev/watchdog restarts a machine.
    """
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(path_fd).st_mode):
            raise OSError(0, "is no regular file")
        return os.fdopen(os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    finally:
        os.close(path_fd)


def content(path: str, follow: bool = False, largest: int = LARGEST_BYTES) -> bytes:
    """All of a small regular file. Raises OSError, also if it is larger than anybody writes one."""
    with opened(path, follow) as file:
        raw = file.read(largest + 1)
    if len(raw) > largest:
        raise OSError(0, f"has more than {largest:,} bytes")
    return raw


def born_at(path: str) -> float | None:
    """When a file came into being here, in seconds since the epoch; None where its file system does not keep that.

    statx(2), which Python has no name for before 3.15: the time of birth is its field at byte 80.
    """
    import ctypes
    import struct

    buffer = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None).statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, STATX_BTIME, buffer)
    except AttributeError:  # a C library older than 2018
        return None
    (mask,), (seconds, nanoseconds) = struct.unpack_from("<I", buffer), struct.unpack_from("<qI", buffer, 80)
    return None if failed or not mask & STATX_BTIME else float(seconds + nanoseconds / 1e9)


def ensure_directory(path: str) -> None:
    """Make it, for its owner alone, if it is not there. Raises OSError in the disk's own words.

    A disk that can't be read makes `os.makedirs` say "File exists" of what it could not look at.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise


def replace_at(path: str, raw: bytes, durable: bool = True, mode: int | None = None) -> None:
    """As `replace`, for a path that a person names: several processes may write it at once, and it may be anything.

    What is there and is no regular file is refused: a file in the place of /dev/null breaks the box.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(0, "is no regular file")
    directory, name = os.path.split(os.path.abspath(path))
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace(directory_fd, name, raw, f"{name}.{os.getpid()}.tmp", durable, mode)
    finally:
        os.close(directory_fd)


def replace(
    directory_fd: int, name: str, raw: bytes, temporary: str = "", durable: bool = True, mode: int | None = None
) -> None:
    """Put a file of that name there, whole or not at all. Raises OSError; then what was there still is.

    temporary: its name until then, default `NAME.tmp`. It may be taken: by what a killed writer left, or by a link that
    somebody else laid there. durable: survives a crash of the box. mode: permissions, whatever the umask; None: by it.
    """
    temporary = temporary or f"{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory_fd)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory_fd)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            if mode is not None:
                os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory_fd)
        raise
