"""Guard.save_model: the final model through the same admission; whole or not at all, and nobody else's files go."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.ops.read import scan
from tests.support.typed import FillTo, Names, SmallDisk

MiB = 1 << 20


def weights(directory: str | Path) -> dict[Any, Any]:
    from safetensors import safe_open

    with safe_open(os.path.join(directory, "adapter_model.safetensors"), "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Any, str]:
    """A guarded Trainer after 20 steps, and its run."""
    import tiny

    trainer = tiny.trainer(tmp_path / "run", max_steps=20)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    return guard, str(tmp_path / "run")


def test_it_is_written_whole(trained: tuple[Any, str], names: Names) -> None:
    import torch

    guard, run = trained
    assert guard.save_model(os.path.join(run, "final")) is True
    assert names(run) == ["final", "checkpoint-10", "checkpoint-20"]
    final, last = weights(os.path.join(run, "final")), weights(os.path.join(run, "checkpoint-20"))
    assert final.keys() == last.keys() and all(torch.equal(final[key], last[key]) for key in final)


def test_an_earlier_one_is_replaced(trained: tuple[Any, str], names: Names) -> None:
    guard, run = trained
    final = os.path.join(run, "final")
    assert guard.save_model(final) and guard.save_model(final)
    assert names(run) == ["final", "checkpoint-10", "checkpoint-20"] and weights(final)


def test_directories_on_the_way_are_made(trained: tuple[Any, str], tmp_path: Path) -> None:
    guard, _ = trained
    assert guard.save_model(str(tmp_path / "new" / "models" / "final")) is True
    assert weights(tmp_path / "new" / "models" / "final")


def test_a_relative_path_and_a_slash_at_its_end_mean_the_same(
    trained: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: Names
) -> None:
    guard, _ = trained
    monkeypatch.chdir(tmp_path)
    assert guard.save_model("final/") is True
    assert weights(tmp_path / "final") and names(str(tmp_path)) == ["run", "final"]


def test_into_the_output_dir_itself_costs_no_checkpoint(trained: tuple[Any, str]) -> None:
    """`trainer.save_model()` without an argument writes there, so people write guard.save_model(args.output_dir)."""
    guard, run = trained
    assert guard.save_model(run) is True
    assert left(run) == ["checkpoint-10", "checkpoint-20"] and weights(run)


def test_into_a_directory_with_other_things_leaves_them_alone(trained: tuple[Any, str], tmp_path: Path) -> None:
    guard, _ = trained
    place = tmp_path / "project"
    (place / "notes").mkdir(parents=True)
    (place / "notes" / "thesis.txt").write_text("three years of work")
    assert guard.save_model(str(place)) is True
    assert (place / "notes" / "thesis.txt").read_text() == "three years of work" and weights(place)


def test_older_weights_of_its_kind_go_and_a_base_model_beside_it_stays(
    trained: tuple[Any, str], tmp_path: Path
) -> None:
    """A loader takes one file before shards, so stale ones would be loaded; and a base model is somebody else's."""
    guard, _ = trained
    place = tmp_path / "model"
    place.mkdir()
    for name in ("model.safetensors", "pytorch_model.bin", "adapter_model-00001-of-00002.safetensors"):
        (place / name).write_text("older")
    assert guard.save_model(str(place)) is True
    assert sorted(n for n in os.listdir(place) if "model" in n) == [
        "adapter_model.safetensors", "model.safetensors", "pytorch_model.bin"
    ]  # fmt: skip
    assert (place / "model.safetensors").read_text() == "older" and not list(place.glob(".ckptkit*"))


def test_into_a_mount_point(trained: tuple[Any, str], disk: SmallDisk) -> None:
    guard, _ = trained
    mount = disk(4 * MiB)
    assert guard.save_model(mount) is True and weights(mount)


def test_room_is_made_down_to_the_floor(disk: SmallDisk, fill: FillTo, told: list[str]) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, max_steps=20)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    guard.wait()
    fill(mount, 300_000)
    assert guard.save_model(os.path.join(run, "final")) is True
    assert left(run) == ["checkpoint-20"] and weights(os.path.join(run, "final"))


def test_without_room_it_says_so_and_leaves_everything(
    disk: SmallDisk, fill: FillTo, told: list[str], names: Names
) -> None:
    import tiny

    mount = disk(8 * MiB)
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, max_steps=10)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    guard.wait()
    fill(mount, 0)
    assert guard.save_model(os.path.join(run, "final")) is False
    assert names(run) == ["checkpoint-10"]
    assert any("final is NOT written" in line and "0 B are available" in line for line in told)


def test_its_own_volume_is_what_counts(disk: SmallDisk, fill: FillTo) -> None:
    import tiny

    full, other = disk(8 * MiB), disk(8 * MiB)
    trainer = tiny.trainer(os.path.join(full, "run"), max_steps=10)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    guard.wait()
    fill(full, 0)
    assert guard.save_model(os.path.join(other, "final")) is True
    fill(other, 0)
    os.unlink(os.path.join(full, "ballast"))
    assert guard.save_model(os.path.join(other, "more")) is False
    assert os.listdir(other) and "more" not in os.listdir(other)
    assert left(os.path.join(full, "run")) == ["checkpoint-10"]


def test_a_disk_that_fills_while_it_is_written_leaves_the_earlier_one(
    disk: SmallDisk, fill: FillTo, names: Names
) -> None:
    import tiny

    mount = disk(16 * MiB)
    run, ballast = os.path.join(mount, "run"), os.path.join(mount, "ballast")

    class Crowded(tiny.Trainer):
        attempts, times = 0, 0

        def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
            if os.path.exists(ballast):
                os.unlink(ballast)
            if "final" in output_dir and self.attempts < self.times:
                self.attempts += 1
                fill(mount, 20_000)
            super()._save(output_dir, state_dict)

    trainer = tiny.trainer(run, kind=Crowded, max_steps=10)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.save_model(os.path.join(run, "final")) is True
    before = os.stat(os.path.join(run, "final", "adapter_model.safetensors")).st_mtime_ns
    trainer.attempts, trainer.times = 0, 2
    assert guard.save_model(os.path.join(run, "final")) is False
    assert os.stat(os.path.join(run, "final", "adapter_model.safetensors")).st_mtime_ns == before
    os.unlink(ballast)
    trainer.attempts, trainer.times = 0, 1
    assert guard.save_model(os.path.join(run, "final")) is True and trainer.attempts == 1
    assert names(run) == ["final", "checkpoint-10"] and weights(os.path.join(run, "final"))


def test_a_sweep_beside_it_takes_neither_the_draft_nor_the_model(trained: tuple[Any, str], names: Names) -> None:
    import tiny

    guard, run = trained

    class Slow(tiny.Trainer):
        def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> None:
            super().save_model(output_dir, _internal_call)
            sweep = [sys.executable, "-m", "ckptkit", "prune", "-y", run]
            swept.append(subprocess.run(sweep, check=False, capture_output=True, text=True).returncode)

    swept: list[int] = []
    guard.trainer.__class__ = Slow
    assert guard.save_model(os.path.join(run, "final")) is True
    assert swept == [11] and weights(os.path.join(run, "final"))
    assert names(run) == ["final", "checkpoint-10", "checkpoint-20"]
