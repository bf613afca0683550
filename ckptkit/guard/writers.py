"""How torch and tokenizers write a file, replaced for a while, for one thread alone."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

Save = Callable[..., Any]


@contextmanager
def replaced(owner: Any, by: Callable[[Save], Save]) -> Iterator[None]:
    """In this thread, `owner.save` is what `by` makes of it; other threads' calls go to the real one.

    owner: a module or a class; one that can't be changed keeps its own.
    """
    original, here = owner.save, threading.get_ident()
    own = by(original)

    def save(*args: Any, **kwargs: Any) -> Any:
        return (own if threading.get_ident() == here else original)(*args, **kwargs)

    with suppress(TypeError):
        owner.save = save
    try:
        yield
    finally:
        if owner.save is save:
            owner.save = original


@contextmanager
def in_python() -> Iterator[None]:
    """In this thread, what torch and tokenizers are given a path for is opened, written and closed by Python.

    Their own writers hold Python's lock in open, write and close (C++ in torch 2.13, Rust in tokenizers 0.23; seen):
    while one of them hangs no thread goes on, and nobody can give the save up. It is as fast so, and the error has its
    number. safetensors lets go of the lock.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(replaced(torch, _torch))
        if tokenizers := sys.modules.get("tokenizers"):  # a trainer that writes a tokenizer.json has imported it
            stack.enter_context(replaced(tokenizers.Tokenizer, _tokenizer))
        yield


def _torch(original: Save) -> Save:
    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(f, (str, os.PathLike)):
            return original(obj, f, *args, **kwargs)
        with open(f, "wb") as file:  # buffered: a raw one may write less than it is given, which torch does not notice
            return original(obj, file, *args, **kwargs)

    return save


def _tokenizer(_: Save) -> Save:
    def save(tokenizer: Any, path: str, pretty: bool = True) -> None:  # the same bytes as its own
        with open(path, "wb") as file:
            file.write(tokenizer.to_str(pretty=pretty).encode())

    return save
