"""What every guard has, with a Trainer or without: a run, its room, and what follows each save there."""

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ckptkit.errors import CkptkitError
from ckptkit.guard import ranks
from ckptkit.guard.after_save import FollowUp, FollowUps
from ckptkit.guard.bounded_disk import Bounded
from ckptkit.guard.claim import Hold
from ckptkit.guard.messages import warn
from ckptkit.guard.room import SOURCE, Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.guard.slots import LoopSlots, Slots
from ckptkit.model.events import SaveKind
from ckptkit.ops.record import record_save
from ckptkit.runs import discover
from ckptkit.units import count, printable


class Keeper:
    """skipped: saves of this training that were not written. room: the run. settings: what was asked for."""

    slots: Slots

    def __init__(self, run: str, settings: GuardSettings) -> None:
        self.settings = settings
        self.follow_ups = FollowUps()
        self.source = Hold()
        self.room = Room(os.path.realpath(run), settings)
        self.disk = Bounded(self.room)
        self.skipped = 0
        atexit.register(self.follow_ups.wait_quietly, self.disk.longest)

    def __repr__(self) -> str:
        skipped = f", {count(self.skipped, 'save')} skipped" if self.skipped else ""
        return printable(
            f"<{type(self).__name__} {self.room.run}: keeps the newest {self.settings.keep_last}{skipped}>"
        )

    def wait(self) -> None:
        """Until the background work of the last save is done, or for as long as a save may take."""
        try:
            self.follow_ups.wait(self.disk.longest)
        except TimeoutError as error:
            warn(f"{self.room.run} does not answer: {error}")

    def secured(self) -> Callable[[], None] | None:
        """What waits until the last save is known to be durable, so that an older one may go; None if it is."""
        waits = partial(self.follow_ups.wait_secured, self.disk.timeout.seconds)
        return waits if self.follow_ups.pending else None

    def _went_on_from(self, name: str) -> None:
        """The checkpoint of that name is what training resumed from: it stays until a newer one is intact."""
        self.room.source = {name: SOURCE}
        with suppress(OSError):  # without it, other processes' sweeps alone don't know
            self.source.take(self.room.path(name))

    def follow(self, name: str, kind: SaveKind, seconds: float) -> None:
        """What comes after a save, on a rank that looks after a disk. kind: save or weights-only.

        seconds: for which training stood still.
        """
        self.disk.quietly(partial(self._look_at, name, kind))
        record = partial(_record, self.room.path(name), kind, seconds)
        self.follow_ups.start(FollowUp(self.room, name, partial(self._hold, name), record))

    def _look_at(self, name: str, kind: SaveKind) -> None:
        """What it took is what the next one needs."""
        room = self.room
        room.written.add(name)
        room.known = (room.known or frozenset()) | {name}
        room.earlier -= {name}
        if kind == "save":
            with suppress(CkptkitError):
                self.slots.last_bytes = discover.checkpoint(room.path(name)).allocated_bytes

    def _hold(self, name: str) -> None:
        """A newer one is durable and intact: that is what a restart needs, and what no sweep beside us may take."""
        self.room.source = {}
        with suppress(OSError):
            self.source.take(self.room.path(name))


class LoopKeeper(Keeper):
    """Of a loop without a Trainer: what its guard and each of its saves know of each other."""

    def __init__(self, run: str, settings: GuardSettings) -> None:
        super().__init__(run, settings)
        self.slots: LoopSlots = LoopSlots(self.room)
        self.anew()

    def anew(self) -> None:
        """The next save is the first of a training, however many there were in this process."""
        self._begun, self._saved_last = False, -1

    @property
    def leads(self) -> bool:
        """Whether this rank looks after the disk."""
        return ranks.number() == 0

    def begin(self, step: int) -> None:
        """Training goes on from this step: what lies above it is an earlier one's. Once."""
        if self.leads and not self._begun:
            self.disk.quietly(lambda: self.room.begin(step, self.settings.explicit))
        self._begun = True

    def begin_save(self, step: int) -> None:
        """The first one of a training, or one below the last: a training that began again in this process."""
        if step < self._saved_last:
            self.anew()
        self.begin(max(0, step - 1))
        self._saved_last = step


def _record(path: str, kind: SaveKind, seconds: float) -> None:
    """Write a save into the history."""
    if fault := record_save(path, kind, seconds):
        warn(fault)
