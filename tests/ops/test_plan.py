"""bin/plan: sums before a training runs, held against real checkpoints; what can't be meant is one line and exit 2."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ckptkit.ops.read import scan
from tests.support.runs import tree
from tests.support.typed import Ckptkit, RunOf

SEED = ("--max-steps", 28_000, "--save-steps", 1_000)


def sized(checkpoint: str) -> tuple[int, int, int]:
    """(bytes of weights, of optimizer state, of all) that a real checkpoint takes."""
    files = {entry.name: entry.stat().st_blocks * 512 for entry in os.scandir(checkpoint)}
    weights = sum(size for name, size in files.items() if name.startswith("model"))
    return weights, files["optimizer.pt"], sum(files.values())


# --- the sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "sharded", "bf16"])
def test_a_model_as_the_hub_has_it_is_sized_as_it_is_saved(ckptkit: Ckptkit, real: str, kind: str) -> None:
    saved = f"{real}/{kind}/checkpoint-100"
    weights, optimizer, _ = sized(saved)
    told = ckptkit("plan", "--model", saved, "--full", "--max-steps", 100, "--json").json
    assert told["approximate"] is False
    # `rest` has a tokenizer, which this Trainer had not.
    assert abs(told["checkpoint"]["optimizer_bytes"] - optimizer) <= 4096
    assert abs(told["checkpoint"]["weights_bytes"] - weights) <= (4096 if kind != "sharded" else 12 * 4096)


@pytest.mark.parametrize("give", ["headers", "index", "file", "config"])
def test_headers_alone_tell_what_the_configuration_tells(
    ckptkit: Ckptkit, real: str, tmp_path: Path, give: str
) -> None:
    saved = f"{real}/{'sharded' if give == 'index' else 'full'}/checkpoint-100"
    shutil.copytree(saved, tmp_path / "model")
    only = "" if give == "config" else "config.json"
    for name in [only, "trainer_state.json"]:
        (tmp_path / "model" / name).unlink() if name else None
    names = {
        "headers": "",
        "index": "model.safetensors.index.json",
        "file": "model.safetensors",
        "config": "config.json",
    }
    told = ckptkit(
        "plan", "--model", tmp_path / "model" / names[give], "--lora-rank", 4, "--max-steps", 9, "--json"
    ).json
    whole = ckptkit("plan", "--model", saved, "--lora-rank", 4, "--max-steps", 9, "--json").json
    assert told["checkpoint"] == whole["checkpoint"]


def hub(folder: Path, parameters: str | int, itemsize: int, **more: Any) -> Path:
    """What the Hub shows of a model without its weights: config.json and the index of shards that are not here."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama9", "torch_dtype": "bfloat16"} | more))
    index = {"metadata": {"total_size": parameters * itemsize}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("file", ["", "model.safetensors.index.json"])
def test_config_and_index_alone_are_enough_for_a_known_family(
    ckptkit: Ckptkit, real: str, tmp_path: Path, file: str
) -> None:
    saved, model = f"{real}/sharded/checkpoint-100", tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors.index.json"):
        shutil.copy(f"{saved}/{name}", model)
    told = ckptkit("plan", "--model", model / file, "--full", "--max-steps", 100, "--json").json
    assert told["approximate"] is False and "24,736 parameters" in told["basis"]
    index = json.loads((model / "model.safetensors.index.json").read_text())
    assert abs(told["checkpoint"]["weights_bytes"] - index["metadata"]["total_size"]) < 4096, "as the index says"


@pytest.mark.parametrize("dtype, factor", [((), 1), (("--dtype", "fp32"), 2)])
def test_family_that_is_not_known_is_sized_by_what_its_index_says(
    ckptkit: Ckptkit, tmp_path: Path, dtype: tuple[str, str], factor: int
) -> None:
    model = hub(tmp_path / "model", 8_030_000_000, 2)
    told = ckptkit("plan", "--model", model, "--full", *SEED, *dtype, "--volume", "1T", "--json").json
    assert told["approximate"] is True and "as" in told["basis"] and "8,030,000,000" in told["basis"]
    assert told["checkpoint"]["weights_bytes"] == pytest.approx(factor * 16_060_000_000, rel=0.03)
    lora = ckptkit("plan", "--model", model, "--lora-rank", 16, *SEED, "--volume", "1T", "--json").json
    count = ckptkit("plan", "--params", "8.03B", "--lora-rank", 16, *SEED, "--volume", "1T", "--json").json
    assert lora["checkpoint"] == count["checkpoint"]


def test_diffusers_pipeline_is_told_with_its_parts_and_a_part_is_sized(
    ckptkit: Ckptkit, real: str, tmp_path: Path
) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": [None, None],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    shutil.copy(f"{real}/full/checkpoint-100/model.safetensors", tmp_path / "unet/diffusion_pytorch_model.safetensors")
    for given in (tmp_path, tmp_path / "model_index.json"):
        called = ckptkit("plan", "--model", given, "--full", "--max-steps", 9)
        assert called.code == 2 and called.out == "" and called.err.count("\n") == 1
        assert "is a diffusers pipeline (model_index.json) of scheduler, unet; give the directory" in called.err
    assert ckptkit("plan", "--model", tmp_path / "unet", "--full", "--max-steps", 9, "--json").json["fits"] is True


def test_a_run_is_measured_to_the_byte(ckptkit: Ckptkit, run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "torn"})
    (checkpoint,) = (c for c in scan(run).checkpoints if c.step == 200)
    before = tree(run)
    told = ckptkit("plan", "--from", run, "--max-steps", 1000, "--json").json
    assert told["checkpoint"]["bytes"] == checkpoint.allocated_bytes and told["basis"].startswith(checkpoint.path)
    assert tree(run) == before


