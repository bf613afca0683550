"""Copies of files and directories on this box: links are copied as links, other file systems are not entered.

Each file is read once here and told apart from its copy by SHA-256; the copy is on the disk when a function returns.
Names are relative to the directory that is copied, as those of a checkpoint's files are.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

CHUNK_BYTES = 1 << 20
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not be waited for
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


Progress = Callable[[int], None]
Entry = tuple[str, os.stat_result, int, str]


def tree(source: str, copy: str, progress: Progress = lambda _count: None) -> dict[str, str]:
    """Copy a directory; a file that a broken-off call already copied is not copied again.

    source: the directory. copy: the directory that becomes its copy; it may be there. progress: gets each count of
    bytes that was copied. Returns {file's name: SHA-256 of what was read}, of the files copied by this call. Raises
    OSError.
    """
    os.makedirs(copy, mode=0o700, exist_ok=True)
    directories = [("", os.lstat(source))]
    digests = {}
    for name, status, folder, entry in entries(source):
        target = os.path.join(copy, name)
        if stat.S_ISDIR(status.st_mode):
            os.makedirs(target, mode=0o700, exist_ok=True)
            directories.append((name, status))
        elif stat.S_ISLNK(status.st_mode):
            _link(os.readlink(entry, dir_fd=folder), target)
        elif stat.S_ISREG(status.st_mode) and not _same(target, status):
            digests[name] = file(entry, target, progress, dir_fd=folder)
    for name, status in reversed(directories):  # a directory's times are those of its last change
        _finish_directory(os.path.join(copy, name), status)
    return digests


def file(source: str, copy: str, progress: Progress = lambda _count: None, dir_fd: int | None = None) -> str:
    """Copy one regular file with its mode, owner and times, durably.

    dir_fd: the open directory that `source` is relative to. Returns the SHA-256 of what was read. Raises OSError.
    """
    reading = os.open(source, READ, dir_fd=dir_fd)
    try:
        status = os.fstat(reading)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "is no regular file any more", source)
        writing = os.open(copy, WRITE, 0o600)
        try:
            digest = _pass_on(reading, writing, progress)
            _set_as(writing, status)
            os.fsync(writing)
            _forget(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    return digest


def digest(path: str, progress: Progress = lambda _count: None) -> str:
    """Given a regular file, return its SHA-256, as read from it now. Raises OSError."""
    reading = os.open(path, READ)
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise OSError(0, "is no regular file", path)
        return _pass_on(reading, None, progress)
    finally:
        os.close(reading)


def entries(source: str) -> Iterator[Entry]:
    """Yield (name, status, the open directory that it lies in, its name there) of all below a directory.

    A directory comes before what it holds. Another file system that is mounted inside is left out. Raises OSError.
    """
    device = os.lstat(source).st_dev
    for parent, directories, files, fd in os.fwalk(source, onerror=_refuse, follow_symlinks=False):
        inside = os.path.relpath(parent, source)
        listed = [(name, os.stat(name, dir_fd=fd, follow_symlinks=False)) for name in (*directories, *files)]
        # A file's own number differs from its directory's on an overlay of two disks.
        listed = [(name, s) for name, s in listed if s.st_dev == device or not stat.S_ISDIR(s.st_mode)]
        directories[:] = [name for name, status in listed if stat.S_ISDIR(status.st_mode)]
        for name, status in listed:
            yield os.path.normpath(os.path.join(inside, name)), status, fd, name


def durable(directory: str) -> None:
    """Have what a directory lists on the disk. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refuse(error: OSError) -> None:
    raise error


def _pass_on(reading: int, writing: int | None, progress: Progress) -> str:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(reading, [buffer]):
        digest.update(view[:count])
        done = 0
        while writing is not None and done < count:
            done += os.write(writing, view[done:count])
        progress(count)
    return digest.hexdigest()


def _same(copy: str, status: os.stat_result) -> bool:
    """Whether a whole copy is there. The time is set last: one that broke off has another. What it holds is proved."""
    with suppress(FileNotFoundError):
        existing = os.lstat(copy)
        return stat.S_ISREG(existing.st_mode) and (existing.st_size, existing.st_mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        )
    return False


def _link(target: str, path: str) -> None:
    with suppress(FileNotFoundError):
        if os.readlink(path) == target:
            return
        os.unlink(path)
    os.symlink(target, path)


def _set_as(target: int | str, status: os.stat_result) -> None:
    """The owner where that may be set, then the mode, and the times last."""
    with suppress(OSError):  # not root
        os.chown(target, status.st_uid, status.st_gid)
    with suppress(OSError):  # FAT, some network disks
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _finish_directory(path: str, status: os.stat_result) -> None:
    durable(path)
    _set_as(path, status)


def _forget(fd: int) -> None:
    """What is read back must come from the disk, and not from this machine's memory."""
    with suppress(OSError, AttributeError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
