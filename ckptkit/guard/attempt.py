"""One attempt at writing, in which no rank may leave a collective that another one waits in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckptkit.guard import ranks
from ckptkit.guard.storage_errors import is_storage_error


def attempt(trainer: Any, save: Callable[[], Any], weights_only: bool = False) -> str | None:
    """Call the Trainer's own save on every rank; return the disk's word if it was in the way of any, else None.

    An error that is not the disk's is raised, on every rank.
    """
    held: list[Exception] = []
    try:
        with _weights_only(trainer, weights_only), _held_back(trainer, held):
            save()
    except Exception as error:
        if not ranks.together() and not is_storage_error(error):
            raise
        held.append(error)
    return _agreed(held[0] if held else None)


def _agreed(fault: Exception | None) -> str | None:
    """Where one rank's disk was full, the others fail of what is missing then: its word counts, not theirs."""
    mine = None if fault is None else (is_storage_error(fault), str(fault) or repr(fault))
    faults = [theirs for theirs in ranks.gather(mine) if theirs]
    word: str | None = next((word for disk, word in faults if disk), None)
    if faults and word is None:
        raise fault or RuntimeError(f"another rank could not save: {faults[0][1]}")
    return word


@contextmanager
def _weights_only(trainer: Any, wanted: bool) -> Iterator[None]:
    before = trainer.args.save_only_model
    trainer.args.save_only_model = before or wanted
    try:
        yield
    finally:
        trainer.args.save_only_model = before


@contextmanager
def _held_back(trainer: Any, held: list[Exception]) -> Iterator[None]:
    """With several ranks, an error of `save_model` waits until the Trainer's barrier behind it is passed.

    `_save_checkpoint` puts a barrier after the weights (transformers 5.17, `trainer.py`): a rank that raised before it
    would leave the others waiting in it for ever.
    """
    if not ranks.together():
        yield
        return
    original = trainer.save_model

    def save_model(*args: Any, **kwargs: Any) -> None:
        try:
            original(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised once all ranks are out of the barrier
            held.append(error)

    trainer.save_model = save_model
    try:
        yield
    finally:
        del trainer.save_model  # the class's own again
