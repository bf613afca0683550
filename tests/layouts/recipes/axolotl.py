"""axolotl, a LoRA: `tokens_state.json` first; the run directory holds a tokenizer and adapter_config.json.

Those lie there before the training begins: the run directory is no checkpoint.
Left out of what was made: debug.log, which names the machine's directories.
"""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import on_disk, plain  # isort: skip

CASES = {"axolotl-root": 1}


def configuration(case, resume):
    chosen = {
        "base_model": str(on_disk.SOURCE),
        "datasets": [{"path": str(on_disk.DATA), "ds_type": "json", "type": "chat_template"}],
        "dataset_prepared_path": "prepared",
        "adapter": "lora",
        "lora_r": 2,
        "lora_alpha": 4,
        "lora_dropout": 0.2,
        "lora_target_modules": ["q_proj"],
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "attn_implementation": "eager",
        "sequence_len": 256,
        "output_dir": case,
        "max_steps": plain.STEPS,
        "save_steps": plain.SAVE_EVERY,
        "save_total_limit": 2,
        "logging_steps": 1,
        "micro_batch_size": plain.BATCH,
        "gradient_accumulation_steps": 1,
        "optimizer": "adamw_torch",
        "lr_scheduler": "linear",
        "learning_rate": 0.05,
        "val_set_size": 0,
        "dataset_num_proc": 1,
        "use_cpu": True,
        "bf16": False,
        "seed": 1,
    }
    if resume == "auto":
        chosen["auto_resume_from_checkpoints"] = True
    elif resume:
        chosen["resume_from_checkpoint"] = resume
    return chosen


def train(case, resume):
    plain.seed()
    os.environ |= {"ACCELERATE_USE_CPU": "true", "AXOLOTL_DO_NOT_TRACK": "1"}
    import yaml
    from axolotl.cli.train import do_cli
    from axolotl.core.trainers import AxolotlTrainer

    losses = on_disk.note_losses(AxolotlTrainer)
    Path("axolotl.yaml").write_text(yaml.safe_dump(configuration(case, resume)))
    with on_disk.model_and_data(length=256):
        do_cli("axolotl.yaml")
    return {"resumed_step": plain.STEPS - len(losses), "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
