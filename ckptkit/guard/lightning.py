"""`ckptkit.lightning_guard()`: a callback for Lightning's Trainer. Lightning is imported when that is called."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptkit.guard.entry import settings_of_a_loop

if TYPE_CHECKING:
    from ckptkit.guard.lightning_callback import LightningGuard


def lightning_guard(
    keep_last: int = 2,
    *,
    keep_every: int | None = None,
    keep_best: str | None = None,
    on_full: str = "skip",
    on_full_timeout: float = 300.0,
    trust: Sequence[str] = (),
) -> "LightningGuard":
    """Guard what Lightning's `ModelCheckpoint` saves: `Trainer(callbacks=[ckptkit.lightning_guard(), ...])`.

    keep_last: the most checkpoints on disk at any instant; on top of them the best one by the callback's state (with
    save_top_k=K all K), and last.ckpt. So save_top_k=-1 with a guard keeps a disk from filling.
    keep_every, on_full, on_full_timeout, trust: as in `ckptkit.guard("out/checkpoints")`; keep_best is refused there
    and here: set monitor= on ModelCheckpoint.

    Room is made before each save; one that the disk breaks off is removed, done once more and, if that fails, told:
    training goes on, and ModelCheckpoint deletes no older one for it. `latest(directory)` is what to go on from.
    Only the directories of ModelCheckpoint callbacks are looked after. Raises UsageError at once.
    """
    settings = settings_of_a_loop(
        os.curdir, keep_last, keep_every, keep_best, on_full, on_full_timeout, trust,
        best="set monitor= on ModelCheckpoint, whose best one stays",
    )  # fmt: skip
    from ckptkit.guard.lightning_callback import LightningGuard

    return LightningGuard(settings)
