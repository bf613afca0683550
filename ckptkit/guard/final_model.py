"""The final model, through the same admission: room first, written aside, verified, then put in place."""

import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptkit import forecast
from ckptkit.errors import CkptkitError, LockHeld
from ckptkit.guard import ranks
from ckptkit.guard.after_save import make_durable
from ckptkit.guard.attempt import attempt
from ckptkit.guard.room import LOCK_SECONDS, existing, short, warn
from ckptkit.ops.verify import DRAFT, put_in_place, remove_draft, weights_findings
from ckptkit.system import lock
from ckptkit.system.timeout import StandsStill
from ckptkit.system.volumes import available_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptkit.guard.guard import Guard


def save_model(guard: "Guard", directory: str) -> bool:
    """Given the guard and where the model should be, write it; on every rank, whether it is there and whole.

    directory: its real path. Of what else lies in it nothing is touched but an earlier model's weights.
    """
    guard.wait()
    need = forecast.first_save_bytes(*guard.slots.model_bytes(), 0)
    is_new = _first(guard, lambda: not os.path.lexists(directory))
    reason = (
        _first(guard, partial(_admit, guard, directory, need))
        or _write(guard, os.path.join(directory, DRAFT), need)
        or _first(guard, partial(_put_in_place, directory))
    )
    if reason:
        _first(guard, partial(_give_up, directory, is_new, reason))
    return not reason


def _first(guard: "Guard", question: "Callable[[], Any]") -> Any:
    """Ask each rank that looks after a disk; the first answer that says anything, on every rank."""
    answers = ranks.ask(question, guard.leads)
    return next((answer for answer in answers if answer), answers[0])


def _admit(guard: "Guard", directory: str, need: int) -> str:
    """Make room and the directory; why not, or ""."""
    try:
        place = existing(directory)
        free = available_bytes(place)
        if free < need and os.stat(place).st_dev == os.stat(existing(guard.room.run)).st_dev:
            waits = guard.settings.on_full_timeout if guard.settings.on_full == "wait" else 0.0
            free = guard.room.make(need, time.monotonic() + waits)
        if free < need:
            return short(place, need, free)
        os.makedirs(directory, exist_ok=True)
        remove_draft(os.path.join(directory, DRAFT))
    except OSError as error:
        return str(error)
    return ""


def _write(guard: "Guard", draft: str, need: int) -> str:
    """Write the draft, once more after making room; why it could not be, or "". Every rank takes part."""
    fault: str | None = ""
    for _ in range(2):
        with ExitStack() as held:
            if locked := _first(guard, partial(_lock, guard.room.run, held)):
                return str(locked)
            try:
                fault = attempt(guard.trainer, partial(guard.trainer.save_model, draft), False, guard.disk.patience)
            except StandsStill as error:
                return str(error)
        if not fault:
            return ""
        _first(guard, partial(_clear_up, guard, draft, fault, need))
    return str(fault)


def _lock(run: str, held: ExitStack) -> str:
    """Keep sweeps out meanwhile: written into a run itself, the draft would look like a leftover to them."""
    try:
        if os.path.isdir(run):
            held.enter_context(lock.hold(run, LOCK_SECONDS))
    except LockHeld as error:
        return str(error)
    return ""


def _clear_up(guard: "Guard", draft: str, fault: str, need: int) -> None:
    warn(f"writing {draft} failed: {fault}")
    with suppress(CkptkitError, OSError):  # the second attempt says what the disk says
        remove_draft(draft)
        guard.room.make(need)


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
