"""Resuming: from the newest intact one, told what was passed over; and what was resumed from stays until it may go."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.ops.read import scan


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[int, float]]:
    """A run of checkpoints 10 to 60, without the guard, and the losses of a training that was never interrupted."""
    import tiny

    run = str(tmp_path_factory.mktemp("trained") / "run")
    trainer = tiny.trainer(run, max_steps=60)
    trainer.train()
    return run, tiny.losses(trainer)


@pytest.fixture
def run(trained: tuple[str, dict[int, float]], tmp_path: Path) -> str:
    """The run with checkpoints 10, 20 and 30; 30 was torn in the middle of its save."""
    path = tmp_path / "run"
    for step in (10, 20, 30):
        shutil.copytree(os.path.join(trained[0], f"checkpoint-{step}"), path / f"checkpoint-{step}")
    for name in ("trainer_state.json", "rng_state.pth"):
        os.unlink(path / "checkpoint-30" / name)
    return str(path)


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


def test_true_means_the_newest_intact_one_and_the_losses_go_on_to_the_last_digit(
    trained: tuple[str, dict[int, float]], run: str, told: list[str], watch: Callable[[str], Watch]
) -> None:
    import tiny

    trainer = tiny.trainer(run, max_steps=60)
    ckptkit.guard(trainer, 2)
    seen = watch(run)
    trainer.train(resume_from_checkpoint=True)
    assert any("skipped" in line and "checkpoint-30" in line and "trainer_state.json" in line for line in told)
    assert any(line.endswith(f"resuming from {run}/checkpoint-20") for line in told)
    assert tiny.losses(trainer) == trained[1]
    assert "checkpoint-30" in seen.begun, "the torn one was removed, never written into"
    assert left(run) == ["checkpoint-50", "checkpoint-60"]


def test_true_without_an_intact_one_is_a_clear_error(run: str) -> None:
    import tiny

    for name in ("checkpoint-10", "checkpoint-20"):
        shutil.rmtree(os.path.join(run, name))
    trainer = tiny.trainer(run)
    ckptkit.guard(trainer)
    with pytest.raises(ckptkit.NoIntactCheckpoint, match="checkpoint-30"):
        trainer.train(resume_from_checkpoint=True)
    assert left(run) == ["checkpoint-30"]


def first_run(run: Path, how: str) -> None:
    """Make of the output_dir, which the Trainer has made, what it may be before anything was saved there."""
    if how == "not there":
        run.rmdir()
    if how == "holds other things":
        (run / "runs").mkdir()
        (run / "README.md").write_text("mine")
        (run / "set-aside-checkpoint-30").mkdir()


@pytest.mark.parametrize("how", ["not there", "empty", "holds other things"])
def test_true_on_a_first_run_starts_at_step_0_and_says_so(tmp_path: Path, told: list[str], how: str) -> None:
    import tiny

    run = tmp_path / "run"
    trainer = tiny.trainer(run, max_steps=10)
    ckptkit.guard(trainer)
    first_run(run, how)
    trainer.train(resume_from_checkpoint=True)
    assert f"ckptkit: no checkpoint in {run} yet: starting at step 0" in told
    assert tiny.losses(trainer).keys() == {5, 10} and left(str(run)) == ["checkpoint-10"]


def test_true_looks_where_the_run_is_when_training_begins(run: str, tmp_path: Path, told: list[str]) -> None:
    import tiny

    trainer = tiny.trainer(tmp_path / "before", max_steps=30)
    ckptkit.guard(trainer, 3)
    trainer.args.output_dir = run
    trainer.train(resume_from_checkpoint=True)
    assert any(line.endswith(f"resuming from {run}/checkpoint-20") for line in told)
    assert left(run) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"] and not os.listdir(tmp_path / "before")


def test_true_where_the_disk_can_not_be_read_is_an_error_and_no_first_run(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    from ckptkit.errors import UnreadableRun
    from ckptkit.runs import discover

    def unreadable(path: str) -> None:
        raise UnreadableRun(f"can't list {path!r}: Input/output error")

    trainer = tiny.trainer(run)
    ckptkit.guard(trainer)
    monkeypatch.setattr(discover, "scan", unreadable)
    with pytest.raises(UnreadableRun, match="Input/output error"):
        trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 0


def test_true_where_the_run_is_a_file_is_an_error(tmp_path: Path) -> None:
    import tiny

    trainer = tiny.trainer(tmp_path / "run")
    ckptkit.guard(trainer)
    (tmp_path / "run").rmdir()  # the Trainer made it
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ckptkit.NoSuchRun, match="a file"):
        trainer.train(resume_from_checkpoint=True)


@pytest.mark.parametrize("how", ["positional", "keyword"])
def test_a_path_is_left_alone(run: str, how: str) -> None:
    import tiny

    trainer = tiny.trainer(run, max_steps=20)
    ckptkit.guard(trainer, 3)
    begun = []
    trainer.add_callback(tiny.At(11, lambda: begun.append(trainer.state.global_step)))
    path = os.path.join(run, "checkpoint-10")
    trainer.train(path) if how == "positional" else trainer.train(resume_from_checkpoint=path)
    assert begun == [11]
    assert tiny.losses(trainer).keys() == {5, 10, 15, 20}


def test_an_intact_one_of_that_step_is_replaced_and_never_written_into(run: str, watch: Callable[[str], Watch]) -> None:
    import tiny

    before = os.stat(os.path.join(run, "checkpoint-20", "optimizer.pt")).st_mtime_ns
    trainer = tiny.trainer(run, max_steps=20)
    guard, seen = ckptkit.guard(trainer, 3), watch(run)
    trainer.train(resume_from_checkpoint=os.path.join(run, "checkpoint-10"))
    assert "checkpoint-20" in seen.gone and guard.skipped == 0
    assert os.stat(os.path.join(run, "checkpoint-20", "optimizer.pt")).st_mtime_ns > before


def test_the_only_intact_one_is_not_removed_for_a_new_one_of_its_step(run: str, told: list[str]) -> None:
    import tiny

    for name in ("checkpoint-10", "checkpoint-30"):
        shutil.rmtree(os.path.join(run, name))
    before = os.stat(os.path.join(run, "checkpoint-20")).st_mtime_ns
    trainer = tiny.trainer(run, max_steps=20, save_steps=20)
    guard = ckptkit.guard(trainer)
    trainer.train()
    assert (guard.skipped, left(run)) == (1, ["checkpoint-20"])
    assert os.stat(os.path.join(run, "checkpoint-20")).st_mtime_ns == before
    assert any("step 20 is NOT saved" in line and "checkpoint-20" in line for line in told)


SWEEP = [sys.executable, "-m", "ckptkit", "prune", "--keep-last", "1", "-y"]


def test_a_sweep_beside_training_leaves_what_it_resumed_from(run: str) -> None:
    """Somebody copied a newer checkpoint in: by the rules the sweep would take the one that training depends on."""
    import tiny

    during, after = list[tuple[int, list[str]]](), list[tuple[int, list[str]]]()

    def sweep(into: list[Any]) -> None:
        done = subprocess.run([*SWEEP, run], check=False, capture_output=True, text=True)
        into.append((done.returncode, left(run)))

    callbacks = [tiny.At(12, lambda: sweep(during)), tiny.At(35, lambda: sweep(after))]
    trainer = tiny.trainer(run, max_steps=40, callbacks=callbacks)
    ckptkit.guard(trainer, 3)
    trainer.train(resume_from_checkpoint=os.path.join(run, "checkpoint-10"))
    assert during[0][0] == 0 and "checkpoint-10" in during[0][1]
    assert after == [(0, ["checkpoint-30"])], "a newer one is intact by now: let go of"


@pytest.mark.parametrize("limit, stay", [(None, True), (2, False)])
def test_older_ones_stay_where_nobody_chose_a_limit(
    trained: tuple[str, dict[int, float]], tmp_path: Path, told: list[str], limit: int | None, stay: bool
) -> None:
    import tiny

    run = str(tmp_path / "run")
    shutil.copytree(trained[0], run)
    trainer = tiny.trainer(run, max_steps=80)
    ckptkit.guard(trainer, limit)
    trainer.train(resume_from_checkpoint=True)
    old = [f"checkpoint-{step}" for step in (10, 20, 30, 40)] if stay else []
    assert left(run) == [*old, "checkpoint-70", "checkpoint-80"]
    assert any(f"bin/prune {run} -y" in line and "4 older checkpoints stay" in line for line in told) == stay


def test_the_trainers_own_limit_counts_as_chosen(trained: tuple[str, dict[int, float]], tmp_path: Path) -> None:
    import tiny

    run = str(tmp_path / "run")
    shutil.copytree(trained[0], run)
    trainer = tiny.trainer(run, max_steps=70, save_total_limit=2)
    ckptkit.guard(trainer)
    trainer.train(resume_from_checkpoint=True)
    assert left(run) == ["checkpoint-60", "checkpoint-70"]


def test_a_process_forked_during_a_sweep_does_not_keep_its_lock(run: str) -> None:
    """Data loader workers are forked at an epoch's start, just when the save at the last epoch's end is followed up."""
    from ckptkit.system import lock

    context = multiprocessing.get_context("fork")
    with lock.hold(run):
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
    try:
        with lock.hold(run, timeout=0):
            pass
    finally:
        child.kill()
        child.join()
