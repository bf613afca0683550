"""One attempt at writing: bounded in time where a rank is alone, and where several are, none leaves a collective early.

What a failed attempt still holds open is let go of before anybody counts the free bytes.
"""

import contextvars
import gc
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import NamedTuple

from ckptkit.guard import ranks, writers
from ckptkit.guard.storage_errors import ENDS, chain, is_storage_error, one_line
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.system.timeout import Timeout


def attempt(
    trainer: TrainerLike,
    save: Callable[[], object],
    weights_only: bool,
    timeout: Timeout,
    undo: Callable[[], object] = lambda: None,
    late: Callable[[], object] = lambda: None,
) -> str | None:
    """Call the Trainer's own save on every rank; return the disk's word if it was in the way of any, else None.

    timeout: bounds how long a rank that is alone may stand still in it; `late` is called in the save's own thread if
    it ends after that. undo: takes back what a save that broke off changed, before it is done once more.
    Raises StandsStill where it stood still, and on every rank an error that is not the disk's.
    """
    if ranks.together():
        return _together(trainer, save, weights_only)
    return _alone(trainer, save, weights_only, timeout, undo, late)


def _alone(
    trainer: TrainerLike,
    save: Callable[[], object],
    weights_only: bool,
    timeout: Timeout,
    undo: Callable[[], object],
    late: Callable[[], object],
) -> str | None:
    """In a thread of its own: no signal ends a write(2) into a network disk that is gone.

    What a person's Trainer does in a save may be bound to the thread that trains: where a first save fails as a program
    does, it is done once more in that thread; and then, if that helped, nothing bounds its saves.
    """
    as_here, context = _thread_state(), contextvars.copy_context()

    def work() -> str | None:
        with as_here(), writers.in_python(), _weights_only(trainer, weights_only):
            return _fault_of(save)

    if _saves_in_any_thread.get(trainer, True):
        try:
            fault = timeout.call(lambda: context.run(work), moves=True, late=late)
        except TimeoutError:
            raise
        except Exception:
            if trainer in _saves_in_any_thread:
                raise
            undo()
        else:
            if not fault:
                _saves_in_any_thread[trainer] = True
            _take_over(context)
            return fault
    fault = work()
    _saves_in_any_thread[trainer] = False
    return fault


def _take_over(context: contextvars.Context) -> None:
    """What a save has set holds after it, as it does without a guard."""
    own = contextvars.copy_context()
    for variable, value in context.items():
        if variable not in own or own[variable] is not value:
            variable.set(value)


# Of trainers that have saved.
_saves_in_any_thread: "weakref.WeakKeyDictionary[TrainerLike, bool]" = weakref.WeakKeyDictionary()


def _fault_of(save: Callable[[], object]) -> str | None:
    """The disk's word, with nothing left of what the failed save had open.

    torch's zip writer, for one, stays in a reference cycle with its file: deleted and open, it would hold more bytes
    than the next attempt needs.
    """
    try:
        save()
    except ENDS:
        raise
    except BaseException as error:
        if not is_storage_error(error):
            raise
        fault = one_line(error)
        _let_go(error)
    else:
        return None
    gc.collect()
    return fault


def _let_go(error: BaseException) -> None:
    """Of what the frames of a failed save hold open."""
    for link in chain(error):
        traceback.clear_frames(link.__traceback__)


def _thread_state() -> Callable[[], AbstractContextManager[None]]:
    """What torch keeps for each thread, as it is here: whether gradients are recorded, the device, the GPU's stream."""
    import torch

    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    device = torch.get_default_device()
    stream = torch.cuda.current_stream() if torch.cuda.is_available() and torch.cuda.is_initialized() else None

    @contextmanager
    def same() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            if device.type != "cpu":
                stack.enter_context(device)
            if stream is not None:
                stack.enter_context(torch.cuda.stream(stream))  # and the GPU that it belongs to
            yield

    return same


def _together(trainer: TrainerLike, save: Callable[[], object], weights_only: bool) -> str | None:
    faults = Faults()
    try:
        with _weights_only(trainer, weights_only), _held_back(trainer, faults.hold), faults.writes_held_back():
            save()
    except ENDS:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again once all ranks know
        faults.hold(error)
    return faults.agreed()


class Fault(NamedTuple):
    """is_the_disks: not the program's. word: for a person."""

    is_the_disks: bool
    word: str


class Faults:
    """What a save failed of on this rank, held until all ranks know: one that left early would leave them waiting.

    Where one rank's disk was full, the others fail of what is missing then: its word counts, not theirs.
    """

    def __init__(self) -> None:
        self._held: list[Fault] = []
        self._raised: list[BaseException] = []

    def hold(self, error: BaseException) -> None:
        """Keep it, and let go of what it holds open."""
        self._held.append(Fault(is_storage_error(error), one_line(error)))
        _let_go(error)
        self._raised.append(error)

    @property
    def any(self) -> bool:
        """Whether anything is held on this rank."""
        return bool(self._held)

    def agreed(self, gather: Callable[[Fault | None], list[Fault | None]] = ranks.gather) -> str | None:
        """The disk's word if it was in the way of any rank, else None; every rank must ask.

        gather: each rank's value, by rank. Raises on every rank an error that is not the disk's.
        """
        faults = [fault for fault in gather(self._held[0] if self._held else None) if fault]
        word = next((fault.word for fault in faults if fault.is_the_disks), None)
        if faults and word is None:
            raise self._raised[0] if self._raised else RuntimeError(f"another rank could not save: {faults[0].word}")
        self._raised.clear()
        if faults:
            gc.collect()  # torch's zip writer stays in a reference cycle with its file: see `_fault_of`
        return word

    def writes_held_back(self) -> AbstractContextManager[None]:
        """What a writer of this rank is refused waits until the save is through; after that nothing more is written.

        FSDP gathers the optimizer once rank 0 has written the model, DeepSpeed has barriers between its files: a rank
        that raised in between would leave the others in them, and gloo ends all of them then.
        """
        return writers.held_back(self._held, self.hold)


@contextmanager
def _weights_only(trainer: TrainerLike, wanted: bool) -> Iterator[None]:
    before = trainer.args.save_only_model
    trainer.args.save_only_model = before or wanted
    try:
        yield
    finally:
        trainer.args.save_only_model = before


@contextmanager
def _held_back(trainer: TrainerLike, hold: Callable[[BaseException], None]) -> Iterator[None]:
    """An error of `save_model` waits until the Trainer's barrier behind it is passed.

    `_save_checkpoint` puts a barrier after the weights (transformers 5.17, `trainer.py`): a rank that raised before it
    would leave the others waiting in it for ever.
    """
    original, own = trainer.save_model, vars(trainer).get("save_model")

    def save_model(*args: object, **kwargs: object) -> None:
        try:
            original(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised once all ranks are out of the barrier
            hold(error)

    trainer.save_model = save_model
    try:
        yield
    finally:
        if own is not None:
            trainer.save_model = own  # a person's, on this one trainer
        else:
            with suppress(AttributeError):
                del trainer.save_model  # the class's own again
