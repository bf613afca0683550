"""Guard: stands between a Trainer and its disk. Every save passes through `_save`, on every rank alike.

The order of one save: the ranks that look after a disk decide where it goes, all ranks learn it, write, learn whether
all of them could, and try once more after making room; then it is followed up in the background.
"""

import os
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import partial

from ckptkit import arguments
from ckptkit.errors import CkptkitError, LockHeld
from ckptkit.guard import ranks, rotation
from ckptkit.guard.attempt import attempt
from ckptkit.guard.callback import Clock, GuardCallback, StateBefore, log
from ckptkit.guard.claim import Hold, mark, unmark
from ckptkit.guard.final_model import FinalModel
from ckptkit.guard.keeper import Keeper
from ckptkit.guard.messages import inform, warn
from ckptkit.guard.resuming import newest
from ckptkit.guard.room import LOCK_SECONDS
from ckptkit.guard.rotation import Rotation
from ckptkit.guard.settings import GuardSettings
from ckptkit.guard.slots import Slot, TrainerSlots, saves_its_own_way, strictest
from ckptkit.guard.storage_errors import is_storage_error, one_line
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.guard.trials import Trials, watched
from ckptkit.model.events import SaveKind
from ckptkit.model.reason import Reason
from ckptkit.system import lock
from ckptkit.system.timeout import StandsStill

ATTEMPTS = 2  # of one save; with on_full="wait" as many as there is time for


