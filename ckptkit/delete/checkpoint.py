"""A whole checkpoint goes, or nothing of it: set aside by a rename, removed through directory descriptors, measured.

No symlink is followed and no other device entered. What was judged is what goes: a name that stands for another
directory by now is left alone.
"""

import errno
import fcntl
import os
import shlex
import stat
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

from ckptkit.model.checkpoint import ASIDE, DEEPEST, Checkpoint, Leftover
from ckptkit.model.decision import Failure

GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS of a 64-bit Linux, ioctl_iflags(2)

LOCKED = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL


def first_of(failures: list[Failure]) -> list[Failure]:
    """One line for a directory of a hundred files that are all refused: the first, and how many more."""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f._replace(error=f.error + more) for f in failures[:1]]


def refused(path: str, error: OSError) -> Failure:
    """What could not be removed and what the disk said to that, with the command that mends it where one does."""
    locked = _locked(path) if error.errno == errno.EPERM else ""
    if not locked:
        return Failure(path, in_words(error))
    root = "" if os.geteuid() == 0 else "sudo "
    unlock = f"{root}chattr -ia {shlex.quote(locked)}"
    return Failure(path, f"{error.strerror} (immutable or append-only)", command=unlock)


def in_words(error: OSError) -> str:
    """What the disk said, and what that means where it is not plain."""
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


SETTLE_SECONDS = 2.0  # xfs and btrfs give blocks back a moment after the unlink


def settled_free_bytes(run_fd: int, at_least: int) -> int:
    """Free bytes of the run's volume, waiting up to SETTLE_SECONDS for them to reach `at_least`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    asked = False
    while (free := free_bytes(run_fd)) < at_least and time.monotonic() < deadline:
        if not asked and time.monotonic() > deadline - SETTLE_SECONDS * 0.9:
            asked = True
            _commit(run_fd)
        time.sleep(0.05)
    return free


def _commit(run_fd: int) -> None:
    """syncfs(2): btrfs gives blocks back with its next transaction, which is up to 30 seconds away."""
    import ctypes  # only here, where the bytes are not back yet

    ctypes.CDLL(None).syncfs(run_fd)


def free_bytes(run_fd: int) -> int:
    """Free bytes of the run's volume, root's reserve included: what a deletion gives back may refill that first."""
    status = os.fstatvfs(run_fd)
    return status.f_bfree * status.f_frsize


DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

ENDLESS = "its directories are nested too deep: remove it by hand (rm -r)"

ANOTHER = "changed after it was judged: left alone"


def not_the_same(run_fd: int, name: str, checkpoint: Checkpoint) -> str | None:
    """Why the name does not stand for what was judged, or None if it does."""
    try:
        status = os.stat(name, dir_fd=run_fd, follow_symlinks=False)
    except OSError as error:
        return in_words(error)
    return _another(status, run_fd, checkpoint)


def _another(status: os.stat_result, run_fd: int, checkpoint: Checkpoint) -> str | None:
    kind = stat.S_ISREG if checkpoint.single else stat.S_ISDIR
    if not kind(status.st_mode) or (status.st_dev, status.st_ino) != (checkpoint.device, checkpoint.inode):
        return ANOTHER
    if status.st_dev != os.fstat(run_fd).st_dev:
        return "another file system is mounted here: left alone"
    return None


def opened(run_fd: int, checkpoint: Checkpoint) -> int:
    """A descriptor of the directory that was judged. Raises OSError, also if its name stands for another by now."""
    fd = os.open(checkpoint.name, DIRECTORY, dir_fd=run_fd)
    try:
        if reason := _another(os.fstat(fd), run_fd, checkpoint):
            raise OSError(0, reason)
    except OSError:
        os.close(fd)
        raise
    return fd


def too_deep(checkpoint: Checkpoint) -> str | None:
    """Looked for before the rename, as below."""
    if any(problem.code == "too-deep" for problem in checkpoint.problems):
        return ENDLESS
    return None


def mounted_inside(run_fd: int, checkpoint: Checkpoint) -> str | None:
    """Looked for before the rename, so that a checkpoint which can't go wholly stays wholly."""
    for directory in checkpoint.directories:
        try:
            path = os.path.join(checkpoint.name, directory)
            if os.stat(path, dir_fd=run_fd, follow_symlinks=False).st_dev != checkpoint.device:
                return f"{directory}: another file system is mounted inside (busy): umount it first"
        except OSError:
            continue  # told by the removal itself
    return None


RETRY_SECONDS = (0.05, 0.2, 0.5)

RETRIED = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOTEMPTY, errno.ETXTBSY})


