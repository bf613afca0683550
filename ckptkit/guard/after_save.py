"""What follows a save, beside training: made durable, read back, its manifest written; then pruned and recorded.

One follow-up runs at a time, and one may wait. A newer save takes the place of the one that waits: it is the one that
a restart will go on from.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from ckptkit.errors import CkptkitError, UsageError
from ckptkit.guard.messages import warn
from ckptkit.guard.room import DURABLE, Room
from ckptkit.model.checkpoint import Judged
from ckptkit.ops.read import diverged, verify
from ckptkit.ops.record import record_damage
from ckptkit.ops.verify import write_manifest
from ckptkit.policy.keep import first_finding
from ckptkit.verify.verdict import Reading

VALUES = Reading(values=True)  # a save read back is in memory still: NaN and Inf are looked for as it passes
SIDE_BY_SIDE = 16  # files that are made durable at once: a disk, and a network disk above all, orders them better


class FollowUp(NamedTuple):
    """name: of the checkpoint that was written. intact: called once it is durable and known to be intact.

    record: writes the save into the history, last of all: what protects the training comes first.
    """

    room: Room
    name: str
    intact: Callable[[], None]
    record: Callable[[], None]


class FollowUps:
    """Runs them in a thread of its own, or, where no more threads can be had, at once."""

    def __init__(self) -> None:
        self._begin()
        begin_of_living = weakref.WeakMethod(self._begin)

        def begin_in_child() -> None:
            if begin := begin_of_living():
                begin()

        os.register_at_fork(after_in_child=begin_in_child)

    def _begin(self) -> None:
        """A forked process has none of our threads: it would wait for their end for ever."""
        self._changed = threading.Condition()
        self._waiting: FollowUp | None = None
        self._dropped: list[Callable[[], None]] = []  # the records of those that gave way
        self._running = self._securing = False

    def start(self, follow_up: FollowUp) -> None:
        """Begin with the checkpoint that was just written, as soon as the one before it is through."""
        with self._changed:
            if self._waiting:
                self._dropped.append(self._waiting.record)
            self._waiting = follow_up
            begin, self._running = not self._running, True
        if not begin:
            return
        try:
            threading.Thread(target=self._work, name="ckptkit", daemon=True).start()
        except RuntimeError:  # no more threads
            self._work()

    @property
    def pending(self) -> bool:
        """Whether a save is not yet known to be durable, or not to be."""
        with self._changed:
            return self._securing or self._waiting is not None

    def wait_secured(self, seconds: float | None = None) -> None:
        """Until nothing is pending. Raises TimeoutError after so many seconds."""
        self._wait(lambda: not self.pending, seconds)

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing is under way. Raises TimeoutError after so many seconds."""
        self._wait(lambda: not self._running, seconds)

    def wait_quietly(self, seconds: float) -> None:
        """As the process ends."""
        with suppress(TimeoutError):
            self.wait(seconds)

    def _wait(self, done: Callable[[], bool], seconds: float | None) -> None:
        with self._changed:
            if not self._changed.wait_for(done, seconds):
                raise TimeoutError(f"the checks after the last save did not end within {seconds:g} s")

    def _work(self) -> None:
        while follow_up := self._next():
            try:
                self._follow(follow_up, self._taken())
            except Exception as error:  # noqa: BLE001 - a fault of ours must cost no later save its follow-up
                warn(f"{follow_up.room.path(follow_up.name)}: the checks after its save failed: {error!r}")

    def _next(self) -> FollowUp | None:
        with self._changed:
            follow_up, self._waiting = self._waiting, None
            self._running = self._securing = follow_up is not None
            self._changed.notify_all()
            return follow_up

    def _taken(self) -> list[Callable[[], None]]:
        with self._changed:
            dropped, self._dropped = self._dropped, []
            return dropped

    def _follow(self, follow_up: FollowUp, dropped: Sequence[Callable[[], None]]) -> None:
        room = follow_up.room
        try:
            is_secured = _secure(room, follow_up.name, follow_up.intact)
        finally:
            with self._changed:
                self._securing = False
                self._changed.notify_all()
        if is_secured:
            room.prune(room.settings.rules)
        for record in (*dropped, follow_up.record):
            record()


