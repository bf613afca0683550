"""The final model, through the same admission: room first, written aside, verified, then put in place."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from ckptkit import forecast
from ckptkit.errors import CkptkitError, LockHeld
from ckptkit.guard import ranks
from ckptkit.guard.after_save import make_durable
from ckptkit.guard.attempt import attempt
from ckptkit.guard.messages import does_not_fit, warn
from ckptkit.guard.ranks import Answer
from ckptkit.guard.room import LOCK_SECONDS, Room
from ckptkit.guard.slots import TrainerSlots
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.ops.verify import DRAFT, put_in_place, remove_draft, weights_findings
from ckptkit.system import lock
from ckptkit.system.timeout import StandsStill, Timeout
from ckptkit.system.volumes import available_bytes, nearest_directory


class FinalModel:
    """Writes it.

    leads: whether this rank looks after a disk. timeout: for how long a rank that is alone may stand still.
    """

    def __init__(self, trainer: TrainerLike, room: Room, slots: TrainerSlots, timeout: Timeout, leads: bool) -> None:
        self.trainer, self.room, self.slots, self.timeout, self.leads = trainer, room, slots, timeout, leads

    def write(self, directory: str) -> bool:
        """Given where the model should be, write it; on every rank, whether it is there and whole.

        directory: its real path. Of what else lies in it nothing is touched but an earlier model's weights.
        """
        need = forecast.first_save_bytes(*self.slots.model_bytes(), 0)
        is_new = self._first(lambda: not os.path.lexists(directory))
        reason = (
            self._first(partial(self._admit, directory, need))
            or self._attempts(os.path.join(directory, DRAFT), need)
            or self._first(partial(_put_in_place, directory))
        )
        if reason:
            self._first(partial(_give_up, directory, is_new, reason))
        return not reason

    def _first(self, question: Callable[[], Answer]) -> Answer:
        """Ask each rank that looks after a disk; the first answer that says anything, on every rank."""
        answers = ranks.ask(question, self.leads)
        return next((answer for answer in answers if answer), answers[0])

    def _admit(self, directory: str, need: int) -> str:
        """Make room and the directory; why not, or ""."""
        try:
            place, settings = nearest_directory(directory), self.room.settings
            free = available_bytes(place)
            if free < need and os.stat(place).st_dev == os.stat(nearest_directory(self.room.run)).st_dev:
                waits = settings.on_full_timeout if settings.on_full == "wait" else 0.0
                free = self.room.make(need, time.monotonic() + waits)
            if free < need:
                return does_not_fit(place, need, free)
            os.makedirs(directory, exist_ok=True)
            remove_draft(os.path.join(directory, DRAFT))
        except OSError as error:
            return str(error)
        return ""

    def _attempts(self, draft: str, need: int) -> str:
        """Write the draft, once more after making room; why it could not be, or "". Every rank takes part."""
        fault: str | None = ""
        for _ in range(2):
            with ExitStack() as held:
                if locked := self._first(partial(_lock, self.room.run, held)):
                    return locked
                try:
                    fault = attempt(self.trainer, partial(self.trainer.save_model, draft), False, self.timeout)
                except StandsStill as error:
                    return str(error)
            if not fault:
                return ""
            self._first(partial(self._clear_up, draft, fault, need))
        return str(fault)

    def _clear_up(self, draft: str, fault: str, need: int) -> None:
        warn(f"writing {draft} failed: {fault}")
        with suppress(CkptkitError, OSError):  # the second attempt says what the disk says
            remove_draft(draft)
            self.room.make(need)


def _lock(run: str, held: ExitStack) -> str:
    """Keep sweeps out meanwhile: written into a run itself, the draft would look like a leftover to them."""
    try:
        if os.path.isdir(run):
            held.enter_context(lock.hold(run, LOCK_SECONDS))
    except LockHeld as error:
        return str(error)
    return ""


def _put_in_place(directory: str) -> str:
    draft = os.path.join(directory, DRAFT)
    try:
        make_durable(draft)
        if faults := weights_findings(draft):
            return f"{faults[0].file} {faults[0].message}"
        put_in_place(draft, directory)
        make_durable(directory, deep=False)
    except OSError as error:
        return str(error)
    return ""


def _give_up(directory: str, is_new: bool, reason: str) -> None:
    warn(f"{directory} is NOT written: {reason}")
    try:
        remove_draft(os.path.join(directory, DRAFT))
        if is_new and os.path.isdir(directory):
            os.rmdir(directory)
    except OSError as error:
        warn(f"{directory} could not be removed: {error.strerror}")
