"""torch.save through a file of Python's own: a disk that hangs then holds up one thread, and not the interpreter."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def in_python() -> Iterator[None]:
    """In this thread, torch.save opens, writes and closes what it is given a path for as a file of Python's.

    Given a path, torch's writer (C++, seen with 2.13) holds Python's lock in open, write and close: while one of them
    hangs no thread goes on, and nobody can give the save up. It is as fast so, and the error has its number.
    """
    import torch

    original, here = torch.save, threading.get_ident()

    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != here or not isinstance(f, (str, os.PathLike)):
            return original(obj, f, *args, **kwargs)
        with open(f, "wb") as file:  # buffered: a raw one may write less than it is given, which torch does not notice
            return original(obj, file, *args, **kwargs)

    torch.save = save
    try:
        yield
    finally:
        if torch.save is save:
            torch.save = original
