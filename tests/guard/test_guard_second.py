"""Two guards on one run: the second is refused before it trains a step, and what ended leaves no claim behind."""

from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import LockHeld
from ckptkit.system import lock

SINCE = r"has been training here since \d{4}-\d\d-\d\d \d\d:\d\d UTC \(under a guard\)"
REFUSED = rf": process \d+ {SINCE}: wait for its end, or use another output_dir"


def test_second_training_in_a_run_is_refused_while_the_first_trains_and_welcome_after_it(tmp_path: Path) -> None:
    import tiny

    refused = []

    def try_to_train() -> None:
        second = tiny.trainer(tmp_path / "run")
        ckptkit.guard(second)
        with pytest.raises(LockHeld, match=REFUSED) as told:
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


def test_a_training_that_broke_off_leaves_no_claim(tmp_path: Path) -> None:
    import tiny

    def break_off() -> None:
        raise ZeroDivisionError

    first = tiny.trainer(tmp_path / "run", callbacks=[tiny.At(15, break_off)])
    ckptkit.guard(first)
    with pytest.raises(ZeroDivisionError):
        first.train()
    assert not lock.claims(str(tmp_path / "run")), "a notebook's process lives on"
    second = tiny.trainer(tmp_path / "run", max_steps=20)
    ckptkit.guard(second)
    second.train()
    assert second.state.global_step == 20


def test_claim_lasts_for_each_training_of_a_guard_and_not_between_them(tmp_path: Path) -> None:
    import tiny

    run, during = str(tmp_path / "run"), []
    trainer = tiny.trainer(run, max_steps=10, callbacks=[tiny.At(5, lambda: during.append(lock.claims(run)))])
    ckptkit.guard(trainer)
    trainer.train()
    assert (during, lock.claims(run)) == ([True], False)
    trainer.train()
    assert (during, lock.claims(run)) == ([True, True], False)


def test_claim_ends_also_where_what_follows_the_last_save_breaks(tmp_path: Path) -> None:
    import tiny

    class Interrupted(Exception):
        pass

    def interrupted(seconds: float | None = None) -> None:
        raise Interrupted

    trainer = tiny.trainer(tmp_path / "run", max_steps=5)
    guard = ckptkit.guard(trainer)
    guard.follow_ups.wait = interrupted
    with pytest.raises(Interrupted):
        trainer.train()
    assert not lock.claims(str(tmp_path / "run"))


def test_a_directory_that_somebody_removes_while_it_is_written_costs_only_that_save(tmp_path: Path) -> None:
    import shutil

    import tiny

    run = tmp_path / "run"
    trainer = tiny.trainer(run)
    original = trainer._save_optimizer_and_scheduler

    def removed(folder: Any, *args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step == 20:
            shutil.rmtree(folder)
        return original(folder, *args, **kwargs)

    trainer._save_optimizer_and_scheduler = removed
    guard = ckptkit.guard(trainer)
    trainer.train()
    assert (trainer.state.global_step, guard.skipped) == (40, 1)
