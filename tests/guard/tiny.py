"""A real Trainer on a tiny Llama: a step takes milliseconds, a checkpoint about 1 MiB (LoRA) or 3 MiB (full)."""

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

gc.disable()  # importing makes a million objects and no garbage: the collector would take a quarter of the time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

__all__ = ["At", "Trainer", "TrainerCallback", "losses", "model", "scalars", "trainer"]
torch.set_num_threads(1)
gc.freeze()  # nor need it look through them at each train(), which asks for it
gc.enable()
warnings.filterwarnings("ignore", message=".*pin_memory.*")


def model(lora: bool = True, **config: Any) -> Any:
    """The same weights each time; of one wide layer, since a step takes as long as there are layers."""
    torch.manual_seed(0)
    shape = dict(vocab_size=128, hidden_size=64, intermediate_size=782, num_hidden_layers=1, num_attention_heads=2)
    base = LlamaForCausalLM(LlamaConfig(**{**shape, **config}))
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return get_peft_model(base, LoraConfig(r=132, target_modules=targets, task_type="CAUSAL_LM")) if lora else base


def trainer(
    run: str | Path, *, of: Any = None, lora: bool = True, kind: type[Trainer] = Trainer, **settings: Any
) -> Trainer:
    """A Trainer that saves every 10 of 40 steps; `callbacks` and `tokenizer` go to it, the rest to its arguments."""
    data = [{"input_ids": row, "labels": row} for row in torch.arange(64 * 8).view(64, 8) % 128]
    apart = {"callbacks": settings.pop("callbacks", None), "processing_class": settings.pop("tokenizer", None)}
    defaults = dict(
        max_steps=40,
        save_steps=10,
        logging_steps=5,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    args = TrainingArguments(str(run), **{**defaults, **settings})
    return kind(model=of or model(lora), args=args, train_dataset=data, eval_dataset=data[:4], **apart)


class At(TrainerCallback):
    """Calls `action` once, at the end of the step `step`, before that step's save."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.step, self.action = step, action

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.action()


def losses(trained: Trainer) -> dict[int, float]:
    """{step: loss} as logged."""
    return {entry["step"]: entry["loss"] for entry in trained.state.log_history if "loss" in entry}


def scalars(trained: Trainer, name: str) -> list[float]:
    """The values of one of the guard's scalars, in order."""
    return [entry[name] for entry in trained.state.log_history if name in entry]
