"""Writers whose refusal by the disk waits until a save of several ranks is through.

torch's, what makes a directory, and DeepSpeed's own files.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from ckptkit.guard import writers
from ckptkit.guard.storage_errors import is_storage_error

Hold = Callable[[BaseException], None]


@contextmanager
def held_back(held: Sized, hold: Hold) -> Iterator[None]:
    """In this thread, give `hold` what they are refused, and write nothing more once `held` has something."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(writers.replaced(torch, lambda original: _holding(original, held, hold)))
        # accelerate makes the directory of FSDP's shards on rank 0 alone, and the others gather without it.
        stack.enter_context(writers.replaced(os, lambda original: _holding(original, held, hold), "makedirs"))
        engine = sys.modules.get("deepspeed.runtime.engine")  # a training with DeepSpeed has imported it
        if engine:
            # Rank 0 alone writes `latest` and copies its script, and then all ranks meet in a barrier.
            stack.enter_context(writers.replaced(engine, lambda original: _opening(original, held, hold), "open"))
            stack.enter_context(writers.replaced(engine, lambda original: _holding(original, held, hold), "copyfile"))
        yield


def _holding(original: writers.Save, held: Sized, hold: Hold) -> writers.Save:
    def write(*args: Any, **kwargs: Any) -> Any:
        if held:
            return None
        try:
            return original(*args, **kwargs)
        except Exception as error:
            if not is_storage_error(error):
                raise
            hold(error)
            return None

    return write


def _opening(original: writers.Save, held: Sized, hold: Hold) -> writers.Save:
    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return _File(original, (path, mode, *args), kwargs, held, hold) if "w" in mode else original(path, mode)

    return opened


class _File:
    """A small text file that is written in a `with`: what the disk refuses of it is held."""

    def __init__(self, original: writers.Save, args: Any, kwargs: Any, held: Sized, hold: Hold) -> None:
        self._write = _holding(self._whole, held, hold)
        self._open: Callable[[], IO[Any]] = lambda: original(*args, **kwargs)
        self._parts: list[Any] = []

    def __enter__(self) -> "_File":
        return self

    def write(self, part: Any) -> int:
        self._parts.append(part)
        return len(part)

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self._write()

    def _whole(self) -> None:
        with self._open() as file:
            for part in self._parts:
                file.write(part)
