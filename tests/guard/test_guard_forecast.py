"""The bytes that a save is said to need, before any was written: held against what real saves then took."""

import os
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit import forecast
from ckptkit.guard import save_size
from ckptkit.ops.read import scan

MiB = 1 << 20


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"word{number}": number for number in range(20_000)}
    made = Tokenizer(models.WordLevel(words, unk_token="word0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="word1")


KINDS: dict[str, dict[str, Any]] = {
    "lora": dict(lora=True),
    "full": dict(lora=False),
    "tied": dict(lora=False, tie_word_embeddings=True, vocab_size=20_000),
    "untied": dict(lora=False, tie_word_embeddings=False, vocab_size=20_000),
}


@pytest.mark.parametrize("spoken", [False, True], ids=["", "tokenizer"])
@pytest.mark.parametrize("adafactor", [False, True], ids=["adamw", "adafactor"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_forecast_before_the_first_save_holds(tmp_path: Path, kind: str, adafactor: bool, spoken: bool) -> None:
    import tiny

    more: dict[str, Any] = {"tokenizer": tokenizer()} if spoken else {}
    optimizer = "adafactor" if adafactor else "adamw_torch"
    trainer = tiny.trainer(tmp_path / "run", of=tiny.model(**KINDS[kind]), max_steps=10, optim=optimizer, **more)
    guard = ckptkit.guard(trainer)
    trainer.train()
    guard.wait()
    (checkpoint,) = scan(str(tmp_path / "run")).checkpoints
    weights_bytes, tokenizer_bytes = guard.slots.model_bytes()
    state = save_size.optimizer_bytes(trainer.optimizer, trainer.model)
    need = forecast.first_save_bytes(weights_bytes, state, tokenizer_bytes)
    assert checkpoint.allocated_bytes <= need <= checkpoint.allocated_bytes * 1.1 + 2 * forecast.SMALL_FILES_BYTES


@pytest.mark.parametrize("targets", [["q_proj", "embed_tokens"], ["q_proj", "lm_head"]])
@pytest.mark.parametrize("whole", [None, ["lm_head"], ["embed_tokens", "lm_head"]])
def test_the_forecast_knows_what_peft_saves_besides(
    tmp_path: Path, targets: list[str], whole: list[str] | None
) -> None:
    import tiny
    from peft import LoraConfig, get_peft_model

    if set(targets) & set(whole or []):
        targets = ["q_proj"]
    base = tiny.model(lora=False, vocab_size=20_000)
    model = get_peft_model(base, LoraConfig(r=8, target_modules=targets, modules_to_save=whole, task_type="CAUSAL_LM"))
    trainer = tiny.trainer(tmp_path / "run", of=model, max_steps=10)
    guard = ckptkit.guard(trainer)
    assert guard.save_model(str(tmp_path / "final"))
    weights, tokenizer_bytes = guard.slots.model_bytes()
    written = sum(os.stat(entry.path).st_blocks * 512 for entry in os.scandir(tmp_path / "final"))
    assert (
        written <= forecast.first_save_bytes(weights, tokenizer_bytes, 0) <= 2.1 * written + forecast.SMALL_FILES_BYTES
    )


def test_later_saves_are_forecast_from_the_last() -> None:
    assert forecast.next_save_bytes(100 * MiB) == 102 * MiB + forecast.SMALL_FILES_BYTES


def test_before_its_first_step_an_optimizer_is_taken_for_one_that_keeps_two_moments_of_what_is_trained() -> None:
    import torch

    model = torch.nn.Linear(100, 50)
    model.bias.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters())
    assert save_size.optimizer_bytes(optimizer, model) == 2 * 4 * 100 * 50
    assert save_size.optimizer_bytes(optimizer, model, has_stepped=True) == 0
