"""Lightning's own Trainer under `ckptkit.lightning_guard()`: ModelCheckpoint in each of its ways, on small disks."""

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.guard.lightning_callback import LightningGuard
from tests.support.typed import Names, SmallDisk

ROOM_FOR_2_AND_A_HALF = 2_050_000  # a checkpoint: 0.8 MB


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        yield


Losses = dict[int, float] | tuple[()]


def module() -> Callable[..., Any]:
    """A model whose loss of step N is as `module().losses[N]` says, where that is given."""
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self, losses: Losses = ()) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.Dropout(0.1), torch.nn.Linear(512, 64))
            self.told: dict[int, float] = dict(losses)
            self.seen: dict[Any, Any] = {}

        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            loss = (self.net(batch) - batch).square().mean()
            self.seen[self.global_step + 1] = loss.item()
            self.log("told", self.told.get(self.global_step + 1, 0.0))
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    return Module


def fit(
    run: str | Path,
    *callbacks: LightningGuard,
    steps: int = 6,
    every: int = 1,
    losses: Losses = (),
    resume: str | None = None,
    **how: Any,
) -> tuple[Any, Any, Any]:
    """Train, saving at every step; returns Lightning's Trainer, its ModelCheckpoint and the module."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    settings = {"filename": "{step}", "every_n_train_steps": every, "save_top_k": -1, **how}
    saves = ModelCheckpoint(dirpath=str(run), **settings)
    data = torch.randn(8 * 40, 64, generator=torch.Generator().manual_seed(1))
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", devices=1, callbacks=[*callbacks, saves], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = module()(losses)
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=8), ckpt_path=resume)
    return trainer, saves, model


def files(*steps: int) -> list[str]:
    return [f"step={step}.ckpt" for step in steps]


class Fails:
    """Lightning's writer, whose disk is full in these attempts, counted from 1; half a file is left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *attempts: int) -> None:
        from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

        self.tries, original = 0, TorchCheckpointIO.save_checkpoint

        def save(io: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            self.tries += 1
            original(io, checkpoint, path)
            if self.tries in attempts:
                os.truncate(path, os.path.getsize(path) // 2)
                raise OSError(errno.ENOSPC, "No space left on device", path)

        monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", save)


# --- room -------------------------------------------------------------------------------------------------------------


def test_run_that_dies_alone_keeps_two_and_goes_on_to_the_end(
    disk: SmallDisk, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = disk(ROOM_FOR_2_AND_A_HALF)
    monkeypatch.setenv("TMPDIR", mount)
    with pytest.raises(OSError, match="No space left"):
        fit(f"{mount}/run")
    mount = disk(ROOM_FOR_2_AND_A_HALF)
    guard = ckptkit.lightning_guard(keep_last=2)
    trainer, _, _ = fit(f"{mount}/run", guard)
    assert (trainer.global_step, guard.skipped, names(f"{mount}/run")) == (6, 0, files(5, 6))


def test_resumed_run_goes_on_with_the_losses_of_one_that_was_not(tmp_path: Path) -> None:
    _, _, whole = fit(tmp_path / "whole")
    fit(tmp_path / "run", ckptkit.lightning_guard(), steps=3)
    guard = ckptkit.lightning_guard()
    newest = guard.latest(tmp_path / "run")
    assert newest == str(tmp_path / "run/step=3.ckpt")
    import torch

    torch.manual_seed(5)  # whatever was drawn since
    _, _, rest = fit(tmp_path / "run", guard, resume=newest)
    assert sorted(rest.seen) == [4, 5, 6]
    assert set(rest.seen) < set(whole.seen)


def test_latest_is_none_on_a_first_run(tmp_path: Path) -> None:
    assert ckptkit.lightning_guard().latest(tmp_path / "run") is None


# --- what the callback knows ------------------------------------------------------------------------------------------


def test_best_one_by_the_callbacks_state_stays(tmp_path: Path, names: Names) -> None:
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0, 5: 6.0, 6: 7.0}
    _, saves, _ = fit(tmp_path / "run", ckptkit.lightning_guard(2), losses=losses, monitor="told")
    assert os.path.basename(saves.best_model_path) == "step=2.ckpt"
    assert names(tmp_path / "run") == files(2, 5, 6)


@pytest.mark.parametrize("last", [True, "link"])
def test_last_one_stays_and_what_it_points_to(tmp_path: Path, names: Names, last: str | bool) -> None:
    fit(tmp_path / "run", ckptkit.lightning_guard(2), save_last=last)
    assert {"last.ckpt", "step=6.ckpt"} <= set(names(tmp_path / "run"))
    assert os.path.getsize(tmp_path / "run/last.ckpt") > 700_000
    assert len(names(tmp_path / "run")) <= 3


def test_what_the_callback_itself_deletes_goes_once_the_newer_one_is_durable(
    tmp_path: Path, names: Names, told: list[str]
) -> None:
    guard = ckptkit.lightning_guard(2)
    fit(tmp_path / "run", guard, save_top_k=1)
    assert names(tmp_path / "run") == files(6)
    assert not [line for line in told if "was deleted by" in line]


# --- a save that fails ------------------------------------------------------------------------------------------------


def test_save_that_the_disk_broke_off_is_written_again(
    tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    fails, guard = Fails(monkeypatch, 3), ckptkit.lightning_guard(2)
    fit(tmp_path / "run", guard)
    assert (fails.tries, guard.skipped, names(tmp_path / "run")) == (7, 0, files(5, 6))
    assert any("saving step=3.ckpt failed" in line for line in told)


def test_save_that_fails_for_good_costs_nothing_but_itself(
    tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    """ModelCheckpoint would count it as written, name it as the best, and delete the one before."""
    Fails(monkeypatch, 6, 7)
    guard = ckptkit.lightning_guard(2)
    losses = dict(zip(range(1, 7), (6.0, 5.0, 4.0, 3.0, 2.0, 1.0), strict=True))
    trainer, saves, _ = fit(tmp_path / "run", guard, losses=losses, monitor="told", save_top_k=1)
    assert (trainer.global_step, guard.skipped, names(tmp_path / "run")) == (6, 1, files(5))
    assert os.path.basename(saves.best_model_path) == "step=5.ckpt"
    assert any("step 6 is NOT saved, training goes on" in line for line in told)


def test_error_that_is_not_the_disks_ends_training_as_without_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

    def save(*args: Any, **kwargs: Any) -> None:
        raise KeyError("of the program")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", save)
    with pytest.raises(KeyError, match="of the program"):
        fit(tmp_path / "run", ckptkit.lightning_guard())


# --- what is a person's -----------------------------------------------------------------------------------------------


def test_what_a_person_saves_elsewhere_is_left_alone(tmp_path: Path, names: Names) -> None:
    trainer, _, _ = fit(tmp_path / "run", ckptkit.lightning_guard(1))
    for number in range(4):
        trainer.save_checkpoint(str(tmp_path / f"mine/model-{number}.ckpt"))
    assert len(names(tmp_path / "mine")) == 4


@pytest.mark.parametrize("asked", [{"keep_last": 0}, {"on_full": "stop"}, {"trust": "x"}, {"keep_best": "loss"}])
def test_what_can_not_be_meant_is_refused_at_once(asked: dict[str, Any]) -> None:
    with pytest.raises(ckptkit.UsageError, match=next(iter(asked))):
        ckptkit.lightning_guard(**asked)


def test_second_training_with_the_same_guard_keeps_its_own(tmp_path: Path, names: Names) -> None:
    guard = ckptkit.lightning_guard(2)
    fit(tmp_path / "run", guard, steps=6)
    fit(tmp_path / "run", guard, steps=3)
    assert names(tmp_path / "run") == files(2, 3)
