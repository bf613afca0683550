"""Transformers' Trainer with DeepSpeed, two ranks: ZeRO-0 to 3, ZeRO-3 that gathers no 16-bit weights, LoRA.

zero_to_fp32.py and zero_to_torch.py, which DeepSpeed copies into each checkpoint, are there by their names alone.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its files are named like libraries
os.environ |= {"DS_ACCELERATOR": "cpu", "DS_BUILD_OPS": "0"}

from tests.layouts.recipes import ranks, tiny  # isort: skip
import deepspeed
import torch.distributed as dist


class Case(NamedTuple):
    """What sets one case apart."""

    stage: int
    lora: bool = False
    gather: bool = True


CASES = {
    "deepspeed-zero0": Case(0),
    "deepspeed-zero1": Case(1),
    "deepspeed-zero2": Case(2),
    "deepspeed-zero3": Case(3),
    "deepspeed-zero3-nogather": Case(3, gather=False),
    "deepspeed-zero2-lora": Case(2, lora=True),
    "deepspeed-zero3-lora": Case(3, lora=True),
}


def config(case: Case) -> dict[str, Any]:
    """What people put into ds.json, with an optimizer that needs no compiled one."""
    zero: dict[str, Any] = {"stage": case.stage}
    if case.stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = case.gather
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "lr": "auto"}},
    }


def train(name: str, resume: str | None) -> Any:
    """One rank's training."""
    case = CASES[name]
    deepspeed.init_distributed("gloo")
    arguments = tiny.arguments(name, deepspeed=config(case))
    trainer = tiny.Trainer(tiny.model(case.lora), arguments, train_dataset=tiny.data())
    result = tiny.train(trainer, resume)
    assert trainer.is_deepspeed_enabled and dist.get_world_size() == 2, "this was not DeepSpeed on two ranks"
    return result


if __name__ == "__main__":
    sys.exit(ranks.main(train, CASES))
