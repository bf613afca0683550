"""What the Trainer tells the guard."""

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from ckptkit.guard.guard import Guard


class GuardCallback(TrainerCallback):
    """Begin and end of a training; the saves themselves pass through the guard."""

    def __init__(self, guard: "Guard") -> None:
        self.guard = guard

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The state's step is where training resumes."""
        self.guard.began(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The best model is loaded after this, and the process may exit: nothing may be under way."""
        self.guard.wait()
