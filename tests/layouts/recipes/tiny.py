"""The model, the data and the Trainer of the recipes: as small as each framework takes it, and deterministic.

Dropout is on, so that a resume that lost the random state gives other losses; the learning rate falls, so that one that
lost the scheduler does too.
"""

import os
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments

STEPS, SAVE_EVERY = 6, 2
SHAPE = {
    "vocab_size": 32,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "attention_dropout": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

torch.set_num_threads(1)


def model(lora: bool = False) -> Any:
    """A llama of a thousand weights, the same each time; `lora` puts an adapter on it."""
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SHAPE))
    if not lora:
        return base
    from peft import LoraConfig, get_peft_model

    return get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.2))


def data(rows: int = 32) -> list[dict[str, Any]]:
    """Rows of eight tokens each."""
    tokens = torch.randint(3, SHAPE["vocab_size"], (rows, 8), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in tokens]


def arguments(case: str, **more: Any) -> Any:
    """Into the directory CASE of where we stand: nothing absolute gets into a checkpoint."""
    common = {
        "output_dir": case,
        "max_steps": STEPS,
        "save_steps": SAVE_EVERY,
        "logging_steps": 1,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.05,
        "lr_scheduler_type": "linear",
        "report_to": "none",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "seed": 1,
    }
    return TrainingArguments(**common | more)


class NoFinalSave(TrainerCallback):
    """The Trainer saves its last step too: here the last checkpoint has steps after it, to be compared."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after the Trainer's own callback has decided."""
        if state.global_step >= args.max_steps:
            control.should_save = False


class Trainer(transformers.Trainer):
    """Knows each step's loss in full; the log has four digits."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, callbacks=[NoFinalSave()], **more)
        self.losses: list[float] = []

    def training_step(self, *args: Any, **more: Any) -> Any:
        """The Trainer's own, noted."""
        loss = super().training_step(*args, **more)
        self.losses.append(float(loss))
        return loss


def train(trainer: Trainer, resume: str | None) -> dict[str, Any]:
    """Train to the end; returns what the recipe prints."""
    trainer.train(resume_from_checkpoint=True if resume == "auto" else resume)
    return {"resumed_step": trainer.state.global_step - len(trainer.losses), "losses": trainer.losses}
