"""Functions of libraries, how torch and tokenizers write a file above all, replaced for a while and for one thread."""

import builtins
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack, contextmanager, suppress
from types import MethodDescriptorType
from typing import IO, Any, Protocol

from ckptkit.guard.storage_errors import is_storage_error

Function = Callable[..., Any]  # of a library: what it takes and returns is the library's own


class TokenizerLike(Protocol):
    """A `tokenizers.Tokenizer`, as far as it is written."""

    def to_str(self, pretty: bool) -> str:
        """What tokenizer.json holds."""
        ...


class _Dispatch:
    """Stands in the place of a function, and passes each thread's calls to what is in force there."""

    def __init__(self, original: Function) -> None:
        self.original = original
        self.by_thread: dict[int, Function] = {}

    def save(self) -> Function:
        """As a function: a class binds no other callable."""

        def save(*args: object, **kwargs: object) -> object:
            return self.by_thread.get(threading.get_ident(), self.original)(*args, **kwargs)

        return save


_turn = threading.Lock()

_installed: dict[
    tuple[object, str], tuple[_Dispatch, Function]
] = {}  # trainings in several threads replace the same one


@contextmanager
def replaced(owner: object, by: Callable[[Function], Function], name: str = "save") -> Iterator[None]:
    """In this thread, `owner.save` is what `by` makes of it; other threads' calls go to the real one.

    owner: a module or a class; one that can't be changed keeps its own. name: of another attribute, or of a built-in
    function that a module calls.
    """
    here = threading.get_ident()
    with _turn:
        dispatch = _dispatch(owner, name)
        before = dispatch.by_thread.get(here)
        dispatch.by_thread[here] = by(before or dispatch.original)
    try:
        yield
    finally:
        with _turn:
            del dispatch.by_thread[here]
            if before:
                dispatch.by_thread[here] = before
            if not dispatch.by_thread:
                _put_back(owner, name)


def _dispatch(owner: object, name: str) -> _Dispatch:
    """The one that is in place, or is put there now."""
    if (owner, name) not in _installed:
        dispatch = _Dispatch(getattr(owner, name, None) or getattr(builtins, name))
        _installed[owner, name] = dispatch, dispatch.save()
        with suppress(TypeError):
            setattr(owner, name, _installed[owner, name][1])
    return _installed[owner, name][0]


def _put_back(owner: object, name: str) -> None:
    """The real one, but where somebody else has put his own over it meanwhile."""
    dispatch, save = _installed.pop((owner, name))
    if getattr(owner, name) is save:
        setattr(owner, name, dispatch.original)


@contextmanager
def in_python() -> Iterator[None]:
    """In this thread, what torch and tokenizers are given a path for is opened, written and closed by Python.

    Their own writers hold Python's lock in open, write and close (C++ in torch 2.13, Rust in tokenizers 0.23; seen):
    while one of them hangs no thread goes on, and nobody can give the save up. It is as fast so, and the error has its
    number. safetensors lets go of the lock. What somebody else has put in the place of either stays as it is.
    """
    import torch

    with ExitStack() as stack:
        if _original_of(torch) is torch.serialization.save:
            stack.enter_context(replaced(torch, _torch))
        tokenizers = sys.modules.get("tokenizers")  # a trainer that writes a tokenizer.json has imported it
        if tokenizers and isinstance(_original_of(tokenizers.Tokenizer), MethodDescriptorType):
            stack.enter_context(replaced(tokenizers.Tokenizer, _tokenizer))
        yield


def _original_of(owner: object) -> Function:
    """What stood there before another training put its own in its place, or stands there."""
    with _turn:
        dispatch, save = _installed.get((owner, "save"), (None, None))
        current: Function = owner.save  # type: ignore[attr-defined]
        return dispatch.original if dispatch and current is save else current


def _torch(original: Function) -> Function:
    def save(obj: object, f: object, *args: object, **kwargs: object) -> object:
        if not isinstance(f, (str, os.PathLike)):
            return original(obj, f, *args, **kwargs)
        with open(f, "wb") as file:  # buffered: a raw one may write less than it is given, which torch does not notice
            return original(obj, file, *args, **kwargs)

    return save


def _tokenizer(_: Function) -> Function:
    def save(tokenizer: TokenizerLike, path: str, pretty: bool = True) -> None:  # the same bytes as its own
        with open(path, "wb") as file:
            file.write(tokenizer.to_str(pretty=pretty).encode())

    return save


Hold = Callable[[BaseException], None]


@contextmanager
def held_back(held: Sized, hold: Hold) -> Iterator[None]:
    """In this thread, give `hold` what they are refused, and write nothing more once `held` has something."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(replaced(torch, lambda original: _holding(original, held, hold)))
        # accelerate makes the directory of FSDP's shards on rank 0 alone, and the others gather without it.
        stack.enter_context(replaced(os, lambda original: _holding(original, held, hold), "makedirs"))
        engine = sys.modules.get("deepspeed.runtime.engine")  # a training with DeepSpeed has imported it
        if engine:
            # Rank 0 alone writes `latest` and copies its script, and then all ranks meet in a barrier.
            stack.enter_context(replaced(engine, lambda original: _opening(original, held, hold), "open"))
            stack.enter_context(replaced(engine, lambda original: _holding(original, held, hold), "copyfile"))
        yield


def _holding(original: Function, held: Sized, hold: Hold) -> Function:
    def write(*args: object, **kwargs: object) -> object:
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


def _opening(original: Function, held: Sized, hold: Hold) -> Function:
    def opened(path: str, mode: str = "r", *args: object, **kwargs: object) -> object:
        return _File(original, (path, mode, *args), kwargs, held, hold) if "w" in mode else original(path, mode)

    return opened


class _File:
    """A small text file that is written in a `with`: what the disk refuses of it is held."""

    def __init__(
        self, original: Function, args: tuple[object, ...], kwargs: dict[str, object], held: Sized, hold: Hold
    ) -> None:
        self._write = _holding(self._whole, held, hold)
        self._open: Callable[[], IO[str]] = lambda: original(*args, **kwargs)
        self._parts: list[str] = []

    def __enter__(self) -> "_File":
        return self

    def write(self, part: str) -> int:
        self._parts.append(part)
        return len(part)

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self._write()

    def _whole(self) -> None:
        with self._open() as file:
            for part in self._parts:
                file.write(part)
