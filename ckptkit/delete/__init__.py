"""The ONLY room that removes. Rename aside, remove through directory descriptors, measure, account.

At 0 bytes free all of it works: rename in place and unlink need no new block, and nothing is created. Btrfs alone asks
for room to rename, and refuses it at its quota: there the file that makes a checkpoint count goes first.
A checkpoint that can't be removed at all gets its name back; one that is half gone keeps the aside name, so that
nothing takes it for alive, and the next sweep finishes it.
"""

from ckptkit.delete.checkpoint import (
    RETRY_SECONDS,
    free_bytes,
    remove_checkpoint,
    remove_files,
    remove_leftover,
    settled_free_bytes,
)
from ckptkit.delete.strip import strip_checkpoint

__all__ = [
    "RETRY_SECONDS",
    "free_bytes",
    "remove_checkpoint",
    "remove_files",
    "remove_leftover",
    "settled_free_bytes",
    "strip_checkpoint",
]
