"""The Trainer's side: admission before a save, recovery of a failed one, durability, verification, pruning after it.

`ckptkit.guard(trainer)`, the function, is in `entry`.
"""
