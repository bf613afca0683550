"""flock on the run DIRECTORY itself: it needs no lock file, so it works at 0 bytes free, and dies with its holder."""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckptkit.errors import LockHeld, UnreadableRun

POLL_SECONDS = 0.05
RECORD = "hhqqi4x"  # struct flock of a 64-bit Linux: type, whence, start, length, pid (fcntl_locking(2))
_held: set[int] = set()


def _let_go() -> None:
    """A forked child, such as a data loader's worker, shares the open file and would keep the lock after us."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def hold(run: str, timeout: float = 0.0) -> Iterator[int]:
    """Hold the run's lock; yields the directory's file descriptor. timeout: seconds to wait for it (0: don't).

    Raises LockHeld with the holder where the kernel names one, UnreadableRun if the directory can't be opened.
    """
    with open_directory(run) as fd:
        _acquire(fd, run, time.monotonic() + timeout)
        try:
            yield fd
        finally:
            if fd in _held:  # closing alone would leave it to a child that was forked a moment ago
                fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def open_directory(run: str) -> Iterator[int]:
    """The directory's file descriptor, without a lock. Raises UnreadableRun if it can't be opened."""
    try:
        fd = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableRun(f"can't open {run!r}: {error.strerror}") from None
    _held.add(fd)
    try:
        yield fd
    finally:
        if fd in _held:  # not in a child that was forked meanwhile and returns through here
            _held.remove(fd)
            with suppress(OSError):  # a disk that went away: the descriptor is gone all the same (close(2))
                os.close(fd)


def _acquire(fd: int, run: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"{run} is locked by {_holder(fd)}: nothing done; wait for it, or --lock-timeout SECONDS"
                ) from None
            time.sleep(POLL_SECONDS)


def _holder(fd: int) -> str:
    """The process that the kernel lists for this inode (proc(5), /proc/locks); "another process" if it doesn't."""
    inode = os.fstat(fd).st_ino
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for fields in map(str.split, locks):
                if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                    return f"process {fields[4]}"
    except (OSError, IndexError):
        pass
    return "another process"


def claim(fd: int, run: str) -> None:
    """Given an open run directory, say that a training is at work here, for as long as that descriptor is open.

    Beside the lock of `hold`, which sweeps take meanwhile. It is a record lock for reading, on the byte of our process
    id: a directory takes none for writing. Where a file system knows no such lock, nobody is refused.
    Raises LockHeld if another training has said so.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _record(fcntl.F_RDLCK, os.getpid(), 1))
    except (OSError, AttributeError):  # not Linux has no such locks by that name
        return
    other = _claimed_by(fd)
    if other is not None:
        raise LockHeld(
            f"{run}: process {other} is training here under a guard: wait for its end, or name another output_dir"
        )


def claimant(run: str) -> int | None:
    """Return the pid of the process, other than ours, whose claim is on this run; None if there is none.

    Raises UnreadableRun if the directory can't be opened.
    """
    with open_directory(run) as fd:
        pid = _claimed_by(fd)
    # In another container a training may have our number.
    return None if pid == os.getpid() and claims(run) else pid


def claims(run: str) -> bool:
    """Return whether our own process has claimed this run. The kernel lists locks beside the descriptor, proc(5)."""
    with suppress(OSError):
        status = os.stat(run)
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(int(fd)), status) and "OFDLCK" in _described(fd):
                    return True
    return False


def _described(fd: str) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return file.read()


def _claimed_by(fd: int) -> int | None:
    """The byte that somebody else's descriptor has locked is the process id."""
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _record(fcntl.F_WRLCK, 0, 0))
    except (OSError, AttributeError):
        return None
    kind, _, pid, _, _ = struct.unpack(RECORD, answer)
    return None if kind == fcntl.F_UNLCK else int(pid)


def _record(kind: int, start: int, length: int) -> bytes:
    return struct.pack(RECORD, kind, os.SEEK_SET, start, length, 0)
