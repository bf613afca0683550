"""The part of a checkpoint that only continues training goes; what is left is weights-only."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ckptkit.delete.checkpoint import ANOTHER, DIRECTORY, Removal, first_of, in_words, opened
from ckptkit.model.checkpoint import OURS, Checkpoint
from ckptkit.model.decision import Failure, StripPart


def strip_checkpoint(
    run_fd: int, checkpoint: Checkpoint, part: StripPart, forget: Callable[[], None], pauses: list[float]
) -> list[Failure]:
    """Given the locked run's descriptor and the part of a checkpoint that goes, remove that; [] means it is gone.

    The part's first file takes the mark's name: from that one rename on the checkpoint is weights-only, wherever this
    ends. The mark goes last, after `forget` took the others off the records; that may raise OSError. Refuses, and
    changes nothing, if a file of the part is not what was judged any more.
    """
    try:
        fd = opened(run_fd, checkpoint)
        try:
            if _changed(fd, part):
                return [Failure(checkpoint.path, ANOTHER)]
            before = os.fstat(fd)
            failures = first_of(_strip(fd, checkpoint.path, part, forget, pauses))
            # The Trainer's rotation sorts by the directory's mtime. A killed strip left its own: by the newest file.
            times = [file.modified_at for file in checkpoint.files if part.begun and not file.name.startswith(OURS)]
            with suppress(OSError):  # another user's directory
                os.utime(fd, ns=(before.st_atime_ns, int(max(times) * 1e9) if times else before.st_mtime_ns))
            return failures
        finally:
            os.close(fd)
    except OSError as error:
        return [Failure(checkpoint.path, in_words(error))]


def _strip(fd: int, path: str, part: StripPart, forget: Callable[[], None], pauses: list[float]) -> list[Failure]:
    removal, (first, *others) = Removal(pauses), [file.name for file in part.files]

    def remove(name: str) -> Iterator[Failure]:
        return removal.attempt(os.path.join(path, name), lambda: _unlink(fd, name))

    try:
        if not part.begun:
            removal.insist(lambda: os.rename(first, part.mark, src_dir_fd=fd, dst_dir_fd=fd))
        failures = [failure for name in others for failure in remove(name)]
        for folder in {os.path.dirname(name) for name in others if "/" in name}:
            with suppress(OSError):  # something else lies in it: it stays
                os.rmdir(folder, dir_fd=fd)
        if failures and not removal.removed and not part.begun:  # as whole as before: it can be resumed from
            os.rename(part.mark, first, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError as error:
        return [Failure(os.path.join(path, first), in_words(error))]
    if not failures:
        try:
            forget()
        except OSError as error:
            return [Failure(os.path.join(path, part.mark), f"the manifest can't be rewritten now: {in_words(error)}")]
    return failures or list(remove(part.mark))


def _unlink(fd: int, name: str) -> None:
    """Remove a file below a directory; a directory on the way that became a link is not followed."""
    with _folder(fd, name) as folder:
        os.unlink(os.path.basename(name), dir_fd=folder)


@contextmanager
def _folder(fd: int, name: str) -> Iterator[int]:
    """A descriptor of the directory that a name below `fd` lies in. Raises OSError."""
    folder = os.dup(fd)
    try:
        for part in name.split("/")[:-1]:
            inner = os.open(part, DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _changed(fd: int, part: StripPart) -> bool:
    for file in part.files:
        with suppress(FileNotFoundError):  # gone is gone
            with _folder(fd, file.name) as folder:
                status = os.stat(os.path.basename(file.name), dir_fd=folder, follow_symlinks=False)
            if (status.st_size, status.st_mtime) != (file.apparent_bytes, file.modified_at):
                return True
    return False
