"""torch.save replaced for a while, for one thread alone."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Save = Callable[..., Any]


@contextmanager
def replaced(by: Callable[[Save], Save]) -> Iterator[None]:
    """In this thread, torch.save is what `by` makes of it; other threads' calls go to the real one."""
    import torch

    original, here = torch.save, threading.get_ident()
    own = by(original)

    def save(*args: Any, **kwargs: Any) -> Any:
        return (own if threading.get_ident() == here else original)(*args, **kwargs)

    torch.save = save
    try:
        yield
    finally:
        if torch.save is save:
            torch.save = original


def in_python() -> AbstractContextManager[None]:
    """In this thread, torch.save opens, writes and closes what it is given a path for as a file of Python's.

    Given a path, torch's writer (C++, seen with 2.13) holds Python's lock in open, write and close: while one of them
    hangs no thread goes on, and nobody can give the save up. It is as fast so, and the error has its number.
    """
    return replaced(_in_python)


def _in_python(original: Save) -> Save:
    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(f, (str, os.PathLike)):
            return original(obj, f, *args, **kwargs)
        with open(f, "wb") as file:  # buffered: a raw one may write less than it is given, which torch does not notice
            return original(obj, file, *args, **kwargs)

    return save