def _secure(room: Room, name: str, intact: Callable[[], None]) -> bool:
    """Make it durable and read it back; whether earlier ones may go for it."""
    path = room.path(name)
    try:
        make_durable(path)
    except OSError as error:
        warn(f"{path} may not survive a crash of the box ({error.strerror}); an earlier one stays until the next save")
        room.not_durable = name
        return False
    fault = _read_back(room, name)
    if fault is not None:
        if room.rotates or fault not in ("", room.fault):  # where it is the Trainer's way to save so, once
            room.fault = fault
            warn(f"{path} was written but is not intact ({fault}){'; earlier ones stay' if room.rotates else ''}")
        return False
    room.durable = {name: DURABLE}
    intact()
    return True


def _read_back(room: Room, name: str) -> str | None:
    """Read a checkpoint whole and write its manifest; None if it is intact, else what there is to tell about it.

    The manifest tells of NaN and Inf: without it the next plan might let go of the last one with finite values.
    """
    try:
        (judged,) = verify(room.path(name), level="full", reading=VALUES, trust=room.settings.trust)
        if judged.verdict.intact:
            _write_manifest(room, judged)
            _tell_diverged(room, judged)
        if fault := record_damage(judged):
            warn(fault)
    except (CkptkitError, OSError) as error:
        return str(error) or repr(error)
    if judged.verdict.intact:
        return None
    # That nobody here can judge what this Trainer saves was told, once, as its rotation was left to it.
    known = not room.rotates and judged.verdict.state == "unknown" and not judged.verdict.unread
    return "" if known else f"{judged.verdict.state}: {first_finding(judged)}"


def _write_manifest(room: Room, judged: Judged) -> None:
    if not os.path.isdir(judged.checkpoint.path):  # of one file: there is no place for it
        return
    with room.turn:
        try:
            write_manifest(judged)
        except UsageError as error:  # it is intact all the same; a full disk has no room for a manifest either
            warn(str(error))


def _tell_diverged(room: Room, judged: Judged) -> None:
    """Training may go on for days with weights that are NaN, and its log is not always looked at."""
    name, bad = judged.checkpoint.name, judged.verdict.nonfinite
    if bad and name in diverged(room.run):
        more = f" and {len(bad) - 1} more weights" if len(bad) > 1 else ""
        stays = "a resume takes the last checkpoint before it with finite values, which stays"
        warn(f"{judged.checkpoint.path}: {bad[0]}{more} became NaN or Inf since an earlier save: {stays}")


# --- durable ----------------------------------------------------------------------------------------------------------


def make_durable(path: str, deep: bool = True) -> None:
    """fsync all below (deep), it, and the directory that holds it, side by side: the Trainer syncs nothing.

    path: of a directory, or of a checkpoint that is one file. Raises OSError.
    """
    below = _below(path) if deep and os.path.isdir(path) else ()
    _sync_all([*below, path, os.path.dirname(path)])


def _below(directory: str) -> Iterator[str]:
    """Its files and directories; a person's link or pipe is none of them."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
                yield from _below(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path


def _sync_all(paths: Sequence[str]) -> None:
    """Each in one of several threads, this one among them; raises the first fault once all have ended."""
    todo, faults, turn = iter(paths), list[OSError](), threading.Lock()

    def work() -> None:
        while path := _pull(todo, turn):
            try:
                _sync(path)
            except OSError as fault:
                faults.append(fault)

    helpers = []
    try:
        for _ in range(min(SIDE_BY_SIDE, len(paths)) - 1):
            helper = threading.Thread(target=work, name="ckptkit", daemon=True)
            helper.start()
            helpers.append(helper)
    except RuntimeError:  # no more threads: those that there are do it
        pass
    work()
    for helper in helpers:
        helper.join()
    if faults:
        raise faults[0]


def _pull(todo: Iterator[str], turn: threading.Lock) -> str:
    with turn:
        return next(todo, "")


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
