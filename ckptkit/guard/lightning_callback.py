"""The callback of `ckptkit.lightning_guard()`: stands between Lightning's Trainer and its disk.

Each ModelCheckpoint writes through `trainer.save_checkpoint`, counts the file as written, and then deletes older ones
(lightning 2.6, `callbacks/model_checkpoint.py`): where the write failed, both are taken back.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ckptkit.guard import ranks
from ckptkit.guard.loop import LoopGuard
from ckptkit.guard.messages import warn
from ckptkit.guard.resuming import is_checkpoint
from ckptkit.guard.saving import Saving
from ckptkit.guard.settings import GuardSettings
from ckptkit.model.reason import Reason
from ckptkit.runs import discover

if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ImportError:
        from pytorch_lightning import Callback, LightningModule, Trainer

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import ModelCheckpoint

BEST = Reason("best", "the best so far, as Lightning's callback has it")
LAST = Reason("callback-last", "the last one, as Lightning's callback has it")
# What a ModelCheckpoint knows of the files that it wrote.
KNOWN = (
    "best_k_models", "kth_best_model_path", "kth_value", "best_model_score", "best_model_path", "current_score",
    "last_model_path", "_last_global_step_saved", "_last_checkpoint_saved",
)  # fmt: skip


class LightningGuard(Callback):
    """Made by `ckptkit.lightning_guard()`, with Lightning's own names of hooks and their parameters."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._guards: dict[str, LoopGuard] = {}
        self._saving: Saving | None = None
        self._failed = False

    @property
    def skipped(self) -> int:
        """Saves of this training that were not written."""
        return sum(guard.skipped for guard in self._guards.values())

    def latest(self, directory: "str | os.PathLike[str]") -> str | None:
        """The newest checkpoint to go on from, for `fit(ckpt_path=...)`; None on a first run.

        directory: of a ModelCheckpoint callback.

        Raises NoIntactCheckpoint if there are some, but none of them will do.
        """
        return self._guard_of(os.fspath(directory)).latest()

    # --- what Lightning calls -----------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over, once, before the first save."""
        if stage != "fit":
            return
        for guard in self._guards.values():
            if guard.closed:  # another training, by this Trainer or a new one
                guard.open()
        if getattr(trainer, "_ckptkit_guard", None) is self:
            return
        trainer._ckptkit_guard = self
        strategy = trainer.strategy
        trainer.save_checkpoint = partial(self._save, trainer, trainer.save_checkpoint)
        strategy.save_checkpoint = partial(self._write, strategy.save_checkpoint)
        strategy.remove_checkpoint = partial(self._remove, strategy.remove_checkpoint)
        for callback in trainer.checkpoint_callbacks:
            for name in ("_save_topk_checkpoint", "_save_last_checkpoint"):
                if hasattr(callback, name):
                    setattr(callback, name, partial(self._take_back_failed, callback, getattr(callback, name)))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Training is over: wait for what goes on beside it."""
        for guard in self._guards.values():
            guard.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Training broke off."""
        self.teardown(trainer, pl_module, "fit")

    # --- in Lightning's place -----------------------------------------------------------------------------------------

    def _save(
        self,
        trainer: Trainer,
        original: Callable[..., object],
        filepath: "str | os.PathLike[str]",
        *args: object,
        **kwargs: object,
    ) -> None:
        """Of the Trainer, on every rank. Returns normally also when it was skipped."""
        path = os.path.realpath(filepath)
        if not self._is_ours(trainer, str(filepath), path):
            original(filepath, *args, **kwargs)
            return
        guard = self._guard_of(os.path.dirname(path))
        guard.room.best = _protected(trainer, guard.room.run)
        # Lightning writes over one of that name itself: a file is written elsewhere and moved there.
        self._saving = Saving(guard, trainer.global_step, path, over=os.path.lexists(path))
        try:
            self._failed |= not self._saving.run(lambda _: original(filepath, *args, **kwargs))
        finally:
            self._saving = None

    def _write(self, original: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Of the strategy: an error waits until the Trainer's barrier behind it is passed."""
        try:
            original(*args, **kwargs)
        except BaseException as error:
            if self._saving is None or not ranks.together() or not self._saving.hold(error):
                raise

    def _remove(
        self,
        original: Callable[..., object],
        filepath: "str | os.PathLike[str]",
        *args: object,
        **kwargs: object,
    ) -> None:
        """Of the strategy: what a ModelCheckpoint deletes after a save goes once that one is durable and intact."""
        guard = self._guards.get(os.path.dirname(os.path.realpath(filepath)))
        if self._failed:
            return  # it would go for one that is not there
        if guard and guard.leads:
            with suppress(TimeoutError):
                guard.follow_ups.wait_secured(guard.disk.longest)
            name = os.path.basename(filepath)
            if not guard.room.durable or name in guard.room.durable:
                warn(f"{filepath} stays: no newer one is known to be intact and durable")
                return
            guard.room.gone(name)
        original(filepath, *args, **kwargs)

    def _take_back_failed(
        self, callback: "ModelCheckpoint", original: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Of a ModelCheckpoint: what it knows is as before where its save failed."""
        before, self._failed = _known(callback), False
        original(*args, **kwargs)
        if self._failed:
            vars(callback).update(before)
        self._failed = False

    # --- where --------------------------------------------------------------------------------------------------------

    def _is_ours(self, trainer: Trainer, filepath: str, path: str) -> bool:
        """Whether a ModelCheckpoint saves there: what a person saves elsewhere is the person's."""
        directories = {os.path.realpath(c.dirpath) for c in trainer.checkpoint_callbacks if getattr(c, "dirpath", None)}
        is_local = "://" not in filepath
        return is_local and os.path.dirname(path) in directories and is_checkpoint(path)

    def _guard_of(self, directory: str) -> LoopGuard:
        run = os.path.realpath(directory)
        if run not in self._guards:
            discover.refuse_system_directory(run)
            self._guards[run] = LoopGuard(run, self._settings)
            self._guards[run].open()
        return self._guards[run]


def _known(callback: "ModelCheckpoint") -> dict[str, object]:
    own = {name: vars(callback)[name] for name in KNOWN if name in vars(callback)}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in own.items()}


def _protected(trainer: Trainer, run: str) -> dict[str, Reason]:
    """Names that no rule may take there: the best of each ModelCheckpoint, with save_top_k=K its K, and its last."""
    reasons: dict[str, Reason] = {}
    for callback in trainer.checkpoint_callbacks:
        last = getattr(callback, "last_model_path", "")
        reasons.update(dict.fromkeys((last, os.path.realpath(last)) if last else (), LAST))
        if getattr(callback, "monitor", None) is not None:
            every = list(callback.best_k_models) if getattr(callback, "save_top_k", 1) > 0 else []
            reasons.update(dict.fromkeys([callback.best_model_path, *every], BEST))
    return {
        os.path.basename(path): reason
        for path, reason in reasons.items()
        if os.path.dirname(os.path.realpath(path)) == run
    }
