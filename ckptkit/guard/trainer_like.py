"""What the guard leans on of a `transformers.Trainer` (4.50 to 5.24), private names among it; all else is its own.

A child that replaces one of the methods is called as it is: see `slots.saves_its_own_way`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class ArgumentsLike(Protocol):
    """`TrainingArguments`. save_total_limit is set while the guard rotates, save_only_model for a weights-only save."""

    output_dir: str
    save_only_model: bool
    save_total_limit: int | None
    save_on_each_node: bool
    metric_for_best_model: str | None

    @property
    def should_save(self) -> bool:
        """Whether this rank writes."""
        ...


class StateLike(Protocol):
    """`TrainerState`; `best_global_step` came with 4.51, and what a failed save changed of all this is put back."""

    global_step: int
    max_steps: int
    best_metric: float | None
    best_model_checkpoint: str | None
    stateful_callbacks: dict[str, Any]


class ControlLike(Protocol):
    """`TrainerControl`."""

    should_training_stop: bool
    should_save: bool
    should_log: bool


class ModelLike(Protocol):
    """A `torch.nn.Module`, as far as its size is measured."""

    def parameters(self) -> Iterable[Tensor]:
        """What is trained, and what is frozen."""
        ...


class TrainerLike(Protocol):
    """The Trainer itself. With a leading underscore: its own private methods, which the guard replaces or calls."""

    args: ArgumentsLike
    state: StateLike
    control: ControlLike
    model: Any
    optimizer: Any
    accelerator: Any
    is_in_train: bool
    train: Callable[..., Any]
    save_model: Callable[..., Any]
    _save_checkpoint: Callable[..., Any]
    _push_from_checkpoint: Callable[..., Any]
    _ckptkit_guard: Any

    def is_world_process_zero(self) -> bool:
        """Whether this is rank 0."""
        ...

    def add_callback(self, callback: Any) -> None:
        """Be told of steps, epochs and ends."""
        ...

    def _get_output_dir(self, trial: Any) -> str:
        """The run of this trial of a search, or of this training."""
        ...
