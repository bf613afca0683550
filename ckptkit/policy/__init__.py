"""PURE: which checkpoints stay and which go. No clock, no disk, no log."""
