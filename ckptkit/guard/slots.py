"""Where a save goes: the one place that decides it, before the first byte is written and again after a failure.

Today's slots are the run itself, the run with weights alone, and none. A slot elsewhere (in RAM, on another volume) is
another action here, and another way to write it in `attempt`.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from ckptkit import forecast
from ckptkit.errors import CkptkitError
from ckptkit.guard import save_size
from ckptkit.guard.messages import does_not_fit, warn
from ckptkit.guard.room import Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.model.events import SaveKind
from ckptkit.ops.read import scan

SlotAction = Literal["save", "weights-only", "there", "skip", "stop"]
WRITES = ("save", "weights-only")
# A save is tried where the bytes may suffice: one that fails is cleaned up and costs seconds, one refused is lost.
# Below this share of the last save's bytes none will fit: its tensors alone are as large again.
MAY_SUFFICE = 0.9
PAUSE_SECONDS = 0.5  # more before each further attempt with on_full="wait"
# Of several nodes' answers the one that all follow: what one of them can't do, none does.
STRICTEST = ("stop", "skip", "weights-only", "save", "there")


class Slot(NamedTuple):
    """action: `there` is one that is there already. reason: why nothing or not all is saved, "" where all is."""

    action: SlotAction
    reason: str = ""

    @property
    def writes(self) -> bool:
        """Whether something is to be written."""
        return self.action in WRITES

    @property
    def kind(self) -> SaveKind:
        """What is written, where something is."""
        return "weights-only" if self.action == "weights-only" else "save"


def strictest(slots: Sequence[Slot]) -> Slot:
    """Given each node's answer, return the one that all of them follow."""
    return min(slots, key=lambda slot: STRICTEST.index(slot.action))


def saves_its_own_way(trainer: TrainerLike) -> bool:
    """Whether it may make a checkpoint's directory itself, elsewhere at first, or not at all."""
    return _overrides(trainer, ("_save_checkpoint", "save_model"))


def _overrides(trainer: TrainerLike, names: Sequence[str]) -> bool:
    """Whether any of these methods is not transformers' own in its class."""
    from transformers import Trainer

    return any(getattr(type(trainer), name) is not getattr(Trainer, name) for name in names)


class Slots:
    """Chooses, on a rank that looks after a disk. Raises TimeoutError, CkptkitError, OSError."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.last_bytes = 0  # of this training's last whole save
        self.stopped = False

    def need(self) -> int:
        """Bytes that a save needs for certain: what room is made for once one has failed."""
        raise NotImplementedError

    def least(self) -> int:
        """Bytes below which none can fit."""
        raise NotImplementedError

    def weights_fit(self) -> bool:
        """Whether a save of the weights alone is asked for instead of none, is one that can be judged, and may fit."""
        return False

    def _may_be_smaller_than(self, _free_bytes: int) -> bool:
        """Whether a save is tried in so many bytes, though no older one goes for it."""
        return False

    def _asked_by_a_person(self) -> bool:
        """Whether this save is one that a person called for, outside of the training's own rhythm."""
        return True

    @property
    def settings(self) -> GuardSettings:
        """What was asked for, as it is now."""
        return self.room.settings

    def choose(self, name: str, until: float, secured: Callable[[], None] | None, over: bool = False) -> Slot:
        """Make room for a save of that name, and say where it goes.

        until: when waiting for room ends, monotonic. secured: as in `Room.make`. over: one of that name is written
        over, and stays until then.
        """
        if self.stopped:
            return Slot("skip", "the disk was full before, and on_full is stop")
        room, in_the_way = self.room, not over and os.path.lexists(self.room.path(name))
        if in_the_way and name in room.written and room.sound(name):  # a last save at the same step
            if self._asked_by_a_person():  # who may have changed the model since
                warn(f"{room.path(name)} is already there and intact: it is not written again")
            return Slot("there")
        # Writing into an older one would leave, if it broke off, a mix of both. What can be judged is removed before
        # room is made, since that is room too; what can't is set aside, which frees nothing, once the save may fit.
        # Where the Trainer rotates, it writes over it as without a guard: what is set aside nobody would ever remove.
        unknown = in_the_way and room.is_unknown(name)
        if in_the_way and not unknown and not room.clear(name):
            return Slot("skip", f"{name} is already there and can't be removed")
        slot = self._with_room(room.make(self.likely(), self._waits_until(until), secured, self.least()))
        if slot.writes and unknown and room.rotates and not room.set_aside(name):
            return Slot("skip", f"{name} is already there and can't be renamed")
        room.began = "" if over or os.path.lexists(room.path(name)) else name
        return slot

    def foresee(self, name: str, until: float, secured: Callable[[], None] | None) -> Slot:
        """As `choose`, but nothing is deleted for the answer: of several disks, one that is full costs the others none.

        What can't be foreseen is tried.
        """
        if self._waits_until(until) or os.path.lexists(self.room.path(name)):
            return Slot("save")
        return self._with_room(self.room.foresee(self.likely(), self.least(), secured))

    def make_again(self, until: float, tries: int, secured: Callable[[], None] | None) -> None:
        """After a save that failed: make room, and with on_full="wait" wait for it; the next attempt tells the rest.

        secured: as in `Room.make`.
        """
        waits = self._waits_until(until)
        if waits and tries > 1:  # a quota that statvfs does not show would let it try without end
            time.sleep(max(0.0, min(tries * PAUSE_SECONDS, waits - time.monotonic())))
        with suppress(CkptkitError, OSError):
            self.room.make(self.need(), waits, secured)

    def given_up(self, fault: str) -> Slot:
        """After all attempts failed."""
        return Slot("stop" if self.settings.on_full == "stop" else "skip", fault)

    def _with_room(self, free: int) -> Slot:
        if free >= self.least() or self._may_be_smaller_than(free):
            return Slot("save")
        reason = does_not_fit(self.room.run, self.need(), free)
        if self.settings.on_full == "stop":
            return Slot("stop", f"{reason}; on_full is 'stop', so training ends here")
        return Slot("weights-only" if self.weights_fit() else "skip", reason)

    def _waits_until(self, until: float) -> float:
        return until if self.settings.on_full == "wait" else 0.0

    def likely(self) -> int:
        """Bytes that a save will take: as many as the last one. A margin might cost a checkpoint for nothing."""
        return self.last_bytes or self.need()


