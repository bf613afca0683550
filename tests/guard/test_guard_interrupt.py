"""Ctrl-C while a save is written: the save is finished, then training ends."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.ops.latest import latest
from ckptkit.ops.read import judge, scan


def interrupted(run: str) -> Any:
    """A Trainer to which somebody types Ctrl-C in the middle of step 20's save."""
    import tiny

    class Interrupted(tiny.Trainer):
        def _save_optimizer_and_scheduler(self, folder: Any) -> None:
            if self.state.global_step == 20:
                os.kill(os.getpid(), signal.SIGINT)
            super()._save_optimizer_and_scheduler(folder)

    return tiny.trainer(run, kind=Interrupted)


def test_save_under_way_is_finished_before_the_training_ends(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    trainer = interrupted(run)
    ckptkit.guard(trainer, 2)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    judged = judge(scan(run), level="full", quiet=0)
    assert [(j.checkpoint.step, j.verdict.resumable) for j in judged] == [(10, True), (20, True)]
    assert trainer.state.global_step == 20 and latest(run).path == f"{run}/checkpoint-20"


def test_training_goes_on_after_an_interrupt_from_the_newest_intact_one(tmp_path: Path) -> None:
    import tiny

    run = str(tmp_path / "run")
    trainer = interrupted(run)
    ckptkit.guard(trainer, 2)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    again = tiny.trainer(run, max_steps=40)
    ckptkit.guard(again, 2)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 40
    assert [c.step for c in scan(run).checkpoints] == [30, 40]
