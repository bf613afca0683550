"""Whether a name still stands for the directory that was judged: what was looked at is what goes, or nothing does."""

import os
import stat

from ckptkit.delete.words import in_words
from ckptkit.model.checkpoint import Checkpoint

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
