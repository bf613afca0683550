"""Two guards on one run: the second is refused before it trains a step, and what ended leaves no claim behind."""

import pytest

import ckptkit
from ckptkit.errors import LockHeld


def test_second_training_in_a_run_is_refused_while_the_first_trains_and_welcome_after_it(tmp_path):
    import tiny

    refused = []

    def try_to_train():
        second = tiny.trainer(tmp_path / "run")
        ckptkit.guard(second)
        with pytest.raises(LockHeld, match="is training here under a guard: wait for its end, or name another") as told:
            second.train()
        refused.append((told.value.exit_code, second.state.global_step))

    first = tiny.trainer(tmp_path / "run", callbacks=[tiny.At(15, try_to_train)])
    ckptkit.guard(first)
    first.train()
    assert refused == [(11, 0)] and first.state.global_step == 40
    second = tiny.trainer(tmp_path / "run", max_steps=50)
    ckptkit.guard(second)
    second.train(resume_from_checkpoint=True)
    assert second.state.global_step == 50


def test_a_training_that_broke_off_leaves_no_claim(tmp_path):
    import tiny

    def break_off():
        raise ZeroDivisionError

    first = tiny.trainer(tmp_path / "run", callbacks=[tiny.At(15, break_off)])
    ckptkit.guard(first)
    with pytest.raises(ZeroDivisionError):
        first.train()
    second = tiny.trainer(tmp_path / "run", max_steps=20)
    ckptkit.guard(second)
    second.train()
    assert second.state.global_step == 20


def test_a_directory_that_somebody_removes_while_it_is_written_costs_only_that_save(tmp_path):
    import shutil

    import tiny

    run = tmp_path / "run"
    trainer = tiny.trainer(run)
    original = trainer._save_optimizer_and_scheduler

    def removed(folder, *args, **kwargs):
        if trainer.state.global_step == 20:
            shutil.rmtree(folder)
        return original(folder, *args, **kwargs)

    trainer._save_optimizer_and_scheduler = removed
    guard = ckptkit.guard(trainer)
    trainer.train()
    assert (trainer.state.global_step, guard.skipped) == (40, 1)
