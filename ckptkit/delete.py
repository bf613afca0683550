"""The ONLY room that removes. Rename aside, remove through directory descriptors, measure, account.

At 0 bytes free all of it works: rename in place and unlink need no new block, and nothing is created. Btrfs alone asks
for room to rename, and refuses it at its quota: there the file that makes a checkpoint count goes first.
A checkpoint that can't be removed at all gets its name back; one that is half gone keeps the aside name, so that
nothing takes it for alive, and the next sweep finishes it.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from ckptkit.model import ASIDE, DEEPEST, OURS, Checkpoint, Failure, Leftover
from ckptkit.strips import Part

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RETRY_SECONDS = (0.05, 0.2, 0.5)
RETRIED = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOTEMPTY, errno.ETXTBSY})
ANOTHER = "is not what was judged any more: left alone"
NO_ROOM = frozenset({errno.EDQUOT, errno.ENOSPC})
SETTLE_SECONDS = 2.0  # xfs and btrfs give blocks back a moment after the unlink


def remove_checkpoint(run_fd: int, checkpoint: Checkpoint, pauses: list[float], marker: str = "") -> list[Failure]:
    """Given the locked run's descriptor and a checkpoint of it, remove it; [] means it is gone.

    marker: the file without which it is no whole checkpoint, "" if that is not known.
    pauses: seconds to wait before each new try at what is refused; used up, they are gone for the whole sweep.
    Refuses, and changes nothing, if the name now stands for anything but the directory that was judged.
    """
    if reason := _not_the_same(run_fd, checkpoint.name, checkpoint) or _mounted_inside(run_fd, checkpoint):
        return [Failure(checkpoint.path, reason)]
    removal = _Removal(pauses)
    try:
        aside = _free_aside_name(run_fd, checkpoint.name)
        removal.insist(lambda: os.rename(checkpoint.name, aside, src_dir_fd=run_fd, dst_dir_fd=run_fd))
    except OSError as error:
        if marker and error.errno in NO_ROOM:
            return _first(removal.in_place(run_fd, checkpoint, marker))
        return [Failure(checkpoint.path, _words(error))]
    if reason := _not_the_same(run_fd, aside, checkpoint):  # swapped between the look and the rename
        return _give_name_back(run_fd, aside, checkpoint, [Failure(checkpoint.path, reason)])
    failures = removal.tree(run_fd, aside, os.path.join(os.path.dirname(checkpoint.path), aside))
    if failures and not removal.removed:
        return _give_name_back(run_fd, aside, checkpoint, _first(failures))
    return _first(failures)


def remove_leftover(run_fd: int, leftover: Leftover, pauses: list[float]) -> list[Failure]:
    """Given the locked run's descriptor and what a killed sweep set aside, finish removing it."""
    return _first(_Removal(pauses).tree(run_fd, leftover.name, leftover.path))


def strip_checkpoint(
    run_fd: int, checkpoint: Checkpoint, part: Part, forget: Callable[[], None], pauses: list[float]
) -> list[Failure]:
    """Given the locked run's descriptor and the part of a checkpoint that goes, remove that; [] means it is gone.

    The part's first file takes the mark's name: from that one rename on the checkpoint is weights-only, wherever this
    ends. The mark goes last, after `forget` took the others off the records; that may raise OSError. Refuses, and
    changes nothing, if a file of the part is not what was judged any more.
    """
    try:
        fd = _opened(run_fd, checkpoint)
        try:
            if _changed(fd, part):
                return [Failure(checkpoint.path, ANOTHER)]
            before = os.fstat(fd)
            failures = _first(_strip(fd, checkpoint.path, part, forget, pauses))
            # The Trainer's rotation sorts by the directory's mtime. A killed strip left its own: by the newest file.
            times = [file.modified_at for file in checkpoint.files if part.begun and not file.name.startswith(OURS)]
            with suppress(OSError):  # another user's directory
                os.utime(fd, ns=(before.st_atime_ns, int(max(times) * 1e9) if times else before.st_mtime_ns))
            return failures
        finally:
            os.close(fd)
    except OSError as error:
        return [Failure(checkpoint.path, _words(error))]


