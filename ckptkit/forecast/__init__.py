"""PURE: what a save will take, what a configuration peaks at, and when a volume is full. Bytes, steps, seconds."""

from ckptkit.forecast.checkpoint_size import SMALL_FILES_BYTES, first_save_bytes, next_save_bytes

__all__ = ["SMALL_FILES_BYTES", "first_save_bytes", "next_save_bytes"]
