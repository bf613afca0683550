"""The user's script, in a process of its own: a real Trainer with LoRA, guarded or alone."""

import errno
import json
import os
import shutil
import sys
from typing import Any

KEEP = {"baseline": 3, "guarded": 2}  # what the user had; what the README types


def main(run: str, steps: int, save_steps: int, kind: str, silent: bool, report: str) -> None:
    """Train; write to `report` how far it came and why it ended. silent: deletions fail unseen, as they did."""
    import torch
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(1)
    torch.manual_seed(0)
    args = TrainingArguments(
        run, max_steps=steps, save_steps=save_steps, logging_steps=save_steps, save_total_limit=KEEP[kind],
        per_device_train_batch_size=1, report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    tokens = torch.arange(64).view(8, 8)
    trainer = Trainer(model=model(), args=args, train_dataset=[{"input_ids": t, "labels": t} for t in tokens])
    if silent:
        shutil.rmtree = refused  # type: ignore[assignment]
    guard = guarded(trainer) if kind == "guarded" else None
    error = None
    try:
        trainer.train()
    except Exception as fault:  # noqa: BLE001 - what ended it is the result
        error = f"{type(fault).__name__}: {fault}"
    stalls = [entry["ckpt/stall_seconds"] for entry in trainer.state.log_history if "ckpt/stall_seconds" in entry]
    result = {"steps": trainer.state.global_step, "error": error, "stalls": stalls}
    with open(report, "w") as file:
        json.dump(result | {"skipped": guard.skipped if guard else 0}, file)


def refused(path: str, ignore_errors: bool = False, **_: Any) -> None:
    """In place of `shutil.rmtree`: it fails as on the user's volume, and whoever ignores errors never hears of it."""
    if not ignore_errors:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)


def model() -> Any:
    """A Llama so small that a step takes two milliseconds, with an adapter so large that a checkpoint takes 2.8 MB."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=1
    )
    return get_peft_model(LlamaForCausalLM(config), LoraConfig(r=208, target_modules="all-linear"))


def guarded(trainer: Any) -> Any:
    """The one line."""
    import ckptkit

    return ckptkit.guard(trainer, keep_last=2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5] == "silent", sys.argv[6])
