"""Waiting, but not for ever: a network disk or a host that hangs must not hang whoever asks it something."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class Patience:
    """Does one piece of work at a time, in a thread, and waits for it at most `seconds`.

    What hangs is left behind in its daemon thread, one at the most: until it returns, every next call times out.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._free = threading.Lock()

    def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises; TimeoutError if that takes too long."""
        deadline = time.monotonic() + self.seconds
        results: list[T] = []
        faults: list[BaseException] = []
        if self._free.acquire(timeout=self.seconds):
            self._begin(work, results, faults).join(max(0.0, deadline - time.monotonic()))
        if faults:
            raise faults[0]
        if not results:
            raise TimeoutError(f"no answer within {self.seconds:g} s")
        return results[0]

    def _begin(self, work: Callable[[], T], results: list[T], faults: list[BaseException]) -> threading.Thread:
        thread = threading.Thread(target=self._do, args=(work, results, faults), name="ckptkit", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._free.release()
            raise
        return thread

    def _do(self, work: Callable[[], T], results: list[T], faults: list[BaseException]) -> None:
        try:
            results.append(work())
        except BaseException as fault:  # noqa: BLE001 - raised again in the thread that waits
            faults.append(fault)
        finally:
            self._free.release()
