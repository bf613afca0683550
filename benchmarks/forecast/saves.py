"""One kind saved by a real Trainer, and predicted from what the Hub would keep of its model: config.json."""

import importlib.util
import json
import os
from typing import Any, NamedTuple

from benchmarks.forecast.kinds import Kind
from ckptkit.forecast import models as families
from ckptkit.forecast.checkpoint_size import SHARD_BYTES, SaveSize, TrainingSetup, save
from ckptkit.forecast.lora import Lora

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


class Compared(NamedTuple):
    """A prediction and the apparent bytes of what was saved, in bytes."""

    predicted: SaveSize
    files: dict[str, int]

    @property
    def apparent_bytes(self) -> int:
        return sum(self.files.values())

    @property
    def error(self) -> float:
        """As a fraction of what was saved; positive: too much was predicted."""
        return self.predicted.apparent_bytes / self.apparent_bytes - 1


def skipped(kind: Kind) -> str:
    """Why this kind can't be saved here, or nothing."""
    needs = any(word in kind.optimizer for word in ("8bit", "paged", "lion"))
    return "bitsandbytes is not installed" if needs and not importlib.util.find_spec("bitsandbytes") else ""


def compare(kind: Kind, folder: str) -> Compared:
    """Given a kind, save it for real at FOLDER/checkpoint-N, and predict it."""
    model = _model(kind)
    model.config.save_pretrained(folder)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    checkpoint = _train(kind, model, folder)
    files = {entry.name: entry.stat().st_size for entry in os.scandir(checkpoint)}
    tokenizer = sum(files.get(name, 0) for name in TOKENIZER)
    return Compared(save(_training(kind, config, tokenizer)), files)


def _training(kind: Kind, config: dict[str, Any], tokenizer: int) -> TrainingSetup:
    lora = Lora(kind.rank, tuple(kind.targets.split(",")), tuple(filter(None, [kind.whole]))) if kind.rank else None
    return TrainingSetup(
        families.shapes(config, kind.dtype), lora, kind.optimizer, kind.log_lines, tokenizer,
        only_model=kind.only_model, shard_bytes=kind.shard or SHARD_BYTES,
    )  # fmt: skip


def _model(kind: Kind) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.set_num_threads(1)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind.dtype]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind.family, **kind.config), dtype=dtype)


def _train(kind: Kind, model: Any, folder: str) -> str:
    """The checkpoint's path, after as many steps as there are log lines."""
    import torch
    from transformers import Trainer, TrainingArguments

    data = [{"input_ids": row, "labels": row} for row in torch.arange(64).view(8, 8)]
    steps = kind.log_lines
    momentum = {"optim": "sgd", "optim_args": "momentum=0.9"} if kind.optimizer == "sgd_momentum" else {}
    args = TrainingArguments(
        folder, max_steps=steps, save_steps=steps, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        per_device_train_batch_size=1, save_only_model=kind.only_model, dataloader_pin_memory=False,
        **{"optim": kind.optimizer} | momentum,
    )  # fmt: skip
    if kind.shard:
        _shard(model, kind.shard)
    _forget_overrides()
    trained = _adapted(kind, model) if kind.rank else model
    spoken = {"processing_class": _tokenizer()} if kind.tokenizer else {}
    Trainer(model=trained, args=args, train_dataset=data, **spoken).train()
    return os.path.join(folder, f"checkpoint-{steps}")


def _adapted(kind: Kind, model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = kind.targets if kind.targets == "all-linear" else kind.targets.split(",")
    whole = [kind.whole] if kind.whole else None
    return get_peft_model(
        model, LoraConfig(r=kind.rank, target_modules=targets, modules_to_save=whole, task_type="CAUSAL_LM")
    )


def _shard(model: Any, size: int) -> None:
    """The Trainer has no flag for the size of a shard, so its own call gets one."""
    write = model.save_pretrained
    model.save_pretrained = lambda *args, **kwargs: write(*args, **{**kwargs, "max_shard_size": size})


def _forget_overrides() -> None:
    """bitsandbytes knows a parameter by its id(), for as long as the process lives: the last model's are no news."""
    if importlib.util.find_spec("bitsandbytes"):
        from bitsandbytes.optim import GlobalOptimManager

        GlobalOptimManager.get_instance().initialize()


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"word{number}": number for number in range(2000)}
    made = Tokenizer(models.WordLevel(words, unk_token="word0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="word1")