def test_of_the_measured_run_itself_nothing_counts_as_other_data(ckptkit: Ckptkit, run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    told = ckptkit("plan", "--from", run, "--max-steps", 1000, "--json").json
    status = os.statvfs(run)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    own = sum(c.allocated_bytes for c in scan(run).checkpoints)
    assert abs(used - own - told["other_bytes"]) < 64 << 20  # others write beside us


# --- the sums -------------------------------------------------------------------------------------------------------


def test_the_seed_dies_where_deletion_fails_and_runs_with_the_guard(ckptkit: Ckptkit) -> None:
    """100 GB, 70 GB of them other data, 3 GB a save: the eleventh does not fit."""
    words = ("--params", "8B", "--lora-rank", 100, "--volume", "100GB", "--other", "70GB", *SEED)
    told = ckptkit("plan", *words, "--json")
    assert told.code == 0
    size = told.json["checkpoint"]["bytes"]
    assert 2.9e9 < size < 3.3e9
    step = (int(30e9) // size + 1) * 1000
    assert told.json["trainer_deletion_failing"] == {
        "peak_bytes": int(70e9) + 28 * size, "fits": False, "full_step": step,
    }  # fmt: skip
    assert told.json["trainer"]["peak_bytes"] == int(70e9) + 3 * size
    assert told.json["guard"] == {"peak_bytes": int(70e9) + 2 * size, "fits": True, "full_step": None}
    assert f"disk full at step {step:,}" in ckptkit("plan", *words).out


def test_what_does_not_fit_exits_5_and_says_what_more_would_cost(ckptkit: Ckptkit) -> None:
    words = ("--params", "8B", "--full", "--volume", "100GB", "--other", "20GB", *SEED, "--hours", 10)
    told = ckptkit("plan", *words, "--json")
    assert told.code == 5 and told.json["fits"] is False and told.json["settings_that_fit"] == []
    more = told.json["larger_volume"]["guard"]
    assert more["lacking_bytes"] == told.json["guard"]["peak_bytes"] - int(100e9)
    assert more["dollars"] == pytest.approx(more["lacking_bytes"] / 1e9 * 0.003 * 10, abs=1e-3)
    page = ckptkit("plan", *words, "-q")
    assert page.code == 5 and "the guard needs" in page.out and "disk full at step 2,000" in page.out


def test_fifty_more_gb_cost_fifteen_cents_an_hour(ckptkit: Ckptkit) -> None:
    assert "50 GB more: $0.150 per hour" in ckptkit("plan", "--params", "1B", "--volume", "1T", *SEED).out


def test_it_is_quiet_when_it_fits(ckptkit: Ckptkit) -> None:
    assert ckptkit("plan", "--params", "1B", "--volume", "1T", *SEED, "-q") == (0, "", "")


def test_the_guard_needs_two_even_with_a_limit_of_one(ckptkit: Ckptkit) -> None:
    told = ckptkit("plan", "--params", "1B", "--volume", "1T", *SEED, "--save-total-limit", 1, "--json").json
    assert told["guard"]["peak_bytes"] == told["trainer"]["peak_bytes"] == 2 * told["checkpoint"]["bytes"]


def test_other_settings_that_fit_all_fit(ckptkit: Ckptkit) -> None:
    told = ckptkit("plan", "--params", "8B", "--volume", "10G", "--other", "8G", *SEED, "--json").json
    assert told["settings_that_fit"] and all(s["guard"]["fits"] for s in told["settings_that_fit"])
    assert {s["save_steps"] for s in told["settings_that_fit"]} == {500, 1000, 2000, 5000}
    assert not all(s["trainer_deletion_failing"]["fits"] for s in told["settings_that_fit"])


# --- what can't be meant --------------------------------------------------------------------------------------------

CONFIG = {"model_type": "llama", "hidden_size": 64}
WRONG = {
    "no model": (),
    "two models": ("--params", "8B", "--from", "."),
    "params": ("--params", "8"),
    "params of nothing": ("--params", "0B"),
    "missing path": ("--model", "nowhere"),
    "empty directory": ("--model", "empty"),
    "a list": ("--model", "list/config.json"),
    "no json": ("--model", "text/config.json"),
    "incomplete config": ("--model", "short"),
    "unknown family": ("--model", "mamba/config.json"),
    "torn weights": ("--model", "torn"),
    "an index without its shards": ("--model", "index"),
    "an index of more than there is": ("--model", "index3"),
    "an index whose size is no number": ("--model", "index5"),
    "an index of a quantized model": ("--model", "index4"),
    "an empty pipeline": ("--model", "pipeline"),
    "a pipeline that is no json": ("--model", "pipeline2"),
    "an index of nothing": ("--model", "index2/model.safetensors.index.json"),
    "target": ("--params", "1B", "--targets", "c_attn"),
    "optimizer": ("--params", "1B", "--optimizer", "adam"),
    "full lora": ("--params", "1B", "--full", "--lora-rank", "8"),
    "rank": ("--params", "1B", "--lora-rank", "0"),
    "volume": ("--params", "1B", "--volume", "big"),
    "other": ("--params", "1B", "--other", "-1"),
    "no room at all": ("--params", "1B", "--volume", "1G", "--other", "2G"),
    "price": ("--params", "1B", "--price-per-gb-hour", "-1"),
    "steps": ("--params", "1B", "--max-steps", "0"),
    "dtype": ("--params", "1B", "--dtype", "int3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line(ckptkit: Ckptkit, tmp_path: Path, name: str) -> None:
    for folder, content in {
        "list": "[]",
        "text": "{",
        "short": json.dumps(CONFIG),
        "mamba": '{"model_type": 7}',
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    for folder, content in {"index": '{"weight_map": {"a": "b.safetensors"}}', "index2": '{"weight_map": [7]}'}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors.index.json").write_text(content)
    hub(tmp_path / "index3", 10**400, 1)
    hub(tmp_path / "index5", "many", 1)
    hub(tmp_path / "index4", 10**9, 1, quantization_config={})
    for folder, content in {"pipeline": "{}", "pipeline2": "["}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model_index.json").write_text(content)
    Path(tmp_path, "torn", "model.safetensors").write_bytes(b"\0" * 100)
    before = tree(tmp_path)
    called = ckptkit("plan", "--max-steps", 100, *WRONG[name])
    assert called.code == 2 and called.out == "" and called.err.count("\n") == 1 and "Traceback" not in called.err
    assert tree(tmp_path) == before
    assert ckptkit("plan", "--max-steps", 100, *WRONG[name], "--json").json["error"]["exit_code"] == 2


def test_no_run_and_no_intact_checkpoint_have_their_own_codes(ckptkit: Ckptkit, run_of: RunOf, tmp_path: Path) -> None:
    assert ckptkit("plan", "--from", tmp_path / "nowhere", "--max-steps", 9).code == 10
    assert ckptkit("plan", "--from", run_of({100: "torn"}), "--max-steps", 9).code == 4
