"""The Hugging Face Trainer: LoRA adapters, full models, sharded weights, save_only_model.

Names and order of writing: transformers `trainer.py::_save_checkpoint`, `trainer_pt_utils.py`, `utils/__init__.py`,
peft `utils/constants.py`, as run under transformers 4.57 and 5.17. `trainer_state.json` comes last.
"""

import re

from ckptkit.layouts.layout import Layout

ADAPTER = ("adapter_config.json",)

LAYOUT = Layout(
    name="hf-trainer",
    # The Trainer writes no leading zeros; `checkpoint-07` was named by a person, so it stays a person's business.
    pattern=re.compile(r"checkpoint-(0|[1-9][0-9]{0,17})", re.ASCII),
    stem="checkpoint-",
    marker="trainer_state.json",
    incomplete="checkpoint-is-incomplete.txt",
    weights=(
        "adapter_model.safetensors",
        "adapter_model.bin",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    kinds=(
        r"adapter_model(-[0-9]{5}-of-[0-9]{5})?\.(safetensors|bin)(\.index\.json)?",
        r"(pytorch_)?model(-[0-9]{5}-of-[0-9]{5})?\.(safetensors|bin)(\.index\.json)?",
    ),
    beside={"adapter_model.safetensors": ADAPTER, "adapter_model.bin": ADAPTER},
    resume=(("optimizer.pt", "optimizer.bin"), ("scheduler.pt", "scheduler.bin"), ("rng_state.pth",)),
    extras=("scaler.pt",),
    settings=("training_args.bin",),
    ranks=re.compile(r"rng_state_([0-9]{1,6})\.pth", re.ASCII),
    archives=re.compile(
        r"(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_[0-9]+)?\.pth|training_args\.bin"
        r"|(pytorch_model|adapter_model)(-[0-9]{5}-of-[0-9]{5})?\.bin",
        re.ASCII,
    ),
    # FSDP, DCP, DeepSpeed, model parallel: judged once their layouts exist, left alone until then.
    foreign=re.compile(
        r"(pytorch_model_fsdp.*|optimizer_[0-9]+|global_step[0-9]+|.*\.distcp|\.metadata|latest|zero_to_fp32\.py"
        r"|(bf16_)?zero_pp_rank_.*|mp_rank_.*|rank[0-9]+-of-[0-9]+-.*|optimizer\.pt_.*|.*\.ckpt)(/.*)?",
        re.DOTALL,
    ),
    debris=re.compile(r"\.tmp[A-Za-z0-9]{6}"),
)
