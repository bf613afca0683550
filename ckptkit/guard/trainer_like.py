"""What the guard leans on of a `transformers.Trainer` (4.50 to 5.24), private names among it; all else is its own.

A child that replaces one of the methods is called as it is: see `slots.saves_its_own_way`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
    stateful_callbacks: dict[str, object]


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

    def buffers(self) -> Iterable[Tensor]:
        """What is saved beside them."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Both, by name; where ranks hold a part each, it may gather them."""
        ...


class AdaptedModelLike(ModelLike, Protocol):
    """A peft model, as far as its size is measured."""

    peft_config: Mapping[str, object]

    def get_input_embeddings(self) -> object:
        """Of the base model."""
        ...

    def get_output_embeddings(self) -> object:
        """Of the base model; None where it has none."""
        ...


class AcceleratorLike(Protocol):
    """`accelerate.Accelerator`; what `state` holds of FSDP and DeepSpeed are settings of theirs."""

    state: Any


class TrainerLike(Protocol):
    """The Trainer itself. With a leading underscore: its own private methods, which the guard replaces or calls."""

    args: ArgumentsLike
    state: StateLike
    control: ControlLike
    model: ModelLike
    optimizer: object
    accelerator: AcceleratorLike
    is_in_train: bool
    train: Callable[..., object]
    save_model: Callable[..., object]
    _save_checkpoint: Callable[..., object]
    _push_from_checkpoint: Callable[..., object]
    _ckptkit_guard: object

    def is_world_process_zero(self) -> bool:
        """Whether this is rank 0."""
        ...

    def add_callback(self, callback: object) -> None:
        """Be told of steps, epochs and ends."""
        ...

    def _get_output_dir(self, trial: object) -> str:
        """The run of this trial of a search, or of this training."""
        ...
