"""What lies on the box's volumes, and who holds it. Reads only. `bin/prune` pays for the first two rooms alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptkit.disk.holders import open_files
from ckptkit.disk.volumes import available_bytes, free_bytes, volume, yield_to_others

if TYPE_CHECKING:
    from ckptkit.disk.eating import eaters
    from ckptkit.disk.leavings import caches
    from ckptkit.disk.quota import quotas
    from ckptkit.disk.training import trainings
    from ckptkit.disk.unlinked import open_deleted

# No room is named as what it holds: importing it would put the room in the name's place.
ROOMS = {
    "caches": "leavings",
    "eaters": "eating",
    "open_deleted": "unlinked",
    "quotas": "quota",
    "trainings": "training",
}
__all__ = [
    "available_bytes",
    "caches",
    "eaters",
    "free_bytes",
    "open_deleted",
    "open_files",
    "quotas",
    "trainings",
    "volume",
    "yield_to_others",
]


def __getattr__(name: str) -> Any:
    if name not in ROOMS:
        raise AttributeError(f"module 'ckptkit.disk' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ckptkit.disk.{ROOMS[name]}"), name)