class Guard(Keeper):
    """Made by `ckptkit.guard(trainer)`; see there."""

    def __init__(self, trainer: TrainerLike, settings: GuardSettings) -> None:
        super().__init__(trainer.args.output_dir, settings)
        self.trainer, self.claims = trainer, dict[str, Hold]()
        self.rotation = Rotation(trainer, self.room)
        self.slots: TrainerSlots = TrainerSlots(trainer, self.room)
        self.trials = Trials(self.room)
        self.shares = self._saving = self._left_nothing = False
        self.callback = GuardCallback(self.began, self.wait)
        self._set_clock(settings)
        self._began_at = 0
        self._original_save, self._original_train = trainer._save_checkpoint, trainer.train
        self._original_push = trainer._push_from_checkpoint
        self._own_way = saves_its_own_way(trainer)

    def take_over(self) -> None:
        """Put the guard in the Trainer's way, and switch its own rotation off where its saves can be judged."""
        trainer = self.trainer
        trainer._ckptkit_guard = self
        trainer._save_checkpoint, trainer.train = self._save, self._train
        trainer._push_from_checkpoint = self._push
        if hasattr(trainer, "hyperparameter_search"):
            trainer.hyperparameter_search = watched(trainer.hyperparameter_search, self._search_ended)
        trainer.add_callback(self.callback)
        self.rotation.set(self.leads)
        if self.main:
            self.rotation.announce()

    def change(self, settings: GuardSettings) -> None:
        """Go on with other settings: a cell of a notebook was run again."""
        if settings == self.settings:
            return
        self.settings = self.room.settings = settings
        self.disk.set(settings)
        self._set_clock(settings)
        self.rotation.set(self.leads)
        if self.main:
            self.rotation.announce()

    def _set_clock(self, settings: GuardSettings) -> None:
        self.callback.clock = Clock(settings.save_every) if settings.save_every else None

    @property
    def main(self) -> bool:
        """Whether this is rank 0."""
        return bool(self.trainer.is_world_process_zero())

    @property
    def leads(self) -> bool:
        """Whether this rank looks after a disk: rank 0, with `save_on_each_node` the first rank of each node's own."""
        return bool(self.trainer.args.should_save) and not self.shares

    def save_model(self, directory: str) -> bool:
        """Write the final model, room made first; whether it is there and its weights are whole.

        directory: where; an earlier model's weights in it are replaced, all else there is left alone.
        """
        writer = FinalModel(self.trainer, self.room, self.slots, self.disk.timeout, self.leads)
        self.wait()
        return writer.write(os.path.realpath(arguments.text("directory", os.fspath(directory))))

    # --- instead of Trainer.train ---------------------------------------------------------------------------------

    def _train(self, *args: object, **kwargs: object) -> object:
        """`resume_from_checkpoint=True` means the newest intact one, where the Trainer takes the highest number."""
        self.shares, process = False, os.getpid()
        fellows = frozenset(ranks.gather(process))
        enter = partial(self._enter, self.trainer.args.output_dir, fellows)  # it may have changed since guard()
        try:
            ranks.in_turn(enter, self.leads)
            trial = kwargs.get("trial", args[1] if len(args) > 1 else None)
            best = self.trials.best_so_far(trial)
            if self.leads:
                self.disk.quietly(partial(self.trials.begin, trial, best))
            args, kwargs = self._with_checkpoint(args, kwargs)
            with self.rotation.in_force(), rotation.forgiven(self.trainer, self.disk.timeout):
                return self._original_train(*args, **kwargs)
        finally:
            if os.getpid() == process:  # else a fork of it, which shares our locks
                self._leave()

    def _with_checkpoint(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """What train() was called with, and where that says True the checkpoint to go on from."""
        if kwargs.get("resume_from_checkpoint", args[0] if args else None) is not True:
            return args, kwargs
        path = newest(self.room, self.leads, self.trainer.args.save_only_model)
        return ((path, *args[1:]), kwargs) if args else (args, kwargs | {"resume_from_checkpoint": path})

    def _leave(self) -> None:
        """Training is over, or did not begin: wait for what goes on beside it, and claim nothing any more."""
        try:
            self.wait()
            self._notice()
        finally:
            self.source.release()
            for claim in self.claims.values():
                claim.release()
            self.claims.clear()

    def _search_ended(self, best: int | None) -> None:
        if self.leads:
            self.disk.quietly(partial(self.trials.ended, best))

    def _enter(self, run: str, fellows: Collection[int] = ()) -> None:
        """Go on in this run, and claim it: two trainings in one would take each other's checkpoints for their own.

        fellows: processes of this training; what one of them has claimed is a disk that it looks after for us too.
        Raises LockHeld.
        """
        self.room.enter(run)
        with suppress(CkptkitError):  # where the directory is not there yet, nobody has claimed it
            self.shares = lock.claimant(self.room.run) in fellows
        if self.shares:
            return
        claim = self.claims.setdefault(self.room.run, Hold())
        with suppress(OSError):  # a full disk has no room for the directory, and then nobody else's training either
            claim.claim(self.room.run)

    def began(self, step: int) -> None:
        """Training begins at `step`: the checkpoint that it resumed from stays until a newer one is intact."""
        self.slots.stopped, self._began_at = False, step
        if self.callback.clock:
            self.callback.clock.began(step)
        if not self.leads:
            return
        name = f"checkpoint-{step}"
        if step and os.path.isdir(self.room.path(name)):
            self._went_on_from(name)
        self.rotation.begin()
        self.room.begin(step, self.settings.explicit)

    # --- instead of Trainer._save_checkpoint ----------------------------------------------------------------------

    def _save(self, model: object, trial: object = None, *args: object, **kwargs: object) -> None:
        """Save one checkpoint. Returns normally also when it was skipped."""
        if self._saving:  # a signal's handler saves, while a save is under way
            warn(f"step {self.trainer.state.global_step} is already being saved")
            return
        self._saving = True
        try:
            with self.rotation.in_force():
                self._save_once(trial, partial(self._original_save, model, trial, *args, **kwargs))
        finally:
            self._saving = False
        if self.disk.timeout.interrupted:
            self.disk.timeout.interrupted = False
            raise KeyboardInterrupt

    def _save_once(self, trial: object, save: Callable[[], object]) -> None:
        began, step = time.monotonic(), self.trainer.state.global_step
        name = f"checkpoint-{step}"
        until = began + self.settings.on_full_timeout
        choose = partial(self._choose, self.trainer._get_output_dir(trial=trial), name, until)
        several = self.trainer.args.save_on_each_node and ranks.together()
        slot = self._agreed(partial(choose, self.slots.foresee)) if several else Slot("save")
        if slot.writes:
            slot = self._agreed(partial(choose, self.slots.choose))
        if slot.writes:
            slot = self._write(name, slot, until, save)
        if self.callback.clock:
            self.callback.clock.began(step)
        self._tell(name, slot, time.monotonic() - began)
        if slot.action == "stop":
            self.slots.stopped = self.trainer.control.should_training_stop = True
        if slot.action != "there":
            self._log(time.monotonic() - began)

    def _agreed(self, question: Callable[[], Slot]) -> Slot:
        return strictest(ranks.ask(question, self.leads))

    def _choose(self, run: str, name: str, until: float, choose: Callable[..., Slot]) -> Slot:
        """Where this save goes. A disk that hangs costs saves, not the training."""
        self.disk.save_begins()
        return self.disk.slot(partial(self._chosen, run, name, until, choose), Slot("save"))

    def _chosen(self, run: str, name: str, until: float, choose: Callable[..., Slot]) -> Slot:
        if os.path.realpath(run) != self.room.run:
            self.follow_ups.wait(self.disk.timeout.seconds)
            self._enter(run)
            self.room.begin(self._began_at, self.settings.explicit)
        self.trials.saved_in(self.room.run)
        self.room.notice()
        self.room.best = self._best()
        return choose(name, until, self.secured())

    def _write(self, name: str, slot: Slot, until: float, save: Callable[[], object]) -> Slot:
        """Write it, and try again after making room if a disk was in the way; what became of what was decided."""
        before, tries = StateBefore.of(self.trainer.state), 0
        while slot.writes:
            undo = partial(before.put_back, self.trainer.state)
            fault = self._try(name, slot, save, undo, partial(self._came_late, name, before))
            tries += 1
            if fault and tries >= ATTEMPTS and self._is_whole(name):
                warn(f"{self.room.path(name)} is complete; its save failed only after it was written: {fault}")
                fault = ""
            if not fault:
                return Slot("there") if self._left_nothing else slot
            undo()
            slot = self._agreed(partial(self.disk.slot, partial(self._after_failure, name, slot, fault, until, tries)))
        return slot

    def _try(
        self, name: str, slot: Slot, save: Callable[[], object], undo: Callable[[], object], late: Callable[[], object]
    ) -> str:
        """One attempt, the run's lock held; "" or the disk's word. undo, late: as in `attempt`."""
        self._left_nothing = False
        with ExitStack() as held:
            if not all(ranks.ask(partial(self._begin, name, held), self.leads)):
                return self.disk.hung("nothing can be written")
            try:
                fault = attempt(self.trainer, save, slot.action == "weights-only", self.disk.timeout, undo, late)
            except StandsStill as error:
                return self.disk.hung(str(error))
            faults = [fault] if fault else ranks.ask(partial(self._complete, name), self.leads)
            return next((fault for fault in faults if fault), "")

    def _is_whole(self, name: str) -> bool:
        """Whether what failed was no more than what a Trainer does after its last file: several ranks begin again."""
        answers: list[bool] = []
        if self._own_way and self.room.rotates and not ranks.together():
            self.disk.quietly(lambda: answers.append(self.room.sound(name)))
        return any(answers)

    def _complete(self, name: str) -> str:
        """Take the mark back; "" or the disk's word. One that is gone is not complete, but for a Trainer's own ways."""
        try:
            self.disk.timeout.call(partial(unmark, self.room.path(name)))
        except TimeoutError as error:
            return self.disk.hung(str(error))
        except OSError as error:
            self._left_nothing = self._own_way and isinstance(error, FileNotFoundError)
            if not self._left_nothing:
                return one_line(error)
            inform(f"{self.room.path(name)} is not there after its save: saved elsewhere, or not at all")
        return ""

    def _begin(self, name: str, held: ExitStack) -> bool:
        """Keep our own threads and sweeps out, and mark the checkpoint as under way; whether the disk answers."""
        if not self.room.turn.acquire(timeout=self.disk.timeout.seconds):
            return False
        held.callback(self.room.turn.release)
        self.disk.quietly(partial(self._lock, name, held))
        return not self.disk.hangs

    def _lock(self, name: str, held: ExitStack) -> None:
        """A sweep that deletes is waited for; one that hangs with the lock is no reason to lose a save."""
        os.makedirs(self.room.run, exist_ok=True)
        with suppress(LockHeld):
            held.enter_context(lock.hold(self.room.run, LOCK_SECONDS))
        path = self.room.path(name)
        if os.path.isdir(path) or not self._own_way or ranks.together():
            mark(path)

    def _after_failure(self, name: str, slot: Slot, fault: str, until: float, tries: int) -> Slot:
        """Remove what a failed save left, make room, and say whether, and what, to try once more."""
        warn(f"saving {name} failed: {fault}")
        over = not self.room.rotates and not self.room.began  # it is written over, as without a guard
        if self.disk.hangs or not (over or self.room.discard(name)):
            return self.slots.given_up(fault)
        waits = self.settings.on_full == "wait" and time.monotonic() < until
        if slot.action == "save" and (tries < ATTEMPTS or waits):
            self.slots.make_again(until, tries, self.secured())
            return Slot("save")
        weights = slot.action == "save" and self.slots.weights_fit()
        return Slot("weights-only", fault) if weights else self.slots.given_up(fault)

    def _came_late(self, name: str, before: StateBefore) -> None:
        """A save that was given up ended after all. Training went on meanwhile: what it wrote is a mix of two steps."""
        with suppress(Exception):
            state = self.trainer.state
            if os.path.basename(state.best_model_checkpoint or "") == name:
                before.best.put_back(state)
        if self.room.discard(name):
            inform(f"{self.room.path(name)} deleted: its save was given up before it ended")

    def _push(self, folder: str, *args: object, **kwargs: object) -> object:
        """The Trainer's, which may send all of the checkpoint to the Hub; its files are complete by then."""
        if self.leads:
            with suppress(OSError):  # it is tried again once the save is through
                unmark(folder)
        try:
            return self._original_push(folder, *args, **kwargs)
        except Exception as error:
            if not is_storage_error(error):
                raise
            fault = one_line(error)
            warn(f"{folder} could not be pushed to the Hub ({fault}); it is complete on disk, training goes on")
            return None

    # --- after a save ---------------------------------------------------------------------------------------------

    def _tell(self, name: str, slot: Slot, seconds: float) -> None:
        """What became of a save, to a person and to what follows it."""
        if slot.writes:
            if self.leads:
                self.follow(name, slot.kind, seconds)
            if self.main and slot.action == "weights-only":
                warn(f"{self.room.path(name)} is saved weights-only: training can't be resumed from it ({slot.reason})")
        elif slot.action != "there":
            self.skipped += 1
            if self.main:
                warn(f"step {self.trainer.state.global_step} is NOT saved, training goes on: {slot.reason}")
            best = self.callback.best
            if (metric := best.comes_back(self.trainer.state, name)) is not None and self.main:
                stays = best.checkpoint or "none so far"
                warn(f"{name} is the best so far ({metric}) but was not saved: the best one on disk is still {stays}")

    def _look_at(self, name: str, kind: SaveKind) -> None:
        """The first ones tell as well whether this Trainer's can be judged."""
        super()._look_at(name, kind)
        self.rotation.look_at(name)

    def _best(self) -> dict[str, Reason]:
        best = self.trainer.state.best_model_checkpoint
        why = Reason("best", "the best so far, as the running training has it")
        return {os.path.basename(best): why} if best else {}

    def _notice(self) -> None:
        if self.leads:
            self.disk.quietly(self.room.notice)

    def _log(self, stall: float) -> None:
        """The scalars, in the training thread: they show up where its losses do."""
        logs = {"ckpt/stall_seconds": round(stall, 4)}
        if self.leads and not self.disk.hangs:
            self.disk.quietly(lambda: logs.update(self.room.figures()))
        log(self.trainer, logs)
