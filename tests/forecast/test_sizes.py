"""Predicted bytes against real saves of a real Trainer; `python -m benchmarks.forecast` does all kinds."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.forecast.kinds import KINDS
from benchmarks.forecast.saves import compare
from ckptkit.errors import UsageError
from ckptkit.forecast import checkpoint_size, lora, models, optimizers
from ckptkit.forecast.lora import Lora
from ckptkit.forecast.models import parameters
from tests.support.beside import python_path
from tests.support.runs import CHECKOUT

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
SAVED = (
    "tiny",
    "bf16",
    "sharded",
    "adafactor bf16",
    "lora tiny",
    "lora q,v",
    "lora + whole head",
    "gemma3",
    "gpt2 lora",
)


@pytest.mark.parametrize("name", [*SAVED, "tokenizer", "weights only", "qwen3_moe lora"])
def test_first_save_is_told_within_one_percent(name: str, tmp_path: Path) -> None:
    found = compare(KINDS[name], str(tmp_path))
    assert abs(found.error) < 0.01, (found.predicted.files, found.files)
    told = {name for name, _ in found.predicted.files if name != "tokenizer files"}
    assert told == set(found.files) - {"tokenizer.json", "tokenizer_config.json"}


@pytest.mark.slow
def test_8bit_states_are_told_within_one_percent() -> None:
    """In a process of its own: bitsandbytes lies beside the environment, or every test would load it."""
    path = os.pathsep.join([str(CHECKOUT), python_path(Path(sys.prefix), "eight_bit")])
    command = [sys.executable, "-m", "benchmarks.forecast", "adamw 8bit", "--json"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    (row,) = json.loads(done.stdout.splitlines()[-1])
    assert row["real_bytes"] and abs(row["error"]) < 0.01


def test_there_are_more_than_24_kinds_and_each_says_another_thing() -> None:
    assert len(set(map(repr, KINDS.values()))) == len(KINDS) > 24


# Parameters as the model cards on the Hub tell them, in the counts of their safetensors headers.
def test_llama_3_1_8b_has_the_parameters_of_its_card() -> None:
    assert parameters(models.shapes(LLAMA_8B, "bf16")) == 8_030_261_248


def test_lora_r16_on_all_linear_layers_of_llama_8b_trains_41_943_040() -> None:
    assert parameters(lora.trained(models.shapes(LLAMA_8B, "bf16"), Lora(16))) == 41_943_040


@pytest.mark.parametrize("billions", [0.3, 0.5, 1, 1.7, 3, 4, 7, 8, 9, 12, 14, 24, 32, 70, 123, 405])
def test_a_number_of_parameters_becomes_a_model_of_about_as_many(billions: float) -> None:
    count = int(billions * 1e9)
    assert abs(parameters(models.guessed_shapes(count, "bf16")) / count - 1) < 0.03


def test_a_guessed_8b_has_the_adapter_of_the_real_one_within_a_tenth() -> None:
    real = parameters(lora.trained(models.shapes(LLAMA_8B, "bf16"), Lora(16)))
    assert abs(parameters(lora.trained(models.guessed_shapes(8 * 10**9, "bf16"), Lora(16))) / real - 1) < 0.1


def test_full_8b_in_bf16_with_adamw_takes_three_times_its_weights() -> None:
    saved = checkpoint_size.save(checkpoint_size.TrainingSetup(models.shapes(LLAMA_8B, "bf16")))
    assert 3 * 16_060_522_496 < saved.apparent_bytes < 3 * 16_060_522_496 * 1.001


def test_allocated_bytes_are_whole_blocks() -> None:
    saved = checkpoint_size.save(
        checkpoint_size.TrainingSetup(models.shapes(LLAMA_8B, "bf16"), Lora(8), gpus=8, processes=2, scaler=True)
    )
    assert saved.allocated_bytes % checkpoint_size.BLOCK == 0 and saved.allocated_bytes > saved.apparent_bytes
    assert {"rng_state_0.pth", "rng_state_1.pth", "scaler.pt"} < {name for name, _ in saved.rest}


def test_more_log_lines_make_a_larger_save() -> None:
    few, many = (
        checkpoint_size.save(checkpoint_size.TrainingSetup((), log_lines=n)).apparent_bytes for n in (10, 1010)
    )
    assert many - few == 1000 * checkpoint_size.LOG_LINE


BAD: dict[str, Callable[[], object]] = {
    "family": lambda: models.shapes({"model_type": "mamba"}, "fp32"),
    "nothing": lambda: models.shapes({}, "fp32"),
    "missing key": lambda: models.shapes({"model_type": "llama"}, "fp32"),
    "text for a number": lambda: models.shapes({**LLAMA_8B, "hidden_size": "x"}, "fp32"),
    "target": lambda: lora.trained(models.shapes(LLAMA_8B, "fp32"), Lora(8, ("c_attn",))),
    "no linear layer": lambda: lora.trained((), Lora(8)),
    "optimizer": lambda: optimizers.recipe_of("adam"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_known_is_a_usage_error_that_says_what_to_do(name: str) -> None:
    with pytest.raises(UsageError, match="known|there are|lacks|--targets"):
        BAD[name]()
