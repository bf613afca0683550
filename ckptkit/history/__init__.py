"""What happened before, in the user's state directory. Losing it loses no safety, so nothing here ends a sweep.

A full or read-only disk, a foreign or broken file, a missing HOME: what was to be kept is lost, that is said once, and
the work goes on. `ckptkit.history.records` is imported where something is recorded: SQLite takes longer to load than
all of a sweep that finds nothing to do.
"""

from ckptkit.history.remembered import (
    forget_root,
    is_news,
    next_turn,
    recall_policy,
    recall_room,
    recall_root,
    recall_roots_of,
    remember_policy,
    remember_room,
    remember_root,
    state_directory,
)

__all__ = [
    "forget_root",
    "is_news",
    "next_turn",
    "recall_policy",
    "recall_room",
    "recall_root",
    "recall_roots_of",
    "remember_policy",
    "remember_room",
    "remember_root",
    "state_directory",
]