def _strip(fd: int, path: str, part: Part, forget: Callable[[], None], pauses: list[float]) -> list[Failure]:
    removal, (first, *others) = _Removal(pauses), [file.name for file in part.files]

    def remove(name: str) -> Iterator[Failure]:
        return removal.attempt(os.path.join(path, name), lambda: os.unlink(name, dir_fd=fd))

    try:
        if not part.begun:
            removal.insist(lambda: os.rename(first, part.mark, src_dir_fd=fd, dst_dir_fd=fd))
        failures = [failure for name in others for failure in remove(name)]
        if failures and not removal.removed and not part.begun:  # as whole as before: it can be resumed from
            os.rename(part.mark, first, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError as error:
        return [Failure(os.path.join(path, first), _words(error))]
    if not failures:
        try:
            forget()
        except OSError as error:
            return [Failure(os.path.join(path, part.mark), f"the manifest can't be rewritten yet: {_words(error)}")]
    return failures or list(remove(part.mark))


def _changed(fd: int, part: Part) -> bool:
    for file in part.files:
        with suppress(FileNotFoundError):  # gone is gone
            status = os.stat(file.name, dir_fd=fd, follow_symlinks=False)
            if (status.st_size, status.st_mtime) != (file.apparent_bytes, file.modified_at):
                return True
    return False


def remove_files(directory: str, names: Iterable[str]) -> None:
    """Remove plain files of a directory by name; one that is gone already is no error. Raises OSError."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


def _first(failures: list[Failure]) -> list[Failure]:
    """One line for a directory of a hundred files that are all refused: the first, and how many more."""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f._replace(error=f.error + more) for f in failures[:1]]


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


def _free_aside_name(run_fd: int, name: str) -> str:
    """An aside name that is not taken: what an immutable file kept from an earlier removal may still hold one."""
    taken, candidate, number = set(os.listdir(run_fd)), ASIDE + name, 1
    while candidate in taken:
        candidate, number = f"{ASIDE}{name}.{number}", number + 1
    return candidate


def _not_the_same(run_fd: int, name: str, checkpoint: Checkpoint) -> str | None:
    try:
        status = os.stat(name, dir_fd=run_fd, follow_symlinks=False)
    except OSError as error:
        return _words(error)
    return _another(status, run_fd, checkpoint)


def _another(status: os.stat_result, run_fd: int, checkpoint: Checkpoint) -> str | None:
    if not stat.S_ISDIR(status.st_mode) or (status.st_dev, status.st_ino) != (checkpoint.device, checkpoint.inode):
        return ANOTHER
    if status.st_dev != os.fstat(run_fd).st_dev:
        return "another file system is mounted here: left alone"
    return None


def _opened(run_fd: int, checkpoint: Checkpoint) -> int:
    """A descriptor of the directory that was judged. Raises OSError, also if its name stands for another by now."""
    fd = os.open(checkpoint.name, DIRECTORY, dir_fd=run_fd)
    try:
        if reason := _another(os.fstat(fd), run_fd, checkpoint):
            raise OSError(0, reason)
    except OSError:
        os.close(fd)
        raise
    return fd


def _mounted_inside(run_fd: int, checkpoint: Checkpoint) -> str | None:
    """Looked for before the rename, so that a checkpoint which can't go wholly stays wholly."""
    for directory in checkpoint.directories:
        try:
            path = os.path.join(checkpoint.name, directory)
            if os.stat(path, dir_fd=run_fd, follow_symlinks=False).st_dev != checkpoint.device:
                return f"{directory}: another file system is mounted inside (busy): umount it first"
        except OSError:
            continue  # told by the removal itself
    return None


class _Removal:
    """One removal: counts what it removed, and spends the sweep's pauses, not a pause a file that is refused."""

    def __init__(self, pauses: list[float]) -> None:
        self.removed = 0
        self.pauses = pauses

    def in_place(self, run_fd: int, checkpoint: Checkpoint, marker: str) -> list[Failure]:
        """Remove a checkpoint under its own name, the marker first: from then on it is incomplete to whoever looks."""
        path = os.path.join(checkpoint.path, marker)
        try:
            fd = _opened(run_fd, checkpoint)
        except OSError as error:
            return [Failure(checkpoint.path, _words(error))]
        try:
            failures = list(self.attempt(path, lambda: os.unlink(marker, dir_fd=fd)))
        finally:
            os.close(fd)
        return failures or self.tree(run_fd, checkpoint.name, checkpoint.path)

    def tree(self, parent_fd: int, name: str, path: str, depth: int = 0) -> list[Failure]:
        """Remove a directory and all below it: follows no symlink, enters no other device, stops at no error."""
        if depth > DEEPEST:  # each level keeps a descriptor open
            return [Failure(path, "directories in directories without end: remove it by hand (rm -r)")]
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            return [Failure(path, _words(error))]
        try:
            if os.fstat(fd).st_dev != os.fstat(parent_fd).st_dev:
                return [Failure(path, "another file system is mounted here (busy): umount it first")]
            failures = [failure for entry in sorted(os.listdir(fd)) for failure in self._entry(fd, entry, path, depth)]
        except OSError as error:
            return [Failure(path, _words(error))]
        finally:
            with suppress(OSError):  # nothing was written through it: what it says is about nothing that we did
                os.close(fd)
        return failures or list(self.attempt(path, lambda: os.rmdir(name, dir_fd=parent_fd)))

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
        except FileNotFoundError:
            return  # somebody else removed it: gone is gone
        except OSError as error:
            yield Failure(path, _words(error))

    def insist(self, action: Callable[[], None]) -> None:
        """Do it; a busy or permission error may pass (an uploader closes, NFS catches up), so try a few times more."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in RETRIED or not self.pauses:
                    raise
                time.sleep(self.pauses.pop(0))


def _give_name_back(run_fd: int, aside: str, checkpoint: Checkpoint, failures: list[Failure]) -> list[Failure]:
    """Nothing of it could be removed, so it is as whole as before: it counts again, and can be resumed from."""
    try:
        os.rename(aside, checkpoint.name, src_dir_fd=run_fd, dst_dir_fd=run_fd)
    except OSError as error:
        return [*failures, Failure(os.path.join(os.path.dirname(checkpoint.path), aside), _words(error))]
    return [Failure(f.path.replace(aside, checkpoint.name, 1), f.error, f.held_by) for f in failures]


def _words(error: OSError) -> str:
    hint = {
        errno.EPERM: " (immutable or another user's? see lsattr, ls -l)",
        errno.EACCES: " (its directory can't be written by this user)",
        errno.EBUSY: " (in use: a mount, or an open file on a network disk)",
        errno.EROFS: " (the volume is mounted read-only: see dmesg)",
    }.get(error.errno or 0, "")
    return f"{error.strerror or error}{hint}"
