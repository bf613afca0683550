"""set aside: give a checkpoint a name that no resume picks. It moves no bytes, so it works on a full disk."""

import os

from ckptkit.calling import command
from ckptkit.errors import NoSuchRun, UsageError
from ckptkit.model.checkpoint import SET_ASIDE
from ckptkit.runs import discover, pins
from ckptkit.system import lock


def set_aside(path: str, *, lock_timeout: float = 0.0) -> str:
    """Rename RUN/checkpoint-N to RUN/set-aside-checkpoint-N, under the run's lock. Returns the new path.

    Where that name is taken, a number follows it: set-aside-checkpoint-N.1. Renaming it back undoes it.

    path: the checkpoint. lock_timeout: seconds to wait for the run's lock (0: don't).
    Raises UsageError if the name is no checkpoint's, if it is pinned or if it can't be renamed, NoSuchRun if it is not
    there, LockHeld. Then nothing was changed.
    """
    run, name = os.path.split(os.path.abspath(path))
    if not discover.is_checkpoint_name(path):
        raise UsageError(f"{path!r} can't be set aside: {name!r} is not a checkpoint's name, such as checkpoint-1000")
    with lock.hold(discover.run_directory(run), lock_timeout) as run_fd:
        if discover.is_gone(os.path.join(run, name)):
            raise NoSuchRun(f"no such checkpoint: {path!r}")
        if name in pins.read(run):
            raise UsageError(f"{path} is pinned: nothing renamed; fix: {command('unpin', path)}")
        aside = _free_name(run_fd, SET_ASIDE + name)
        try:
            os.rename(name, aside, src_dir_fd=run_fd, dst_dir_fd=run_fd)
        except OSError as error:
            raise UsageError(f"{path} can't be renamed to {aside}: {error.strerror}; nothing changed") from None
    return os.path.join(run, aside)


def _free_name(run_fd: int, wanted: str) -> str:
    """The name, or the first of NAME.1, NAME.2, ... that nothing has."""
    taken, name, number = set(os.listdir(run_fd)), wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    return name
