"""What a person does around a training, in one process: run a cell again, share arguments, stop early, save by hand."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import NoIntactCheckpoint
from ckptkit.system import lock
from tests.support.typed import Names

LAST_TWO = ["checkpoint-6", "checkpoint-8"]


def made(run: Path, guarded: bool = True, keep_last: Any = None, guard: Any = (), **settings: Any) -> Any:
    """A Trainer that saves every 2 of 8 steps and keeps 2. guard: more arguments of `ckptkit.guard`."""
    import tiny

    trainer = tiny.trainer(run, **{**dict(max_steps=8, save_steps=2, save_total_limit=2), **settings})
    if guarded:
        ckptkit.guard(trainer, keep_last, **dict(guard))
    return trainer


def trained(run: Path, **settings: Any) -> Any:
    trainer = made(run, **settings)
    trainer.train()
    return trainer


def weights(folder: Path) -> bytes:
    return (Path(folder) / "adapter_model.safetensors").read_bytes()


# --- a cell is run again ----------------------------------------------------------------------------------------------


def broken(run: Path) -> None:
    """A run whose only checkpoint is torn."""
    trained(run, guarded=False, max_steps=2)
    os.truncate(run / "checkpoint-2" / "optimizer.pt", 100)


def test_a_resume_that_found_nothing_intact_leaves_the_run_to_the_next_training_of_the_process(
    tmp_path: Path, names: Names
) -> None:
    broken(tmp_path)
    first = made(tmp_path)
    with pytest.raises(NoIntactCheckpoint):
        first.train(resume_from_checkpoint=True)
    assert not lock.claims(str(tmp_path)), "though the Trainer lives on"
    shutil.rmtree(tmp_path / "checkpoint-2")
    again = made(tmp_path)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 8 and names(tmp_path) == LAST_TWO


# --- arguments that two Trainers share --------------------------------------------------------------------------------


def of_same(args: Any, guarded: bool) -> Any:
    """A Trainer with these arguments, the very object."""
    import tiny

    trainer = tiny.trainer(args.output_dir)
    trainer = tiny.Trainer(model=trainer.model, args=args, train_dataset=trainer.train_dataset)
    if guarded:
        ckptkit.guard(trainer)
    return trainer


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "alone"])
def test_the_limit_of_shared_arguments_holds_for_the_next_trainer_too(
    tmp_path: Path, names: Names, guarded: bool
) -> None:
    args = trained(tmp_path, max_steps=8, save_total_limit=3).args
    assert args.save_total_limit == 3 and len(names(tmp_path)) == 3
    of_same(args, guarded).train()
    assert args.save_total_limit == 3
    assert names(tmp_path) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]


def test_a_training_that_breaks_off_gives_the_limit_back(tmp_path: Path) -> None:
    import tiny

    def break_off() -> None:
        raise ZeroDivisionError

    trainer = made(tmp_path, save_total_limit=3, callbacks=[tiny.At(3, break_off)])
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert trainer.args.save_total_limit == 3


def test_a_limit_set_after_the_guard_holds_once_the_guard_is_called_again(tmp_path: Path, names: Names) -> None:
    trainer = made(tmp_path, save_steps=1)
    trainer.args.save_total_limit = 5
    assert ckptkit.guard(trainer).settings.keep_last == 5
    trainer.train()
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (4, 5, 6, 7, 8)]


# --- the end of a training --------------------------------------------------------------------------------------------


def stops(event: str, step: int) -> Any:
    """A callback that ends the training in that event, as early stopping does in on_evaluate."""
    from transformers import TrainerCallback

    def stop(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            control.should_training_stop = True

    return type("Stops", (TrainerCallback,), {event: stop})()


def by_the_clock(run: Path, **settings: Any) -> Any:
    return made(run, guard=dict(save_every="30m"), **{**dict(save_strategy="no"), **settings})


@pytest.mark.parametrize("event", ["on_step_end", "on_evaluate"])
@pytest.mark.parametrize("first", [True, False], ids=["added before the guard", "added after it"])
def test_with_save_every_the_step_at_which_a_callback_stops_is_saved(
    tmp_path: Path, names: Names, event: str, first: bool
) -> None:
    evaluate = dict(eval_strategy="steps", eval_steps=5) if event == "on_evaluate" else {}
    stop = stops(event, 5)
    trainer = by_the_clock(tmp_path, callbacks=[stop] if first else [], **evaluate)
    if not first:
        trainer.add_callback(stop)
    trainer.train()
    assert trainer.state.global_step == 5 and names(tmp_path) == ["checkpoint-5"]


def test_with_save_every_the_last_step_is_saved_also_where_the_best_alone_are_and_it_is_not(
    tmp_path: Path, names: Names
) -> None:
    """The loss falls, and greater is better: only the first is the best so far."""
    best = dict(eval_strategy="steps", eval_steps=2, metric_for_best_model="loss", greater_is_better=True)
    trainer = by_the_clock(tmp_path, save_strategy="best", **best)
    trainer.train()
    assert trainer.state.best_global_step == 2
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-8"]


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_save_by_hand_after_the_training_writes_over_no_intact_one_and_says_so(
    tmp_path: Path, names: Names, told: list[str]
) -> None:
    """The Trainer alone would: and where that breaks off, the newest intact one is gone."""
    import torch

    trainer = trained(tmp_path)
    before = weights(tmp_path / "checkpoint-8")
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1)
    trainer._save_checkpoint(trainer.model, None)
    assert weights(tmp_path / "checkpoint-8") == before and names(tmp_path) == LAST_TWO
    assert any("checkpoint-8 is already there and intact: it is not written again" in line for line in told)


def test_a_timeout_beyond_what_the_system_can_wait_is_refused(tmp_path: Path) -> None:
    trainer = made(tmp_path, guarded=False)
    with pytest.raises(ckptkit.UsageError, match="^on_full_timeout=") as refused:
        ckptkit.guard(trainer, on_full="wait", on_full_timeout=1e10)
    assert "\n" not in str(refused.value)
    assert trainer.args.save_total_limit == 2 and "_save_checkpoint" not in vars(trainer)


def test_a_final_model_without_a_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guard = ckptkit.guard(made(tmp_path / "run", guarded=False))
    before = os.listdir(tmp_path)
    with pytest.raises(ckptkit.UsageError) as refused:
        guard.save_model("")
    assert "\n" not in str(refused.value) and os.listdir(tmp_path) == before
