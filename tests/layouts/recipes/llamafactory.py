"""LLaMA-Factory, a LoRA: plain checkpoints of the Trainer, and a run directory that looks like one of them at its end.

It refuses to start where torchvision or torchaudio do not load, which is so beside a torch for CPUs: they are hidden.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import on_disk, plain  # isort: skip

CASES = {"llamafactory-root": 1}


def hide_what_does_not_load():
    find = importlib.util.find_spec
    hidden = ("torchvision", "torchaudio")
    importlib.util.find_spec = lambda name, *more: None if name.split(".")[0] in hidden else find(name, *more)
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")


def arguments(case, resume):
    chosen = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(on_disk.SOURCE),
        "dataset": "tiny",
        "dataset_dir": ".",
        "template": "default",
        "cutoff_len": 64,
        "finetuning_type": "lora",
        "lora_rank": 2,
        "lora_dropout": 0.2,
        "lora_target": "q_proj",
        "output_dir": case,
        "max_steps": plain.STEPS,
        "save_steps": plain.SAVE_EVERY,
        "save_total_limit": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": plain.BATCH,
        "learning_rate": 0.05,
        "report_to": "none",
        "use_cpu": True,
    }
    if resume not in (None, "auto"):  # it goes on from the last checkpoint by itself
        chosen["resume_from_checkpoint"] = resume
    return chosen


def train(case, resume):
    plain.seed()
    hide_what_does_not_load()
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer
    from llamafactory.train.tuner import run_exp

    losses = on_disk.note_losses(CustomSeq2SeqTrainer)
    roles = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages"}
    data = {"file_name": str(on_disk.DATA), "formatting": "sharegpt", "columns": columns, "tags": roles}
    information = Path("dataset_info.json")
    information.write_text(json.dumps({"tiny": data}))
    with on_disk.model_and_data(length=64):
        run_exp(arguments(case, resume))
    information.unlink()
    return {"resumed_step": plain.STEPS - len(losses), "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
