"""What happened before, in the user's state directory. Losing it loses no safety, so nothing here ends a sweep.

A full or read-only disk, a foreign or broken file, a missing HOME: what was to be kept is lost, that is said once, and
the work goes on. `ckptkit.history.records` is imported where something is recorded: SQLite takes longer to load than
all of a sweep that finds nothing to do.
"""

from ckptkit.history.remembered import next_turn, recall_policy, remember_policy

__all__ = ["next_turn", "recall_policy", "remember_policy"]
