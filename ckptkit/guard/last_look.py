"""The Trainer's own look at the run after the last step, when all is saved: no disk ends a training with that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ckptkit.guard.room import warn
from ckptkit.guard.storage_errors import told
from ckptkit.guard.writers import replaced
from ckptkit.system.timeout import Patience


@contextmanager
def forgiven(trainer: Any, patience: Patience) -> Iterator[None]:
    """Meanwhile the Trainer's list of checkpoints is empty where the disk refuses it, or does not answer in time.

    It uses the list only for its own rotation, which then deletes nothing. In transformers 4 it is a method, in 5 a
    function.
    """
    from transformers import trainer as module

    is_method = hasattr(trainer, "_sorted_checkpoints")
    holder, name = (trainer, "_sorted_checkpoints") if is_method else (module, "sort_checkpoints")
    if not hasattr(holder, name):
        yield
        return
    with replaced(holder, partial(_forgiving, patience), name):
        yield


def _forgiving(patience: Patience, original: Callable[..., Any]) -> Callable[..., Any]:
    def listed(*args: Any, **kwargs: Any) -> Any:
        try:
            return patience.call(partial(original, *args, **kwargs))
        except OSError as error:
            warn(f"the Trainer can't list its checkpoints: {told(error)}")
            return []

    return listed
