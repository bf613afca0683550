"""The best checkpoint is one that is on disk: a best save that failed or was skipped is none, and it is told."""

import os
from collections.abc import Callable
from typing import Any

import pytest

import ckptkit
from ckptkit.ops.read import scan
from tests.support.typed import FillTo, SmallDisk

MiB = 1 << 20
BEST = 30  # the step with the best score


def trained(
    mount: str, crowd: Callable[..., list[Any] | None], told_by: Any = None, **settings: Any
) -> tuple[Any, str]:
    """A Trainer whose step 30 scores best, and which loads the best at the end; `crowd` disturbs its saves."""
    import tiny

    run = os.path.join(mount, "run")
    os.makedirs(run, exist_ok=True)
    options = dict(
        max_steps=60, eval_strategy="steps", eval_steps=10, load_best_model_at_end=True, metric_for_best_model="score",
        greater_is_better=True, learning_rate=1e-2,
    )  # fmt: skip
    trainer = tiny.trainer(run, **{**options, **settings})
    trainer.compute_metrics = lambda predicted: {"score": -abs(BEST - trainer.state.global_step)}
    crowd(trainer, mount)
    return trainer, run


def refuse(trainer: Any, step: int) -> None:
    """That step's checkpoint can't be written, by a file in the place of one of its parts; others can."""
    original = trainer._save_optimizer_and_scheduler

    def broken(folder: Any, *args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step == step:
            os.mkdir(os.path.join(folder, "optimizer.pt"))
        return original(folder, *args, **kwargs)

    trainer._save_optimizer_and_scheduler = broken


def test_best_save_that_failed_leaves_the_best_of_those_on_disk_and_is_told(disk: SmallDisk, told: list[str]) -> None:
    trainer, run = trained(disk(64 * MiB), lambda trainer, mount: refuse(trainer, BEST))
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    state = trainer.state
    assert guard.skipped == 1
    assert (state.best_metric, state.best_global_step) == (-10, 20), "as good as 40, and before it"
    assert state.best_model_checkpoint == os.path.join(run, "checkpoint-20")
    assert [c.name for c in scan(run).checkpoints] == ["checkpoint-20", "checkpoint-50", "checkpoint-60"]
    (line,) = [line for line in told if "is the best so far" in line]
    assert "checkpoint-30" in line and "was not saved" in line
    assert line.endswith(f"the best one on disk is still {run}/checkpoint-20")


def test_model_that_is_loaded_at_the_end_is_the_best_of_those_on_disk(disk: SmallDisk) -> None:
    import torch
    from safetensors.torch import load_file

    trainer, run = trained(disk(64 * MiB), lambda trainer, mount: refuse(trainer, BEST))
    ckptkit.guard(trainer, 2)
    trainer.train()
    saved = load_file(os.path.join(run, "checkpoint-20", "adapter_model.safetensors"))
    loaded = {name.replace(".default", ""): value for name, value in trainer.model.state_dict().items()}
    assert saved and all(torch.equal(value, loaded[name]) for name, value in saved.items())


def test_best_save_that_was_skipped_for_want_of_room_is_not_the_best(
    disk: SmallDisk, fill: FillTo, told: list[str]
) -> None:
    import shutil

    import tiny

    def crowd(trainer: Any, mount: Any) -> None:
        def take() -> None:
            shutil.rmtree(os.path.join(mount, "run", "checkpoint-10"))
            fill(mount, 0)

        trainer.add_callback(tiny.At(25, take))
        trainer.add_callback(tiny.At(35, lambda: os.unlink(os.path.join(mount, "ballast"))))

    trainer, run = trained(disk(64 * MiB), crowd)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.skipped == 1 and trainer.state.best_global_step == 20
    assert trainer.state.best_model_checkpoint == os.path.join(run, "checkpoint-20")


def test_best_that_never_was_on_disk_is_none(disk: SmallDisk, told: list[str]) -> None:
    def all_fail(trainer: Any, mount: Any) -> None:
        def broken(folder: Any, *args: Any, **kwargs: Any) -> None:
            raise OSError(5, "Input/output error")

        trainer._save_optimizer_and_scheduler = broken

    trainer, run = trained(disk(64 * MiB), all_fail, load_best_model_at_end=False)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    state = trainer.state
    assert guard.skipped == 6 and os.listdir(run) == []
    assert (state.best_metric, state.best_global_step, state.best_model_checkpoint) == (None, None, None)


def test_best_save_that_is_made_at_the_second_attempt_is_the_best(disk: SmallDisk) -> None:
    def fail_once(trainer: Any, mount: Any) -> None:
        original = trainer._save_optimizer_and_scheduler
        failed: list[int] = []

        def broken(folder: Any, *args: Any, **kwargs: Any) -> Any:
            if trainer.state.global_step == BEST and not failed:
                failed.append(1)
                raise OSError(5, "Input/output error")
            return original(folder, *args, **kwargs)

        trainer._save_optimizer_and_scheduler = broken

    trainer, run = trained(disk(64 * MiB), fail_once)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert (guard.skipped, trainer.state.best_global_step, trainer.state.best_metric) == (0, BEST, 0)
    assert trainer.state.best_model_checkpoint == os.path.join(run, "checkpoint-30")


def test_failed_saves_leave_the_states_of_the_callbacks_as_they_were(disk: SmallDisk) -> None:
    """`_save_checkpoint` appends to a list for each attempt: twice would make a resume take the wrong one."""
    import tiny
    from transformers.trainer_callback import ExportableState

    class Counts(tiny.TrainerCallback, ExportableState):
        def state(self) -> dict[str, dict[Any, Any]]:
            return {"args": {}, "attributes": {}}

    def both(trainer: Any, mount: Any) -> None:
        refuse(trainer, BEST)
        trainer.add_callback(Counts())
        trainer.add_callback(Counts())

    trainer, _ = trained(disk(64 * MiB), both)
    plain, _ = trained(disk(64 * MiB), lambda trainer, mount: [trainer.add_callback(Counts()) for _ in range(2)])
    ckptkit.guard(trainer, 2)
    trainer.train()
    plain.train()
    one, other = (t.state.stateful_callbacks["Counts"] for t in (trainer, plain))
    assert type(one) is type(other) and (not isinstance(one, list) or len(one) <= len(other))


@pytest.mark.parametrize("strategy", ["best"])
def test_save_strategy_best_saves_the_next_one_that_beats_what_is_on_disk(disk: SmallDisk, strategy: str) -> None:
    trainer, run = trained(
        disk(64 * MiB), lambda trainer, mount: refuse(trainer, BEST), save_strategy=strategy, max_steps=60,
    )  # fmt: skip
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert guard.skipped == 1 and trainer.state.best_global_step == 20
    assert "checkpoint-20" in os.listdir(run)
