"""A save by the clock, besides those by steps or instead of them. Time is what the tests' own clock says."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.guard.callback import Clock
from ckptkit.guard.guard import Guard
from ckptkit.ops.read import scan
from tests.support.typed import present


def left(run: Path) -> list[int]:
    return [c.step for c in scan(str(run)).checkpoints]


def timed(trainer: Any, guard: Guard, seconds_per_step: int) -> None:
    """Let the guard's clock go by the Trainer's steps."""
    guard.callback.clock = Clock(
        present(guard.settings.save_every), lambda: trainer.state.global_step * seconds_per_step
    )


def test_saves_by_the_clock_instead_of_by_steps_and_the_last_step(
    tmp_path: Path, watch: Callable[[str], Watch]
) -> None:
    import tiny

    trainer = tiny.trainer(tmp_path / "run", max_steps=40, save_strategy="no")
    seen = watch(str(tmp_path / "run"))
    guard = ckptkit.guard(trainer, 3, save_every="30m")
    timed(trainer, guard, 120)  # 15 steps are half an hour
    trainer.train()
    assert seen.begun == ["checkpoint-15", "checkpoint-30", "checkpoint-40"]


def test_saves_by_the_clock_besides_those_by_steps_and_counts_from_the_last_of_either(
    tmp_path: Path, watch: Callable[[str], Watch]
) -> None:
    import tiny

    trainer = tiny.trainer(tmp_path / "run", max_steps=50, save_steps=20)
    seen = watch(str(tmp_path / "run"))
    guard = ckptkit.guard(trainer, 3, save_every=900.0)
    timed(trainer, guard, 60)
    trainer.train()
    assert seen.begun == [f"checkpoint-{step}" for step in (15, 20, 35, 40, 50)]


def test_what_the_clock_saved_is_resumed_from_and_time_begins_anew(
    tmp_path: Path, watch: Callable[[str], Watch]
) -> None:
    import tiny

    first = tiny.trainer(tmp_path / "run", max_steps=20, save_strategy="no")
    guard = ckptkit.guard(first, 2, save_every="10m")
    timed(first, guard, 60)
    first.train()
    assert left(tmp_path / "run") == [10, 20]
    trainer = tiny.trainer(tmp_path / "run", max_steps=40, save_strategy="no")
    seen = watch(str(tmp_path / "run"))
    guard = ckptkit.guard(trainer, 2, save_every="10m")
    timed(trainer, guard, 60)
    trainer.train(resume_from_checkpoint=True)
    assert [name for name in seen.begun if name not in ("checkpoint-10", "checkpoint-20")] == [
        "checkpoint-30",
        "checkpoint-40",
    ]


def test_real_clock_saves_before_the_end(tmp_path: Path, watch: Callable[[str], Watch]) -> None:
    """Each step takes at least a tenth of a second, so 20 steps are more than one interval of a second."""
    import time

    import tiny

    class Slow(tiny.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.1)

    trainer = tiny.trainer(tmp_path / "run", max_steps=20, save_strategy="no", callbacks=[Slow()])
    seen = watch(str(tmp_path / "run"))
    ckptkit.guard(trainer, 2, save_every=1)
    trainer.train()
    steps = [int(name.split("-")[1]) for name in seen.begun]
    assert len(steps) >= 2 and steps[-1] == 20 and min(steps) <= 11


@pytest.mark.parametrize("every", ["soon", "", 0, -1, float("nan"), True, "30"])
def test_time_that_can_not_be_meant_is_refused_by_its_name(tmp_path: Path, every: str | float) -> None:
    import tiny

    with pytest.raises(ckptkit.UsageError, match="^save_every="):
        ckptkit.guard(tiny.trainer(tmp_path), save_every=every)


def test_without_it_no_clock_saves(tmp_path: Path) -> None:
    import tiny

    trainer = tiny.trainer(tmp_path / "run", max_steps=10, save_strategy="no")
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert not os.path.exists(tmp_path / "run") or os.listdir(tmp_path / "run") == []
