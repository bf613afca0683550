"""pin and unpin: what a person decided stays, whatever the rules say."""

import os

from ckptkit.errors import UsageError
from ckptkit.runs import discover, pins
from ckptkit.system import lock


def pin(path: str) -> str:
    """Given a checkpoint, never delete it from now on. Returns its path. Raises NoSuchRun, LockHeld, UsageError."""
    return _set_pin(path, pinned=True)


def unpin(path: str) -> str:
    """Given a checkpoint, let the rules decide about it again. Also for one that is no longer there."""
    return _set_pin(path, pinned=False)


def _set_pin(path: str, pinned: bool) -> str:
    discover.refuse_empty(path)
    path = os.path.abspath(path)
    run, name = os.path.dirname(path), os.path.basename(path)
    if pinned:
        discover.checkpoint(path)
    with lock.hold(discover.run_directory(run), timeout=5.0):
        known = pins.read(run)
        if name not in known:
            discover.require_checkpoint_name(path)
        wanted = known | {name} if pinned else known - {name}
        try:
            if wanted != known:
                pins.write(run, wanted)
        except OSError as error:
            raise UsageError(f"can't write {os.path.join(run, pins.FILE)}: {error.strerror}; pins unchanged") from None
    return path
