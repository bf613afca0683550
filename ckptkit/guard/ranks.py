"""Several ranks, one answer. Alone, everything here is the identity."""

import os
from collections.abc import Callable
from typing import TypeVar

from ckptkit.errors import CkptkitError

Answer = TypeVar("Answer")


def together() -> bool:
    """Whether other ranks train along."""
    import torch.distributed as dist

    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def number() -> int:
    """Which rank this process is; before the ranks have met, what its launcher says: 0 only if it may be the first.

    torchrun sets RANK; Lightning starts the others by LOCAL_RANK and NODE_RANK alone.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return int(dist.get_rank())
    names = ("RANK",) if "RANK" in os.environ else ("NODE_RANK", "LOCAL_RANK")
    return max(int(value) if (value := os.environ.get(name, "")).isdecimal() else 0 for name in names)


def decide(question: Callable[[], Answer]) -> Answer:
    """Ask rank 0 alone and return its answer on every rank; what it raises is raised on every rank.

    Every rank must call it, at the same point.
    """
    import torch.distributed as dist

    return ask(question, not together() or dist.get_rank() == 0)[0]


def ask(question: Callable[[], Answer], asked: bool) -> list[Answer]:
    """Ask the ranks for which `asked` is true; return their answers, by rank, on every rank.

    What one of them raises is raised on every rank. Every rank must call it, at the same point.
    """
    if not together():
        return [question()]
    answers = [answer for answer in gather(_answer(question) if asked else None) if answer is not None]
    for _, error in answers:
        if error is not None:
            raise error
    return [value for values, _ in answers for value in values]


def in_turn(question: Callable[[], object], asked: bool) -> None:
    """Ask as `ask`, but one rank after another: each sees what those before it did. Every rank must call it."""
    import torch.distributed as dist

    for rank, is_asked in enumerate(gather(asked)):
        if is_asked:
            ask(question, together() and rank == dist.get_rank())


def _answer(question: Callable[[], Answer]) -> tuple[list[Answer], Exception | None]:
    """The answer, alone in a list, or none and the error."""
    try:
        return [question()], None
    except CkptkitError as error:
        return [], error
    except Exception as error:  # noqa: BLE001 - another rank may not be able to unpickle it
        return [], RuntimeError(repr(error))


def gather(value: Answer) -> list[Answer]:
    """Return every rank's value, by rank, on every rank. Every rank must call it, at the same point."""
    if not together():
        return [value]
    import torch.distributed as dist

    values = [value] * dist.get_world_size()  # its own until the others' are there
    dist.all_gather_object(values, value)
    return values
