"""One save of a loop: room first, bounded to its own name, and what is left of it removed where the disk broke it off.

As in `guard`, the ranks that look after a disk decide, all ranks learn it, write, and learn whether all of them could.
"""

import errno
import gc
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType

from ckptkit import arguments
from ckptkit.errors import CkptkitError, LockHeld, UsageError
from ckptkit.guard import ranks
from ckptkit.guard.attempt import Faults
from ckptkit.guard.claim import as_made, mark, unmark
from ckptkit.guard.keeper import LoopKeeper
from ckptkit.guard.messages import inform, warn
from ckptkit.guard.ranks import Answer
from ckptkit.guard.resuming import is_checkpoint
from ckptkit.guard.room import LOCK_SECONDS
from ckptkit.guard.slots import Slot, strictest
from ckptkit.guard.storage_errors import ENDS, broke_off, is_storage_error, one_line
from ckptkit.runs import discover
from ckptkit.system import lock

ATTEMPTS = 2  # of one save; with on_full="wait" as many as there is time for


class Saving:
    """Made by `guard.saving(step)`: a `with`, of which the body writes the checkpoint.

    path: where. saved: whether it was, once the `with` is over; skipped: why it was not, "" if it was.
    """

    def __init__(
        self,
        guard: LoopKeeper,
        step: int,
        path: "str | os.PathLike[str] | None" = None,
        alone: bool = False,
        over: bool = False,
    ) -> None:
        """over: its writer writes over one of that name in a way of its own: that one is not removed before."""
        self.guard, self.step = guard, arguments.whole("step", step, "must be a whole number, 0 or more", least=0)
        self.alone, self.over, self.has_path = alone, over, path is not None
        self.path = os.path.abspath(os.fspath(path) if path is not None else guard.room.path(f"checkpoint-{step}"))
        self.saved, self.skipped = False, ""
        self._faults, self._held = Faults(), ExitStack()
        self._before: frozenset[str] = frozenset()
        self._torn = False  # whether what failed may have been a write of it, on any rank
        _require_in_the_run(self.path, guard.room.run)

    @property
    def name(self) -> str:
        """Of the checkpoint."""
        return os.path.basename(self.path)

    @property
    def leads(self) -> bool:
        """Whether this rank looks after the disk."""
        return self.alone or self.guard.leads

    # --- as a `with` --------------------------------------------------------------------------------------------------

    def __enter__(self) -> str:
        self._began = time.monotonic()
        self.guard.room.written.discard(self.name)  # it is written once more, since the body can't be left out
        slot = self._agreed(self._choose)
        if not slot.writes and self.leads:
            warn(f"{slot.reason}; trying it anyway")
        self._begin()
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, ENDS):
            self._held.close()
            return False
        fault = self._end(error)
        if not fault:
            self._follow()
            return False
        if self._agreed(partial(self._after_failure, fault, None)).action == "there":
            self._follow()
            return True
        self._tell(fault)
        if self._raises and error is None:
            raise self._error()
        return not self._raises

    # --- as a call ----------------------------------------------------------------------------------------------------

    def run(self, write: Callable[[str], object]) -> bool:
        """Call it, once more after making room; whether it was written."""
        self._began, tries = time.monotonic(), 0
        slot = self._agreed(self._choose)
        while slot.writes:
            fault, tries = self._attempt(write), tries + 1
            if not fault:
                self._follow()
                return True
            slot = self._agreed(partial(self._after_failure, fault, tries))
        if slot.action == "there":
            if tries:
                self._follow()
            self.saved = True
            return True
        self._tell(slot.reason)
        if self._raises:
            raise self._error()
        return False

    def _attempt(self, write: Callable[[str], object]) -> str:
        self._begin()
        try:
            write(self.path)
        except ENDS:
            self._held.close()
            raise
        except BaseException as error:  # noqa: BLE001 - raised there if it is not the disk's
            return self._end(error)
        return self._end(None)

    def hold(self, error: BaseException) -> bool:
        """Keep an error until all ranks know; not what ends a program. Whether it is kept."""
        if not isinstance(error, ENDS):
            self._faults.hold(error)
        return not isinstance(error, ENDS)

    @property
    def _raises(self) -> bool:
        return self.guard.settings.on_full == "raise"

    def _error(self) -> OSError:
        return OSError(errno.ENOSPC, self.skipped, self.path)

    # --- before it ----------------------------------------------------------------------------------------------------

    def _agreed(self, question: Callable[[], Slot]) -> Slot:
        return strictest(self._ask(question))

    def _ask(self, question: Callable[[], Answer]) -> list[Answer]:
        return [question()] if self.alone else ranks.ask(question, self.leads)

    def _gather(self, value: Answer) -> list[Answer]:
        return [value] if self.alone else ranks.gather(value)

    def _choose(self) -> Slot:
        guard = self.guard
        guard.begin_save(self.step)
        guard.disk.save_begins()
        return guard.disk.slot(self._chosen, Slot("save"))

    def _chosen(self) -> Slot:
        guard = self.guard
        guard.room.notice()
        return guard.slots.choose(self.name, self._until, guard.secured(), self.over)

    @property
    def _until(self) -> float:
        return self._began + self.guard.settings.on_full_timeout

    def _begin(self) -> None:
        """Keep sweeps and our own threads out; what is made in the run meanwhile is marked as under way."""
        self._faults, self._held = Faults(), ExitStack()
        room = self.guard.room
        self._held.enter_context(as_made(room.run, is_checkpoint))
        if not self.alone and ranks.together():
            self._held.enter_context(self._faults.writes_held_back())
        if self.leads and room.turn.acquire(timeout=self.guard.disk.timeout.seconds):
            self._held.callback(room.turn.release)
            self.guard.disk.quietly(self._lock)
        if not self.alone:
            ranks.gather(None)  # none writes before the run is locked

    def _lock(self) -> None:
        """A sweep that deletes is waited for; one that hangs with the lock is no reason to lose a save."""
        room = self.guard.room
        os.makedirs(room.run, exist_ok=True)
        with suppress(LockHeld):
            self._held.enter_context(lock.hold(room.run, LOCK_SECONDS))
        self._before = frozenset(os.listdir(room.run))
        if os.path.isdir(self.path):
            mark(self.path)

    # --- after it -----------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException | None) -> str:
        """The disk's word if it was in the way of any rank, "" if not. Raises on every rank what is not the disk's."""
        try:
            torn = self._faults.any or (error is not None and broke_off(error, self.path))
            if error is not None and self._is_alone() and not is_storage_error(error, by_context=False):
                raise error
            if error is not None:
                self._faults.hold(error)
            fault = self._faults.agreed(self._gather)
            self._torn = bool(fault) and any(self._gather(torn))
            faults = [fault] if fault else self._ask(self._complete)
            return next((fault for fault in faults if fault), "")
        finally:
            self._held.close()
            if error is not None:
                gc.collect()

    def _is_alone(self) -> bool:
        return self.alone or not ranks.together()

    def _complete(self) -> str:
        """Take the mark back; "" or the disk's word."""
        if not os.path.lexists(self.path) and not self.has_path and len(new := self._new()) == 1:
            self.path = self.guard.room.path(new[0])
        try:
            if os.path.isdir(self.path):
                self.guard.disk.timeout.call(partial(unmark, self.path))
        except TimeoutError as hanging:
            return self.guard.disk.hung(str(hanging))
        except OSError as refused:
            return one_line(refused)
        return ""

    def _new(self) -> list[str]:
        """The checkpoints in the run that were not there before: this one, or if it was not named whatever came."""
        if self.has_path or os.path.lexists(self.path):
            return [self.name] if self.name not in self._before and os.path.lexists(self.path) else []
        try:
            now = frozenset(os.listdir(self.guard.room.run)) - self._before
        except OSError:
            return []
        return sorted(filter(is_checkpoint, now))

    def _after_failure(self, fault: str, tries: int | None) -> Slot:
        """What becomes of a save that failed. tries: so many times so far; None: it can't be done again."""
        return self.guard.disk.slot(partial(self._cleaned_up, fault, tries))

    def _cleaned_up(self, fault: str, tries: int | None) -> Slot:
        """Remove what is left of it and was not there before, make room, and say whether to try once more."""
        guard = self.guard
        warn(f"saving {self.name} failed: {fault}")
        if guard.disk.hangs:
            return Slot("skip", fault)
        if not self._torn and self._is_whole():
            warn(f"{self.path} is complete and stays, training goes on: the error came after its save ({fault})")
            return Slot("there")
        self._remove()
        waits = guard.settings.on_full == "wait" and time.monotonic() < self._until
        if tries is None or not (tries < ATTEMPTS or waits):
            guard.room.make(guard.slots.need())  # for the next one
            return Slot("skip", fault)
        guard.slots.make_again(self._until, tries, guard.secured())
        return Slot("save")

    def _is_whole(self) -> bool:
        """Whether one that is new was written to its end, and something after it failed, such as its upload."""
        new, room = self._new(), self.guard.room
        if len(new) != 1:
            return False
        self.path = room.path(new[0])
        if os.path.isdir(self.path):
            with suppress(OSError):
                unmark(self.path)
        return room.sound(self.name)

    def _remove(self) -> None:
        room, slots = self.guard.room, self.guard.slots
        for name in self._new():
            with suppress(CkptkitError):
                tried = discover.checkpoint(room.path(name)).allocated_bytes + room.usable()
                slots.broken_off = max(slots.broken_off, tried + 1)
            room.began = name
            room.discard(name)

    def _follow(self) -> None:
        self.saved = True
        if not self.leads:
            return
        if os.path.lexists(self.path):
            self.guard.slots.broken_off = 0
            self.guard.follow(self.name, "save", time.monotonic() - self._began)
        else:
            inform(f"{self.path} is not there after its save: it was saved elsewhere, so the guard does nothing for it")

    def _tell(self, fault: str) -> None:
        self.skipped = fault
        self.guard.skipped += 1
        if self.leads:
            warn(f"step {self.step} is NOT saved, training goes on: {fault}")


def _require_in_the_run(path: str, run: str) -> None:
    """Raise UsageError for a checkpoint that nobody would find, or know as one."""
    parent, name = os.path.split(path)
    if os.path.realpath(parent) != run:
        raise UsageError(f"path={path!r} is outside of {run}, the directory of this guard")
    if not is_checkpoint(name):
        raise UsageError(f"path={path!r} is not a checkpoint's name: name it checkpoint-STEP, such as checkpoint-100")