class Removal:
    """One removal: counts what it removed, and spends the sweep's pauses, not a pause a file that is refused."""

    def __init__(self, pauses: list[float]) -> None:
        self.removed = 0
        self.pauses = pauses

    def in_place(self, run_fd: int, checkpoint: Checkpoint, marker: str, witnesses: Collection[str]) -> list[Failure]:
        """Remove a checkpoint under its own name, the marker first: from then on it is incomplete to whoever looks.

        witnesses: files that show whose checkpoint it was. They go last, and stay where anything else does: what is
        left is known as torn, and the next sweep finishes it.
        """
        try:
            fd = opened(run_fd, checkpoint)
        except OSError as error:
            return [Failure(checkpoint.path, in_words(error))]
        try:
            path = os.path.join(checkpoint.path, marker)
            failures = list(self.attempt(path, lambda: os.unlink(marker, dir_fd=fd)))
            others = [] if failures else sorted(set(os.listdir(fd)) - set(witnesses))
            failures += [failure for name in others for failure in self._entry(fd, name, checkpoint.path, 0)]
        except OSError as error:
            return [Failure(checkpoint.path, in_words(error))]
        finally:
            os.close(fd)
        return failures or self.tree(run_fd, checkpoint.name, checkpoint.path)

    def tree(self, parent_fd: int, name: str, path: str, depth: int = 0) -> list[Failure]:
        """Remove a directory and all below it: follows no symlink, enters no other device, stops at no error."""
        if depth > DEEPEST:  # each level keeps a descriptor open
            return [Failure(path, ENDLESS)]
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            return [Failure(path, in_words(error))]
        try:
            if os.fstat(fd).st_dev != os.fstat(parent_fd).st_dev:
                return [Failure(path, "another file system is mounted here (busy): umount it first")]
            failures = [failure for entry in sorted(os.listdir(fd)) for failure in self._entry(fd, entry, path, depth)]
        except OSError as error:
            return [Failure(path, in_words(error))]
        finally:
            with suppress(OSError):  # nothing was written through it: what it says is about nothing that we did
                os.close(fd)
        return failures or list(self.attempt(path, lambda: os.rmdir(name, dir_fd=parent_fd)))

    def file(self, parent_fd: int, name: str, path: str) -> list[Failure]:
        """Remove a checkpoint that is one file."""
        return list(self.attempt(path, lambda: os.unlink(name, dir_fd=parent_fd)))

    def _entry(self, fd: int, name: str, parent: str, depth: int) -> Iterator[Failure]:
        path = os.path.join(parent, name)
        try:
            directory = stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if directory:
            yield from self.tree(fd, name, path, depth + 1)
        else:
            yield from self.attempt(path, lambda: os.unlink(name, dir_fd=fd))

    def attempt(self, path: str, action: Callable[[], None]) -> Iterator[Failure]:
        """Do it and count it; yields the failure if it can't be done, none if what it is about is gone already."""
        try:
            self.insist(action)
            self.removed += 1
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                return  # somebody else removed it: gone is gone
            yield refused(path, error)

    def insist(self, action: Callable[[], None]) -> None:
        """Do it; a busy or permission error may pass (an uploader closes, NFS catches up), so try a few times more."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in RETRIED or not self.pauses:
                    raise
                time.sleep(self.pauses.pop(0))


NO_ROOM = frozenset({errno.EDQUOT, errno.ENOSPC})


def remove_checkpoint(
    run_fd: int, checkpoint: Checkpoint, pauses: list[float], marker: str = "", witnesses: Collection[str] = ()
) -> list[Failure]:
    """Given the locked run's descriptor and a checkpoint of it, remove it; [] means it is gone.

    marker: the file without which it is no whole checkpoint, "" if that is not known. witnesses: those that show, where
    it can't be removed wholly, that it was one.
    pauses: seconds to wait before each new try at what is refused; used up, they are gone for the whole sweep.
    Refuses, and changes nothing, if the name now stands for anything but the directory that was judged.
    """
    reason = not_the_same(run_fd, checkpoint.name, checkpoint) or mounted_inside(run_fd, checkpoint)
    if reason := reason or too_deep(checkpoint):
        return [Failure(checkpoint.path, reason)]
    removal = Removal(pauses)
    try:
        aside = _free_aside_name(run_fd, checkpoint.name)
        removal.insist(lambda: os.rename(checkpoint.name, aside, src_dir_fd=run_fd, dst_dir_fd=run_fd))
    except OSError as error:
        if checkpoint.single and error.errno in NO_ROOM:
            return removal.file(run_fd, checkpoint.name, checkpoint.path)
        if marker and error.errno in NO_ROOM:
            return first_of(removal.in_place(run_fd, checkpoint, marker, witnesses))
        return [refused(checkpoint.path, error)]
    if reason := not_the_same(run_fd, aside, checkpoint):  # swapped between the look and the rename
        return _give_name_back(run_fd, aside, checkpoint, [Failure(checkpoint.path, reason)])
    remove = removal.file if checkpoint.single else removal.tree
    failures = remove(run_fd, aside, os.path.join(os.path.dirname(checkpoint.path), aside))
    if failures and not removal.removed:
        return _give_name_back(run_fd, aside, checkpoint, first_of(failures))
    return first_of(failures)


def remove_leftover(run_fd: int, leftover: Leftover, pauses: list[float]) -> list[Failure]:
    """Given the locked run's descriptor and what a killed sweep set aside, finish removing it."""
    removal = Removal(pauses)
    remove = removal.file if leftover.single else removal.tree
    return first_of(remove(run_fd, leftover.name, leftover.path))


def remove_files(directory: str, names: Iterable[str]) -> None:
    """Remove plain files of a directory by name; one that is gone already is no error. Raises OSError."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


def _free_aside_name(run_fd: int, name: str) -> str:
    """An aside name that is not taken: what an immutable file kept from an earlier removal may still hold one."""
    taken, candidate, number = set(os.listdir(run_fd)), ASIDE + name, 1
    while candidate in taken:
        candidate, number = f"{ASIDE}{name}.{number}", number + 1
    return candidate


def _give_name_back(run_fd: int, aside: str, checkpoint: Checkpoint, failures: list[Failure]) -> list[Failure]:
    """Nothing of it could be removed, so it is as whole as before: it counts again, and can be resumed from."""
    try:
        os.rename(aside, checkpoint.name, src_dir_fd=run_fd, dst_dir_fd=run_fd)
    except OSError as error:
        return [*failures, Failure(os.path.join(os.path.dirname(checkpoint.path), aside), in_words(error))]
    old, new = aside, checkpoint.name
    return [
        Failure(f.path.replace(old, new, 1), f.error.replace(old, new, 1), f.held_by, f.command.replace(old, new, 1))
        for f in failures
    ]
