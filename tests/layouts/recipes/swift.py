"""ms-swift, supervised fine-tuning of a LoRA: `v0-DATE-TIME/checkpoint-N/`, and the link `last-checkpoint` to the last.

It makes every path absolute and writes them into args.json and training_args.bin: here they stay relative.
Each start has a directory of its own, here of the same date: its name is the same each time. A resume is told which
checkpoint, it does not look for one.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import on_disk, plain  # isort: skip

CASES = {"swift": 1}


def arguments(case, resume):
    chosen = {
        "model": on_disk.SOURCE,
        "model_type": "llama",
        "template": "default",
        "dataset": on_disk.DATA,
        "output_dir": case,
        "logging_dir": "logs",
        "torch_dtype": "float32",
        "attn_impl": "eager",
        "tuner_type": "lora",
        "lora_rank": 2,
        "lora_dropout": 0.2,
        "target_modules": "q_proj",
        "max_steps": plain.STEPS,
        "save_steps": plain.SAVE_EVERY,
        "save_total_limit": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": plain.BATCH,
        "learning_rate": 0.05,
        "gradient_accumulation_steps": 1,
        "split_dataset_ratio": 0,
        "dataset_num_proc": 1,
        "dataloader_num_workers": 0,
        "report_to": "none",
        "use_cpu": "true",
    }
    if resume:
        chosen["resume_from_checkpoint"] = resume
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


def stand_still():
    """The same date each time, and relative paths."""
    from swift.utils import utils

    always = datetime(2026, 1, 1)
    utils.dt = SimpleNamespace(datetime=SimpleNamespace(now=lambda: always))
    os.path.abspath = os.path.normpath


def train(case, resume):
    plain.seed()
    from swift import sft_main
    from swift.trainers import Seq2SeqTrainer

    stand_still()
    losses = on_disk.note_losses(Seq2SeqTrainer)
    if resume == "auto":
        resume = str(max(Path(case).glob("v*/last-checkpoint")))
    with on_disk.model_and_data(length=64):
        done = sft_main(arguments(case, resume))
    return {"resumed_step": done["global_step"] - len(losses), "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
