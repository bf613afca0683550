"""Waiting, but not for ever: a network disk or a host that hangs must not hang whoever asks it something."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SLICE_SECONDS = 1.0  # between two looks whether the work still moves


class StandsStill(TimeoutError):
    """The work did not end in time, and is left behind in its thread."""


class Timeout:
    """Does one piece of work at a time, in a thread, and waits for it at most `seconds`.

    What hangs is left behind in its daemon thread, one at the most: until it returns, every next call times out.
    interrupted: somebody typed Ctrl-C while work was done that must not be left half done; the caller raises it then.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.interrupted = seconds, False
        self._free = threading.Lock()

    def call(self, work: Callable[[], T], moves: bool = False, late: Callable[[], object] = lambda: None) -> T:
        """Return what `work` returns, or raise what it raises; StandsStill if that takes too long.

        moves: the seconds count anew whenever its thread has computed, read or written something, and an interrupt
        waits for its end: see `interrupted`. late: called in the work's own thread if it ends after it was given up.
        Where no more threads can be had, the work is done here, and nothing bounds it.
        """
        deadline = time.monotonic() + self.seconds
        if not self._free.acquire(timeout=self.seconds):
            raise StandsStill(f"no answer within {self.seconds:g} s")
        job = _Job(work, late, self._free.release)
        job.begin()
        in_time = job.ended(deadline, self.seconds if moves else 0.0)
        self.interrupted |= job.interrupted
        if not in_time:
            raise StandsStill(f"no answer within {self.seconds:g} s")
        if job.faults:
            raise job.faults.pop()
        result: T = job.results[0]
        return result


class _Job:
    """One piece of work in a thread of its own."""

    def __init__(self, work: Callable[[], Any], late: Callable[[], object], release: Callable[[], None]) -> None:
        self.results: list[Any] = []
        self.faults: list[BaseException] = []
        self.interrupted = False
        self._work, self._late, self._release = work, late, release
        self._over, self._given_up, self._turn = threading.Event(), False, threading.Lock()
        self._thread = threading.Thread(target=self._do, name="ckptkit", daemon=True)

    def begin(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: unbounded is better than not at all
            self._do()

    def ended(self, deadline: float, renewed: float) -> bool:
        """Wait; whether it ended in time. renewed: seconds that each movement of the thread gives it again, 0: none.

        Somebody who interrupts what writes waits for its end all the same; who does it twice does not.
        """
        try:
            try:
                self._wait(deadline, renewed)
            except KeyboardInterrupt:
                if not renewed:
                    raise
                self.interrupted = True
                self._wait(time.monotonic() + renewed, renewed)
        finally:
            with self._turn:
                self._given_up = not self._over.is_set()
        return not self._given_up

    def _wait(self, deadline: float, renewed: float) -> None:
        last = None
        while (left := deadline - time.monotonic()) > 0 and not self._over.wait(min(left, SLICE_SECONDS)):
            if renewed and (now := _moved(self._thread)) != last:
                last, deadline = now, time.monotonic() + renewed

    def _do(self) -> None:
        try:
            self.results.append(self._work())
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that waits
            self.faults.append(fault)
        try:
            with self._turn:
                self._over.set()
            if self._given_up:
                self.faults.clear()  # with all that its frames hold open
                self._late()
        finally:
            self._release()


def _moved(thread: threading.Thread) -> object:
    """What changes while a thread computes, reads or writes: its ticks and its counts of bytes, proc(5)."""
    counters = []
    with suppress(OSError, IndexError):
        with open(f"/proc/self/task/{thread.native_id}/stat", encoding="utf-8", errors="replace") as file:
            counters += file.read().rpartition(")")[2].split()[11:13]  # utime and stime
        with open(f"/proc/self/task/{thread.native_id}/io", encoding="ascii") as file:
            counters += file.read().split()
    return counters
