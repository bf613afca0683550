"""Run as a script: a real Trainer writes one checkpoint. In a process of its own: torch must not count as memory here.

making.py KIND RUN AMOUNT DTYPE ...   as many fours as checkpoints are wanted; DTYPE is float32 or bfloat16

model     weights, and twice as much optimizer.pt, AMOUNT bytes together
tensors   a model of AMOUNT small tensors
"""

import json
import math
import os
import shutil
import sys
import time
from typing import Any

LAYERS = 4
COPY_OF = "checkpoint-1"


def main(*wanted: str) -> None:
    """RUN/checkpoint-1 for each four."""
    for at in range(0, len(wanted), 4):
        kind, run, amount, dtype = wanted[at : at + 4]
        train(kind, run, int(amount), dtype)


def train(kind: str, run: str, amount: int, dtype: str) -> None:
    """RUN/checkpoint-1."""
    import torch
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    kept_as = getattr(torch, dtype)
    model = (llama(amount / 3 / kept_as.itemsize) if kind == "model" else many(amount)).to(kept_as)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9) if kind == "tensors" else None
    args = TrainingArguments(
        run, max_steps=1, save_steps=1, per_device_train_batch_size=1, report_to="none", disable_tqdm=True,
        use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in torch.arange(64).view(8, 8)]
    Trainer(model=model, args=args, train_dataset=data, optimizers=(optimizer, None)).train()


def llama(parameters: float) -> Any:
    """A Llama of about so many parameters: 16 times its width squared in each layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width = max(8, round(math.sqrt(parameters / (16 * LAYERS)) / 8) * 8)
    shape = {"vocab_size": 64, "hidden_size": width, "intermediate_size": 4 * width}
    return LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=LAYERS, num_attention_heads=1))


def many(count: int) -> Any:
    """A model of so many tensors, all of them trained. Momentum alone: AdamW's three records a tensor would be more
    than are looked at.
    """
    import torch

    class Many(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ParameterList(torch.randn(4, 4) for _ in range(count))

        def forward(self, input_ids: Any, labels: Any) -> dict[str, Any]:
            return {"loss": torch.stack(list(self.layers)).square().mean()}

    return Many()


def copies(run: str, count: int) -> None:
    """Given a run of one checkpoint, copy it until there are `count`, each of its own step, saved a second apart."""
    source = os.path.join(run, COPY_OF)
    with open(os.path.join(source, "trainer_state.json")) as read:
        state = json.load(read)
    for step in range(2, count + 1):
        path = os.path.join(run, f"checkpoint-{step}")
        shutil.copytree(source, path)
        with open(os.path.join(path, "trainer_state.json"), "w") as write:
            json.dump(state | {"global_step": step}, write)
    for step in range(1, count + 1):
        age(os.path.join(run, f"checkpoint-{step}"), time.time() - 3600 - count + step)


def linked(checkpoint: str, run: str) -> str:
    """A second checkpoint of the same bytes on disk and in the cache."""
    path = os.path.join(run, os.path.basename(checkpoint))
    shutil.copytree(checkpoint, path, copy_function=os.link)
    return path


def age(checkpoint: str, moment: float) -> None:
    """Make all of it of that time: nobody is writing it."""
    for name in (*os.listdir(checkpoint), "."):
        os.utime(os.path.join(checkpoint, name), (moment, moment))


if __name__ == "__main__":
    main(*sys.argv[1:])
