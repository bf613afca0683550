"""An output_dir that is a symlink, as on boxes where runs/ points to the big volume: guarded like any other."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.ops.read import scan


@pytest.fixture
def linked(tmp_path: Path) -> tuple[str, str]:
    """(link, where it points)"""
    (tmp_path / "volume" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "volume" / "run")
    return str(tmp_path / "link"), str(tmp_path / "volume" / "run")


def test_a_run_behind_a_link_is_durable_read_back_and_pruned(
    linked: tuple[str, str], told: list[str], watch: Callable[[str], Watch]
) -> None:
    import tiny

    link, run = linked
    trainer, seen = tiny.trainer(link), watch(run)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert (guard.skipped, seen.peak) == (0, 2)
    assert sorted(os.listdir(run)) == ["checkpoint-30", "checkpoint-40"]
    assert all(Path(run, name, ".ckptkit-manifest.json").exists() for name in os.listdir(run))
    assert not [line for line in told if "may not survive a crash" in line or "not intact" in line]


def test_a_resume_behind_a_link_and_the_final_model_there_work(linked: tuple[str, str], told: list[str]) -> None:
    import tiny

    link, run = linked
    ckptkit.guard(first := tiny.trainer(link, max_steps=20), 2)
    first.train()
    trainer = tiny.trainer(link, max_steps=40)
    guard = ckptkit.guard(trainer, 2)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 40 and guard.save_model(os.path.join(link, "final")) is True
    assert sorted(os.listdir(run)) == ["checkpoint-30", "checkpoint-40", "final"]
    assert "adapter_model.safetensors" in os.listdir(os.path.join(run, "final"))


def test_the_best_one_behind_a_link_stays_and_is_loaded(linked: tuple[str, str]) -> None:
    import tiny

    link, run = linked
    trainer = tiny.trainer(
        link, max_steps=60, eval_strategy="steps", eval_steps=10, load_best_model_at_end=True,
        metric_for_best_model="score", greater_is_better=True,
    )  # fmt: skip
    trainer.compute_metrics = lambda predicted: {"score": -trainer.state.global_step}
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert os.path.basename(trainer.state.best_model_checkpoint) == "checkpoint-10"
    assert [c.name for c in scan(run).checkpoints] == ["checkpoint-10", "checkpoint-50", "checkpoint-60"]


def test_a_link_inside_a_checkpoint_keeps_it_from_being_durable_no_more_than_any_other_file(
    linked: tuple[str, str], tmp_path: Path, told: list[str]
) -> None:
    import tiny

    link, run = linked
    (tmp_path / "elsewhere").mkdir()

    class Links(tiny.Trainer):
        def _save_rng_state(self, folder: Any) -> None:
            super()._save_rng_state(folder)
            os.symlink(tmp_path / "elsewhere", os.path.join(folder, "latest"))
            os.mkfifo(os.path.join(folder, "pipe"))

    trainer = tiny.trainer(link, kind=Links)
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert sorted(os.listdir(run)) == ["checkpoint-30", "checkpoint-40"]
    assert not [line for line in told if "may not survive a crash" in line]
