"""The Trainer's side: admission before a save, recovery of a failed one, durability, verification, pruning after it."""

from ckptkit.guarding.entry import guard
from ckptkit.guarding.saving import Guard

__all__ = ["Guard", "guard"]
