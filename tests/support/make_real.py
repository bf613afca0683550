"""Run as a script: a real Trainer writes one real checkpoint of each kind into the directory named.

make_real.py TOP            the five that most tests ask for: lora, full, sharded, only, bf16
make_real.py TOP all        every kind that the installed transformers can write; takes bitsandbytes and torchao
make_real.py TOP KIND...    these

Runs under transformers 4.57 too: see beside.py.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

COMMON = ("lora", "full", "sharded", "only", "bf16")
SHAPE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
# bitsandbytes and torchao leave a tensor below 4096 elements at 32 bits: here some are on either side.
WIDE = {"hidden_size": 64, "intermediate_size": 128}
BEST = {"eval_strategy": "steps", "eval_steps": 50, "save_steps": 50, "load_best_model_at_end": True}


class Kind(NamedTuple):
    """What sets a kind apart from a full model trained with the Trainer's defaults.

    shape      of the model's configuration
    args       of TrainingArguments
    change     model → the model to train
    optimizer  model → the optimizer that the Trainer is handed, where it would make none like it
    """

    shape: Mapping[str, Any] = {}
    args: Mapping[str, Any] = {}
    change: Callable[[Any], Any] = lambda model: model
    optimizer: Callable[[Any], Any] = lambda model: None


def main(top: str, *wanted: str) -> None:
    """TOP/<kind>/checkpoint-100 for each kind wanted."""
    import torch

    torch.set_num_threads(1)
    for name in (*KINDS, *(OLD if _is_old() else ())) if wanted == ("all",) else wanted or COMMON:
        _train(os.path.join(top, name), (KINDS | OLD)[name])


def _is_old() -> bool:
    """Whether this transformers still writes weights with torch.save."""
    import transformers

    return int(transformers.__version__.split(".")[0]) < 5


def _train(run: str, kind: Kind) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    model = kind.change(LlamaForCausalLM(LlamaConfig(**SHAPE | dict(kind.shape))))
    data = [{"input_ids": row, "labels": row} for row in torch.arange(64).view(8, 8)]
    args = {"save_steps": 100} | dict(kind.args)
    args = TrainingArguments(
        run, max_steps=100, logging_steps=10, report_to="none", use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False, per_device_train_batch_size=1, **args,
    )  # fmt: skip
    optimizers = (kind.optimizer(model), None)
    Trainer(model=model, args=args, train_dataset=data, eval_dataset=data[:2], optimizers=optimizers).train()


def _sharded(model: Any) -> Any:
    """The Trainer has no flag for the size of a shard, so its own call gets one: the real writer writes real shards."""
    save = model.save_pretrained
    model.save_pretrained = lambda *args, **kwargs: save(*args, **{**kwargs, "max_shard_size": "20KB"})
    return model


def _bf16(model: Any) -> Any:
    import torch

    return model.to(torch.bfloat16)


def _lora(name: str = "default", **settings: Any) -> Callable[[Any], Any]:
    """The adapter, under peft's name for an only one or one's own: peft then saves it in a subdirectory."""

    def change(model: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        settings_ = {"r": 4, "target_modules": "all-linear"} | settings
        return get_peft_model(model, LoraConfig(**settings_), adapter_name=name)

    return change


def _two_adapters(model: Any) -> Any:
    """A second adapter, of another rank, comes along untrained: peft saves it in a subdirectory."""
    from peft import LoraConfig

    model = _lora()(model)
    model.add_adapter("reference", LoraConfig(r=2, target_modules=["q_proj"]))
    return model


def _momentum(model: Any) -> Any:
    """4.57 gives optim="sgd" no momentum."""
    import torch

    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def _torchao(model: Any) -> Any:
    """Uncompiled, so that it takes no C++ compiler and 20 seconds; the state's classes are the same."""
    import torch
    from torchao.optim import AdamW8bit

    torch.compiler.set_stance("force_eager")
    return AdamW8bit(model.parameters(), lr=1e-3)


KINDS = {
    "lora": Kind(change=_lora()),
    "full": Kind(),
    "sharded": Kind(change=_sharded),
    "only": Kind(args={"save_only_model": True}),
    "bf16": Kind(change=_bf16),
    "lora-only": Kind(args={"save_only_model": True}, change=_lora()),
    "lora-modules": Kind(change=_lora(modules_to_save=["lm_head"])),
    "lora-two": Kind(change=_two_adapters),
    "lora-named": Kind(change=_lora("mine")),
    "tied": Kind(shape={"tie_word_embeddings": True}),
    "best": Kind(args=BEST),
    "cosine": Kind(args={"optim": "adamw_torch", "lr_scheduler_type": "cosine", "warmup_steps": 10}),
    "adafactor": Kind(args={"optim": "adafactor"}),
    "sgd": Kind(args={"optim": "sgd"}),
    "momentum": Kind(optimizer=_momentum),
    "8bit": Kind(shape=WIDE, args={"optim": "adamw_bnb_8bit"}),
    "lora-8bit": Kind(shape=WIDE, args={"optim": "paged_adamw_8bit"}, change=_lora(r=64)),
    "torchao": Kind(shape=WIDE | {"num_hidden_layers": 1}, optimizer=_torchao),
}  # fmt: skip

# Only before 5.0.
OLD = {
    "bin": Kind(args={"save_safetensors": False}),
    "bin-sharded": Kind(args={"save_safetensors": False}, change=_sharded),
    "bin-tied": Kind(args={"save_safetensors": False}, shape={"tie_word_embeddings": True}),
    "bin-lora": Kind(args={"save_safetensors": False}, change=_lora()),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