class TrainerSlots(Slots):
    """What a Trainer's save takes is measured in memory before its first one, and known from the last one after it."""

    def __init__(self, trainer: TrainerLike, room: Room) -> None:
        super().__init__(room)
        self.trainer, self._unmeasured = trainer, False

    def need(self) -> int:
        """Bytes that a save needs for certain: what room is made for once one has failed."""
        if self.last_bytes:
            return forecast.next_save_bytes(self.last_bytes)
        weights, tokenizer = self.model_bytes()
        return forecast.first_save_bytes(weights, tokenizer, self._state_bytes())

    def least(self) -> int:
        """Bytes below which none can fit: of what nobody here can judge, nobody here can guess the first one's."""
        if not (self.last_bytes or self.room.rotates):
            return 0
        return int(MAY_SUFFICE * (self.last_bytes or sum(self.model_bytes()) + self._state_bytes()))

    def weights_fit(self) -> bool:
        """Whether a save of the weights alone is asked for instead of none, is one that can be judged, and may fit.

        Under FSDP with sharded weights, for one, such a save writes no weights at all.
        """
        wanted = self.settings.on_full == "weights-only" and not self.trainer.args.save_only_model
        wanted = wanted and self.room.rotates and save_size.saves_model_alone(self.trainer)
        return wanted and self.room.usable() >= MAY_SUFFICE * sum(self.model_bytes())

    def _may_be_smaller_than(self, free_bytes: int) -> bool:
        """Whether a save is tried in so many bytes, though no older one goes for it.

        A Trainer that writes the model in a way of its own may write less of it, or less than the last time.
        """
        names = ("save_model", "_save")
        if not (vars(self.trainer).keys() & names or _overrides(self.trainer, names)):
            return False
        trained = self._measured(lambda: save_size.trained_bytes(self.trainer.model))
        return free_bytes >= int(MAY_SUFFICE * (trained + self._state_bytes()))

    def _asked_by_a_person(self) -> bool:
        return not self.trainer.is_in_train

    def _state_bytes(self) -> int:
        trainer = self.trainer
        if trainer.args.save_only_model:
            return 0
        has_stepped = trainer.state.global_step > 0
        own = self._measured(lambda: save_size.optimizer_bytes(trainer.optimizer, trainer.model, has_stepped))
        return own + self._measured(lambda: save_size.sharded_bytes(trainer))

    def model_bytes(self) -> tuple[int, int]:
        """Bytes of the weights and of the tokenizer that a save of the model alone writes."""
        tokenizer = getattr(self.trainer, "processing_class", None) or getattr(self.trainer, "tokenizer", None)
        weights = self._measured(lambda: save_size.weights_bytes(self.trainer.model))
        return weights, self._measured(lambda: save_size.tokenizer_bytes(tokenizer))

    def _measured(self, measure: Callable[[], int]) -> int:
        """Bytes; 0, told once, where the model can't be measured: the save is tried then."""
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - it asks a person's own classes
            if not self._unmeasured:
                warn(f"the size of the next save can't be measured before it is written: {error!r}")
            self._unmeasured = True
            return 0


class LoopSlots(Slots):
    """What a save of a loop takes is known from the ones before it: of the first one nobody knows, and it is tried."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.broken_off = 0  # bytes that one needs at least: there were so many for one that failed

    def need(self) -> int:
        """Bytes that a save needs for certain."""
        last = self.last_bytes or self._largest()
        return max(forecast.next_save_bytes(last) if last else 0, self.broken_off)

    def least(self) -> int:
        """Bytes below which none can fit."""
        return int(MAY_SUFFICE * self.last_bytes)

    def _largest(self) -> int:
        """Of those that an earlier training left, 0 if there are none."""
        with suppress(CkptkitError, OSError):
            return max(c.allocated_bytes for c in scan(self.room.run).checkpoints)
        return 0
