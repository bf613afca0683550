"""The guard without a Trainer: of a loop of one's own, with Accelerate, torch.distributed.checkpoint or torch.save."""

import os
from collections.abc import Callable
from contextlib import suppress

from ckptkit.guard.claim import Hold
from ckptkit.guard.keeper import LoopKeeper
from ckptkit.guard.messages import inform
from ckptkit.guard.resuming import newest, step_of
from ckptkit.guard.rotation import bound
from ckptkit.guard.saving import Saving
from ckptkit.guard.settings import GuardSettings


class LoopGuard(LoopKeeper):
    """Made by `ckptkit.guard("out/checkpoints")`; see there.

    With several ranks, rank 0 looks after the disk, and every rank makes the guard and calls it alike.
    """

    def __init__(self, run: str, settings: GuardSettings) -> None:
        super().__init__(run, settings)
        self._claim = Hold()
        self.closed = False

    def open(self) -> None:
        """Claim the run for this training, and say how many checkpoints there will be. Raises LockHeld."""
        self.closed = False
        self.anew()
        if not self.leads:
            return
        with suppress(OSError):  # a full disk has no room for the directory: it is tried again at the first save
            self._claim.claim(self.room.run)
        inform(f"guarding {self.room.run}: {bound(self.settings, None)}; on_full={self.settings.on_full}")

    def change(self, settings: GuardSettings) -> None:
        """Go on with other settings: a cell of a notebook was run again."""
        self.settings = self.room.settings = settings
        self.disk.set(settings)

    def latest(self) -> str | None:
        """The newest checkpoint to go on from, None on a first run; it stays until a newer one is intact.

        Raises NoIntactCheckpoint if there are some, but none of them will do. Every rank must call it.
        """
        path = newest(self.room, self.leads, False)
        self.anew()
        if self.leads and path:
            self._went_on_from(os.path.basename(path))
        self.begin(max(0, step_of(path)))
        return path

    def saving(self, step: int, path: "str | os.PathLike[str] | None" = None, *, alone: bool = False) -> Saving:
        """Guard what the `with` writes: `with guard.saving(step) as path: accelerator.save_state(path)`.

        step: of the training. path: the checkpoint that will be written there, directly in the run; default is
        RUN/checkpoint-STEP, or whichever one appears in the run meanwhile.
        Room is made before. Where the disk breaks the save off, what is left of it is removed, room is made, it is
        told, and training goes on; with on_full="raise" the error is raised after that. Other errors are raised as they
        are. A `with` can't be done again or left out: `save` can.
        alone: only this one of several ranks saves, and the others do not come here.
        """
        return Saving(self, step, path, alone)

    def save(
        self,
        step: int,
        write: Callable[[str], object],
        path: "str | os.PathLike[str] | None" = None,
        *,
        alone: bool = False,
    ) -> bool:
        """Call `write(path)` to save one checkpoint, once more after making room if the disk was full.

        Such as `guard.save(step, accelerator.save_state)`. It is not called where no room can be made.
        step, path, alone: as in `saving`. Returns whether it was saved, on every rank.
        """
        return Saving(self, step, path, alone).run(write)

    def close(self) -> None:
        """Training is over: wait for what goes on beside it, and claim nothing any more."""
        self.wait()
        self.source.release()
        self._claim.release()
        self.closed = True
        self.anew()

    def __enter__(self) -> "LoopGuard":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
