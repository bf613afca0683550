"""Guard: stands between a Trainer and its disk. Every save passes through `_save`, on every rank alike.

The order of one save: wait for what the last one left to do, decide on rank 0, let all ranks learn it, write, let all
ranks learn whether all of them could, try once more after making room, then follow up in the background.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ckptkit import discover, forecast, ops
from ckptkit.errors import CkptkitError
from ckptkit.guard import ranks, save_size
from ckptkit.guard.after_save import Worker
from ckptkit.guard.hold import Hold
from ckptkit.guard.room import Room, inform, short, warn
from ckptkit.guard.settings import Settings
from ckptkit.patience import Patience
from ckptkit.report.text import human, passed_over
from ckptkit.tuples import NamedTuple

WRITES = ("save", "weights-only")
# For which one save's admission may hold up training, what follows the save before it included: beyond that its disk
# hangs, and the save is skipped. Below the ten minutes after which NCCL ends a training of which a rank waits.
LONGEST_SECONDS = 480.0
STILL_HANGING_SECONDS = 5.0  # for each save after that, until the disk answers again


class Admission(NamedTuple):
    """Rank 0's answer before a save: action is save, weights-only, there (already), skip or stop."""

    action: str
    reason: str = ""


class Guard:
    """Made by `ckptkit.guard(trainer)`; see there."""

    def __init__(self, trainer: Any, settings: Settings) -> None:
        self.trainer, self.settings = trainer, settings
        self.worker = Worker()
        self.source, self.claim = Hold(), Hold()
        self.room = Room(os.path.abspath(trainer.args.output_dir), settings)
        self.longest = LONGEST_SECONDS + (settings.on_full_timeout if settings.on_full == "wait" else 0)
        self.patience = Patience(self.longest)
        self.stopped = self.hangs = False
        self.skipped = 0
        self._written: set[str] = set()
        self._last_bytes = 0
        self._original_save: Callable[..., Any] = trainer._save_checkpoint
        self._original_train: Callable[..., Any] = trainer.train
        self._original_push: Callable[..., Any] = trainer._push_from_checkpoint

    def take_over(self) -> None:
        """Put the guard in the Trainer's way, and switch its own rotation off."""
        from ckptkit.guard.callback import GuardCallback

        trainer = self.trainer
        trainer._ckptkit_guard = self
        trainer._save_checkpoint, trainer.train = self._save, self._train
        trainer._push_from_checkpoint = self._push
        trainer.args.save_total_limit = None
        trainer.add_callback(GuardCallback(self))
        if self.main:
            self._announce()

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which decides."""
        return bool(self.trainer.is_world_process_zero())

    def wait(self) -> None:
        """Until the background work of the last save is done."""
        self.worker.wait()

    def save_model(self, directory: str) -> bool:
        """Write the final model, room made first; whether it is there and its weights are whole."""
        from ckptkit.guard.final_model import save_model

        return save_model(self, os.path.abspath(directory))

    def began(self, step: int) -> None:
        """Training begins at `step`: the checkpoint that it resumed from stays until a newer one is intact."""
        self.stopped = False
        self._written.clear()
        if self.main:
            name = f"checkpoint-{step}"
            if step and os.path.isdir(os.path.join(self.room.run, name)):
                self.room.source = {name: "the running training resumed from it"}
                with suppress(OSError):  # without it, other processes' sweeps alone don't know
                    self.source.take(os.path.join(self.room.run, name))
            if not self.settings.explicit:
                self.room.protect_predating()
            self.room.preflight()

    # --- instead of Trainer.train ---------------------------------------------------------------------------------

    def _train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`resume_from_checkpoint=True` means the newest intact one, where the Trainer takes the highest number."""
        self.room.enter(os.path.abspath(self.trainer.args.output_dir))  # it may have changed since guard()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = ranks.decide(self._newest)
        ranks.decide(self._claim)
        try:
            return self._original_train(resume_from_checkpoint, *args, **kwargs)
        finally:
            try:
                self.wait()
            finally:
                self.claim.release()

    def _claim(self) -> None:
        """Two trainings in one directory would take each other's checkpoints for their own. Raises LockHeld."""
        with suppress(OSError):  # a full disk has no room for the directory, and then nobody else's training either
            self.claim.claim(self.room.run)

    def _newest(self) -> str | None:
        """The checkpoint to go on from; None on a first run. Raises NoIntactCheckpoint if there are, but none will do.

        A disk that can't be read raises too: nobody may guess that there is nothing.
        """
        run = self.room.run
        if discover.is_gone(run) or not discover.scan(run).checkpoints:
            inform(f"no checkpoint in {run} yet: starting at step 0")
            return None
        found = ops.latest(run, trust=self.settings.trust)
        for passed in found.passed_over:
            warn(passed_over(passed.checkpoint, passed.reason))
        inform(f"resuming from {found.path}")
        return found.path

    # --- instead of Trainer._save_checkpoint ----------------------------------------------------------------------

    def _save(self, model: Any, trial: Any = None, *args: Any, **kwargs: Any) -> None:
        """The whole of one save; returns whether or not it could be written."""
        began = time.monotonic()
        run = os.path.abspath(self.trainer._get_output_dir(trial=trial))
        name = f"checkpoint-{self.trainer.state.global_step}"
        admitted: Admission = ranks.decide(partial(self._admit, run, name))
        if admitted.action in WRITES:
            admitted = self._write(name, admitted, partial(self._original_save, model, trial, *args, **kwargs))
        if admitted.action in WRITES and self.main:
            self._remember(name, admitted.action, time.monotonic() - began)
        elif admitted.action != "there" and self.main:
            self.skipped += 1
            warn(f"step {self.trainer.state.global_step} is NOT saved, training goes on: {admitted.reason}")
        if admitted.action == "stop":
            self.stopped = self.trainer.control.should_training_stop = True
        self._log(time.monotonic() - began)

    def _admit(self, run: str, name: str) -> Admission:
        """Rank 0: make room for the save, and say whether it fits. A disk that hangs costs saves, not the training."""
        self.patience.seconds = STILL_HANGING_SECONDS if self.hangs else self.longest
        self.hangs = False
        try:
            return self.patience.call(partial(self._make_room, run, name))
        except TimeoutError as error:
            self.hangs = True
            return Admission("skip", f"{run} does not answer: {error}")
        except (CkptkitError, OSError) as error:
            return Admission("skip", str(error))

    def _make_room(self, run: str, name: str) -> Admission:
        self.worker.wait(self.patience.seconds)
        self.room.enter(run)
        if self.stopped:
            return Admission("skip", "the disk was full before, and on_full is stop")
        if os.path.lexists(os.path.join(self.room.run, name)):
            if name in self._written and self.room.intact(name):  # a last save at the same step
                return Admission("there")
            # Writing into an older one would leave, if it broke off, a mix of both that looks intact.
            if not self.room.clear(name):
                return Admission("skip", f"{name} is there already and can't be removed")
        self.room.began = name
        need, on_full = self._need(), self.settings.on_full
        free = self.room.make(need, on_full)
        if free >= need:
            return Admission("save")
        return self._without_room(short(self.room.run, need, free), free)

    def _without_room(self, reason: str, free: int) -> Admission:
        if self.settings.on_full == "stop":
            return Admission("stop", f"{reason}; training ends here, as on_full says")
        smaller = self.settings.on_full == "weights-only" and not self.trainer.args.save_only_model
        if smaller and free >= forecast.first_save_bytes(*self.model_bytes(), 0):
            return Admission("weights-only", reason)
        return Admission("skip", reason)

    def _need(self) -> int:
        if self._last_bytes:
            return forecast.next_save_bytes(self._last_bytes)
        weights, tokenizer = self.model_bytes()
        trainer = self.trainer
        state = 0 if trainer.args.save_only_model else save_size.optimizer_bytes(trainer.optimizer, trainer.model)
        return forecast.first_save_bytes(weights, tokenizer, state)

    def model_bytes(self) -> tuple[int, int]:
        """Bytes of the weights and of the tokenizer that a save of the model alone writes."""
        tokenizer = getattr(self.trainer, "processing_class", None) or getattr(self.trainer, "tokenizer", None)
        return save_size.weights_bytes(self.trainer.model), save_size.tokenizer_bytes(tokenizer)

    def _write(self, name: str, admitted: Admission, save: Callable[[], Any]) -> Admission:
        """Write it, and once more after making room if a disk was in the way; what became of what was admitted."""
        from ckptkit.guard.attempt import attempt

        state = self.trainer.state
        best = state.best_model_checkpoint
        fault: str | None = None
        for _ in range(2):
            ranks.decide(partial(self.room.mark, name))
            fault = attempt(self.trainer, save, admitted.action == "weights-only")
            if not fault:
                if self.main:
                    self.room.unmark(name)
                return admitted
            state.best_model_checkpoint = best  # the Trainer names one as the best once its weights are written
            if not ranks.decide(partial(self._clear_up, name, fault)):
                break
        return Admission("stop" if self.settings.on_full == "stop" else "skip", str(fault))

    def _push(self, folder: str, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, which may send all of the checkpoint to the hub; its files are complete by then."""
        if self.main:
            self.room.unmark(os.path.basename(folder))
        return self._original_push(folder, *args, **kwargs)

    def _clear_up(self, name: str, fault: str) -> bool:
        """Rank 0, after a save that failed: remove its remains, make room, and say whether to try again."""
        warn(f"saving {name} failed: {fault}")
        gone = self.room.discard(name)
        with suppress(CkptkitError, OSError):  # the second attempt says what the disk says
            self.room.make(self._need(), "skip")
        return gone

    def _remember(self, name: str, action: str, seconds: float) -> None:
        """Rank 0, after a save: what it took is what the next one needs; then the follow-up, beside training."""
        with suppress(CkptkitError, OSError):  # a disk that can't tell just now: what the last one took stands
            taken = (c.allocated_bytes for c in ops.scan(self.room.run).checkpoints if c.name == name)
            self._last_bytes = next(taken, 0) if action == "save" else self._last_bytes
        self._written.add(name)
        record = partial(self.room.record_save, name, action, seconds)
        self.worker.start(self.room, name, self._release_source, record)

    def _release_source(self) -> None:
        self.source.release()
        self.room.source = {}

    def _log(self, stall: float) -> None:
        """The scalars, through the Trainer, in the training thread: they show up where its losses do."""
        logs = {"ckpt/stall_seconds": round(stall, 4)}
        if self.main and not self.hangs:
            with suppress(OSError):
                logs |= self.room.figures()
        self.trainer.log(logs)

    def _announce(self) -> None:
        keep = self.settings.keep_last
        on_full = self.settings.on_full
        inform(f"guarding {self.room.run}: at most {max(2, keep)} checkpoints at any instant, on_full={on_full}")
        if keep == 1:
            inform("keep_last=1: while a save is written there are 2, the last intact one stays until the new one is")
        if self.trainer.args.metric_for_best_model and keep < 3:
            inform("the best checkpoint is kept too: it may be one more than keep_last")
        inform(f"{human(self.room.available())} available")
