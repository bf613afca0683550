"""Facts from the field with a real Trainer: what a person's callback writes, logs or breaks, guarded or not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.model.checkpoint import SAVING
from ckptkit.ops.latest import latest
from ckptkit.ops.read import plan, verify


def left(run: str | Path) -> list[str]:
    return sorted(os.listdir(run), key=lambda name: (len(name), name))


def manifest(run: str, step: int) -> Any:
    return json.loads(Path(run, f"checkpoint-{step}", ".ckptkit-manifest.json").read_text())


def callback(**events: Any) -> Any:
    """callback(on_log=f) is a TrainerCallback that calls f(args, state, model) then."""
    from transformers import TrainerCallback

    def method(action: Callable[..., object]) -> Callable[..., Any]:
        return lambda self, args, state, control, model=None, **kwargs: action(args, state, model)

    return type("Persons", (TrainerCallback,), {event: method(action) for event, action in events.items()})()


# --- a log entry of a person's ----------------------------------------------------------------------------------------


def log_without_step(args: Any, state: Any, model: Any) -> None:
    state.log_history.append({"custom_eval": 1.0})


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "alone"])
def test_log_entry_without_step_leaves_a_checkpoint_intact_and_it_resumes(tmp_path: Path, guarded: bool) -> None:
    import tiny

    run = tmp_path / "run"
    person = callback(on_step_end=log_without_step)
    trainer = tiny.trainer(run, max_steps=20, callbacks=[person])
    if guarded:
        ckptkit.guard(trainer, 2)
    trainer.train()
    written = json.loads(Path(run, "checkpoint-20/trainer_state.json").read_text())["log_history"]
    assert {"custom_eval": 1.0} in written
    assert all(j.verdict.resumable and not j.verdict.findings for j in verify(str(run), level="full"))
    assert latest(str(run)).path == f"{run}/checkpoint-20"
    resumed = tiny.trainer(run, max_steps=30, callbacks=[person])
    ckptkit.guard(resumed, 2)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 30 and left(run) == ["checkpoint-20", "checkpoint-30"]


# --- files of a person's ----------------------------------------------------------------------------------------------


def write_ema(args: Any, state: Any, model: Any) -> None:
    """As a callback for an averaged model does: torch.save, and files of other tools with endings like ours."""
    import torch

    folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
    torch.save({name: tensor for name, tensor in model.state_dict().items() if "lora" in name}, folder / "ema.pt")
    torch.save({"weight": torch.ones(4)}, folder / "value_head.bin")
    (folder / "language_model").mkdir()
    (folder / "language_model" / "5gram.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")


def test_ema_value_head_and_5gram_under_the_guard_cost_no_warning_no_manifest_and_no_pruning(
    tmp_path: Path, told: list[str]
) -> None:
    import tiny

    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, max_steps=30, callbacks=[callback(on_save=write_ema)])
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.skipped == 0 and left(run) == ["checkpoint-20", "checkpoint-30"]
    assert [line for line in told if "checkpoint-" in line] == [
        f"ckptkit: {run}/checkpoint-10 deleted: no rule keeps it"
    ]
    for level in ("quick", "full", "deep"):
        assert all(j.verdict.resumable and not j.verdict.findings for j in verify(run, level=level)), level
    for step in (20, 30):
        assert set(manifest(run, step)["files"]) >= {"optimizer.pt", "adapter_model.safetensors"}
        assert (Path(run) / f"checkpoint-{step}" / "language_model" / "5gram.bin").exists()
        assert SAVING not in os.listdir(f"{run}/checkpoint-{step}")


# --- weights that turn NaN --------------------------------------------------------------------------------------------


def turn_nan(step: int) -> Any:
    def action(args: Any, state: Any, model: Any) -> None:
        if state.global_step == step:
            next(p for p in model.parameters() if p.requires_grad).data.view(-1)[0] = float("nan")

    return callback(on_step_end=action)


def test_weights_that_turn_nan_never_push_out_the_last_finite_checkpoint(tmp_path: Path, told: list[str]) -> None:
    import tiny

    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, max_steps=60, callbacks=[turn_nan(22)])
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.skipped == 0
    assert "checkpoint-20" in left(run) and "checkpoint-60" in left(run), left(run)
    assert manifest(run, 20)["nonfinite"] == [] and manifest(run, 60)["nonfinite"]
    (first, *_) = [line for line in told if "became NaN or Inf" in line]
    assert f"{run}/checkpoint-30" in first and "finite" in first
    assert latest(run).path == f"{run}/checkpoint-20"
    assert latest(run, allow_nonfinite=True).path == f"{run}/checkpoint-60"


def test_resume_under_the_guard_takes_the_last_finite_checkpoint(tmp_path: Path, told: list[str]) -> None:
    import tiny

    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, max_steps=40, callbacks=[turn_nan(22)])
    ckptkit.guard(trainer, 2)
    trainer.train()
    resumed = tiny.trainer(run, max_steps=50)
    ckptkit.guard(resumed, 2)
    resumed.train(resume_from_checkpoint=True)
    assert f"ckptkit: resuming from {run}/checkpoint-20" in told
    assert any("checkpoint-40" in line and "NaN or Inf" in line for line in told)
    newest = latest(run)
    assert newest.path == f"{run}/checkpoint-50" and newest.verdict.nonfinite == ()


def test_model_with_a_buffer_that_is_inf_from_the_start_is_never_called_diverged(
    tmp_path: Path, told: list[str]
) -> None:
    import tiny
    import torch

    model = tiny.model(lora=False)
    model.register_buffer("mask", torch.full((4, 4), float("-inf")))
    run = str(tmp_path / "run")
    trainer = tiny.trainer(run, of=model, max_steps=30)
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert manifest(run, 30)["nonfinite"] == ["mask"]
    assert left(run) == ["checkpoint-20", "checkpoint-30"] and not [line for line in told if "became" in line]
    newest = latest(run)
    assert newest.path == f"{run}/checkpoint-30" and not newest.passed_over
    assert "checkpoint-20" in {d.checkpoint.name for d in plan(run, ckptkit.Rules(1)).deletions}


def test_nan_is_told_by_verify_deep_as_a_hint_that_condemns_nothing(tmp_path: Path) -> None:
    import tiny

    run = str(tmp_path / "run")
    tiny.trainer(run, max_steps=10, callbacks=[turn_nan(5)]).train()
    (judged,) = verify(run, level="deep")
    assert judged.verdict.resumable and judged.verdict.nonfinite
    assert {f.code for f in judged.verdict.findings} == {"nonfinite"}
    told = {f.file: f.message for f in judged.verdict.findings}
    assert "lora_" in told["adapter_model.safetensors"] and "NaN" in told["adapter_model.safetensors"], told


# --- a pickle that a resume refuses -----------------------------------------------------------------------------------


def test_resume_under_the_guard_skips_a_scheduler_that_names_random_os_system(tmp_path: Path, told: list[str]) -> None:
    import tiny

    from tests.test_field import RANDOM_OS, plant

    run = str(tmp_path / "run")
    tiny.trainer(run, max_steps=20).train()
    plant(run, 20, "scheduler.pt", RANDOM_OS)
    trainer = tiny.trainer(run, max_steps=20)
    ckptkit.guard(trainer, 3)
    trainer.train(resume_from_checkpoint=True)
    assert f"ckptkit: resuming from {run}/checkpoint-10" in told
    assert any("checkpoint-20" in line and "random._os.system" in line for line in told)
