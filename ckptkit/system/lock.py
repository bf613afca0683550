"""flock on the run DIRECTORY itself: it needs no lock file, so it works at 0 bytes free, and dies with its holder."""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ckptkit import calling
from ckptkit.errors import LockHeld, UnreadableRun

POLL_SECONDS = 0.05
RECORD = "hhqqi4x"  # struct flock of a 64-bit Linux: type, whence, start, length, pid (fcntl_locking(2))
PID_BITS = 22  # a process id has no more: 4,194,304 is the largest pid_max, proc(5)
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
                raise _refusal(fd, run) from None
            time.sleep(POLL_SECONDS)


def _refusal(fd: int, run: str) -> LockHeld:
    pid, claim = _holder(fd), _claim_on(fd)
    who = f"{run} is locked by {f'process {pid}' if pid else 'another process'}"
    again = calling.repeated("--lock-timeout", "60")
    wait = f"wait for it; fix: {again}" if again else "wait for it, or set lock_timeout"
    if pid and claim and _has(pid, claim, run):
        return LockHeld(f"{who}, which trains here under a guard: a save is running; {wait}", saving=True)
    return LockHeld(f"{who}: nothing done; {wait}")


def _holder(fd: int) -> str:
    """The process that the kernel lists for this inode (proc(5), /proc/locks); "" if it doesn't."""
    inode = os.fstat(fd).st_ino
    with suppress(OSError, IndexError), open("/proc/locks", encoding="ascii") as locks:
        for fields in map(str.split, locks):
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return fields[4]
    return ""


# --- the claim of a training ----------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A training under a guard is at work in a run. since: seconds since the epoch, None if that is not known.

    pid: its process, by the number that it has in its own container.
    """

    pid: int
    since: float | None

    @property
    def sentence(self) -> str:
        """Who and since when, for a person who reads it of a run."""
        if self.since is None:
            return f"process {self.pid} is training here (under a guard)"
        return f"process {self.pid} has been training here since {minute(self.since)} (under a guard)"

    @property
    def words(self) -> str:
        """Since when, for a table that names the process."""
        return "guarded" if self.since is None else f"guarded since {minute(self.since)}"


def minute(at: float) -> str:
    """Given seconds since the epoch, return that minute as a person reads it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def claim(fd: int, run: str, now: float | None = None) -> None:
    """Given an open run directory, say that a training is at work here, for as long as that descriptor is open.

    Beside the lock of `hold`, which sweeps take meanwhile. It is a record lock for reading (a directory takes none for
    writing) on the one byte whose offset is the time and our process id: that takes no room on any disk. Where a file
    system knows no such lock, nobody is refused. now: seconds since the epoch; None: since when is not said.
    Raises LockHeld if another training has said so.
    """
    offset = (max(0, int(now or 0)) << PID_BITS) | os.getpid()
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _record(fcntl.F_RDLCK, offset, 1))
    except (OSError, AttributeError):  # not Linux has no such locks by that name
        return
    other = _claim_on(fd)
    if other is not None:
        raise LockHeld(f"{run}: {other.sentence}: wait for its end, or use another output_dir")


def claim_of(run: str) -> Claim | None:
    """Return the claim of another process than ours on this run; None if there is none.

    Raises UnreadableRun if the directory can't be opened.
    """
    with open_directory(run) as fd:
        other = _claim_on(fd)
    # In another container a training may have our number.
    return None if other is not None and other.pid == os.getpid() and claims(run) else other


def claimant(run: str) -> int | None:
    """Return the process of `claim_of`, None if there is none. Raises UnreadableRun."""
    other = claim_of(run)
    return None if other is None else other.pid


def claim_by(run: str, pid: str = "self") -> Claim | None:
    """Return the claim that a process has on this run; None if it has none, or isn't ours to look at.

    pid: as this container numbers it. The kernel lists a lock beside its descriptor, proc(5).
    """
    with suppress(OSError):
        status = os.stat(run)
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), status):
                    for fields in _described(pid, fd):
                        if "OFDLCK" in fields:
                            return _claim_at(int(fields[-2]))  # ..., first byte, last byte
    return None


def claims(run: str) -> bool:
    """Return whether our own process has claimed this run."""
    return claim_by(run) is not None


def _has(pid: str, claim: Claim, run: str) -> bool:
    """Whether that process has that claim. One whose descriptors we may not see is known by its number."""
    return claim_by(run, pid) == claim if os.access(f"/proc/{pid}/fd", os.R_OK) else int(pid) == claim.pid


def _described(pid: str, fd: str) -> list[list[str]]:
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        return [line.split() for line in file]


def _claim_on(fd: int) -> Claim | None:
    """What somebody else's descriptor of this directory claims."""
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _record(fcntl.F_WRLCK, 0, 0))
    except (OSError, AttributeError):
        return None
    kind, _, offset, _, _ = struct.unpack(RECORD, answer)
    return None if kind == fcntl.F_UNLCK else _claim_at(offset)


def _claim_at(offset: int) -> Claim:
    return Claim(offset & ((1 << PID_BITS) - 1), float(offset >> PID_BITS) or None)


def _record(kind: int, start: int, length: int) -> bytes:
    return struct.pack(RECORD, kind, os.SEEK_SET, start, length, 0)
