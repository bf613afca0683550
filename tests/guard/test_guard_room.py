"""Room is made down to the last intact one, and no further; what is announced is held."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.guard.entry import settings_of_a_loop
from ckptkit.guard.room import Room
from ckptkit.ops.pin import pin
from ckptkit.ops.preflight import preflight
from ckptkit.ops.read import judge, scan, verify
from ckptkit.schedulers import cron
from tests.support.typed import FillTo, SmallDisk

MiB = 1 << 20
ONE = 870 * 1024  # a LoRA checkpoint of tiny's


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


def all_resumable(run: str) -> bool:
    return all(j.verdict.resumable for j in judge(scan(run), level="full", quiet=0))


@pytest.fixture
def run_on(disk: SmallDisk) -> Callable[[Any], str]:
    """run_on(bytes): a run on a volume of that size."""

    def make(size: Any) -> str:
        run = os.path.join(disk(size), "run")
        os.mkdir(run)
        return run

    return make


def test_a_disk_that_another_process_fills_costs_no_save_while_more_than_one_checkpoint_stands_there(
    run_on: Callable[[Any], str], fill: FillTo, watch: Callable[[str], Watch]
) -> None:
    """keep_last=3 on 12 MB, filled at step 35: 20 and 30 stand there, so 40 to 100 have room."""
    import tiny

    run = run_on(12 * MiB)
    crowd = tiny.At(35, lambda: fill(os.path.dirname(run), 16 << 10))  # a longer log may take a block more
    trainer, seen = tiny.trainer(run, max_steps=100, callbacks=[crowd]), watch(run)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert guard.skipped == 0 and left(run)[-1] == "checkpoint-100" and all_resumable(run)
    assert seen.peak == 3 and len(left(run)) == 3


def test_keep_every_is_overridden_after_keep_last_and_the_newest_never(
    run_on: Callable[[Any], str], fill: FillTo, told: list[str]
) -> None:
    import tiny

    run = run_on(12 * MiB)
    crowd = tiny.At(65, lambda: fill(os.path.dirname(run), 0))
    trainer = tiny.trainer(run, max_steps=100, callbacks=[crowd])
    guard = ckptkit.guard(trainer, 4, keep_every=20)
    trainer.train()
    assert guard.skipped == 0 and left(run)[-1] == "checkpoint-100" and all_resumable(run)
    beyond = [line.partition(run)[2] for line in told if "room for the next save" in line]
    assert beyond == [
        "/checkpoint-50 deleted: room for the next save, beyond keep-last",
        "/checkpoint-70 deleted: room for the next save, beyond keep-last",
        "/checkpoint-20 deleted: room for the next save, beyond keep-every",
    ]


def test_the_best_and_the_pinned_are_never_deleted_for_room(
    run_on: Callable[[Any], str], fill: FillTo, told: list[str]
) -> None:
    import tiny

    run = run_on(12 * MiB)

    def pin_and_crowd() -> None:
        pin(os.path.join(run, "checkpoint-20"))
        fill(os.path.dirname(run), 0)

    trainer = tiny.trainer(
        run, max_steps=80, eval_strategy="steps", eval_steps=10, metric_for_best_model="score",
        greater_is_better=True, callbacks=[tiny.At(35, pin_and_crowd)],
    )  # fmt: skip
    trainer.compute_metrics = lambda predicted: {"score": -abs(30 - trainer.state.global_step)}
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert {"checkpoint-20", "checkpoint-30"} <= set(left(run))
    assert trainer.state.best_model_checkpoint == os.path.join(run, "checkpoint-30")
    assert guard.skipped + len(left(run)) >= 3 and all_resumable(run)


def test_nothing_is_deleted_where_all_of_it_would_not_be_enough(run_on: Callable[[Any], str], fill: FillTo) -> None:
    """A neighbour takes all, and a model that grew could not be saved even if every older one went."""
    import tiny

    run = run_on(12 * MiB)
    trainer = tiny.trainer(run, max_steps=60)
    guard = ckptkit.guard(trainer, 3)

    def grow() -> None:
        fill(os.path.dirname(run), 0)
        guard.slots.last_bytes = 5 * MiB

    trainer.add_callback(tiny.At(35, grow))
    trainer.train()
    assert guard.skipped == 3 and left(run) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]


@pytest.mark.parametrize("spare", [1.02, 1.1, 1.2])
def test_keep_last_2_skips_no_save_for_its_margin_alone(
    run_on: Callable[[Any], str], watch: Callable[[str], Watch], spare: float
) -> None:
    """Two fit to the byte, and a little: a save is tried where the bytes may suffice."""
    import tiny

    run = run_on(int(2 * ONE * spare) // 4096 * 4096)
    trainer, seen = tiny.trainer(run, max_steps=100), watch(run)
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    assert (guard.skipped, seen.peak) == (0, 2) and left(run) == ["checkpoint-90", "checkpoint-100"]
    assert all_resumable(run)


def test_wait_waits_also_where_the_disk_fills_between_admission_and_write(
    run_on: Callable[[Any], str], fill: FillTo
) -> None:
    import tiny

    run = run_on(12 * MiB)
    ballast = os.path.join(os.path.dirname(run), "ballast")
    tries = []

    class Crowded(tiny.Trainer):
        def _save_optimizer_and_scheduler(self, folder: Any) -> None:
            if self.state.global_step == 20:
                tries.append(os.path.exists(ballast))
                if len(tries) == 1:
                    fill(os.path.dirname(run), 0)
                    beside.start()
            super()._save_optimizer_and_scheduler(folder)

    def leave() -> None:
        """Some seconds after the first attempt failed, as its warning tells."""
        while not any("saving checkpoint-20 failed" in line for line in told):
            time.sleep(0.05)
        time.sleep(1)
        os.unlink(ballast)

    import threading
    import time

    from loguru import logger

    told = []
    sink = logger.add(lambda message: told.append(message.record["message"]))
    beside = threading.Thread(target=leave)
    trainer = tiny.trainer(run, kind=Crowded, max_steps=20)
    guard = ckptkit.guard(trainer, 2, on_full="wait", on_full_timeout=120)
    trainer.train()
    beside.join()
    logger.remove(sink)
    assert (guard.skipped, left(run)[-1]) == (0, "checkpoint-20") and all_resumable(run)


# --- what is announced ------------------------------------------------------------------------------------------------


def best(run: str, **more: Any) -> Any:
    import tiny

    trainer = tiny.trainer(
        run, max_steps=100, eval_strategy="steps", eval_steps=10, metric_for_best_model="score",
        greater_is_better=True, **more,
    )  # fmt: skip
    rng = random.Random(7)
    trainer.compute_metrics = lambda predicted: {"score": rng.random()}
    return trainer


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_with_a_best_one_there_are_at_most_keep_last_and_that_one_as_announced(
    run_on: Callable[[Any], str], watch: Callable[[str], Watch], told: list[str], keep_last: int
) -> None:
    run = run_on(64 * MiB)
    trainer, seen = best(run), watch(run)
    ckptkit.guard(trainer, keep_last)
    trainer.train()
    most = max(2, keep_last)
    assert any(f"at most {most} checkpoints on disk at any instant, and the best one" in line for line in told)
    assert seen.peak <= most + 1


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_with_weights_only_there_is_at_most_one_of_them_more_as_announced_and_each_is_told(
    run_on: Callable[[Any], str], fill: FillTo, watch: Callable[[str], Watch], told: list[str], keep_last: int
) -> None:
    import tiny

    run = run_on(12 * MiB)
    crowd = tiny.At(15, lambda: fill(os.path.dirname(run), 700_000))
    trainer, seen = tiny.trainer(run, max_steps=80, callbacks=[crowd]), watch(run)
    ckptkit.guard(trainer, keep_last, on_full="weights-only")
    trainer.train()
    most = max(2, keep_last)
    assert any(f"at most {most} checkpoints on disk at any instant, and one with weights only" in line for line in told)
    assert seen.peak <= most + 1
    weights_only = [j.checkpoint.name for j in verify(run) if not j.verdict.resumable]
    for name in weights_only:
        assert any(f"{name} is saved weights-only: training can't be resumed from it" in line for line in told)


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_a_restart_with_the_same_seed_in_a_used_directory_skips_no_save_and_holds_the_number(
    run_on: Callable[[Any], str], watch: Callable[[str], Watch], keep_last: int
) -> None:
    """The old ones have the higher steps, and the same losses: only this training knows that they are not its own."""
    import tiny

    run = run_on(64 * MiB)
    ckptkit.guard(first := tiny.trainer(run, max_steps=60), keep_last)
    first.train()
    assert left(run)[-1] == "checkpoint-60"
    trainer, seen = tiny.trainer(run, max_steps=60), watch(run)
    guard = ckptkit.guard(trainer, keep_last)
    trainer.train()
    assert guard.skipped == 0 and seen.peak <= max(2, keep_last)
    assert left(run) == [f"checkpoint-{step}" for step in (40, 50, 60)][-keep_last:]
    assert seen.begun[-6:] == [f"checkpoint-{step}" for step in range(10, 70, 10)]


def test_each_deletion_is_told_those_at_a_resume_too(
    run_on: Callable[[Any], str], watch: Callable[[str], Watch], told: list[str]
) -> None:
    import tiny

    run = run_on(64 * MiB)
    tiny.trainer(run, max_steps=60).train()
    seen = watch(run)
    trainer = tiny.trainer(run, max_steps=80)
    ckptkit.guard(trainer, 2)
    trainer.train(resume_from_checkpoint=True)
    assert len(seen.gone) == 6
    for name in seen.gone:
        assert sum(line.startswith(f"ckptkit: {run}/{name} deleted: ") for line in told) == 1


def test_a_checkpoint_that_somebody_else_deletes_is_told_once_and_by_whom_if_that_is_known(
    run_on: Callable[[Any], str], told: list[str]
) -> None:
    """The cleanup callback that people paste sorts by text: from 10,000 on it takes the newest."""
    import shutil
    import subprocess
    import sys

    import tiny

    run = run_on(64 * MiB)

    def clean_up() -> None:
        shutil.rmtree(os.path.join(run, "checkpoint-20"))

    def sweep() -> None:
        command = [sys.executable, "-m", "ckptkit", "prune", run, "--keep-last", "1", "-y", "-q"]
        subprocess.run(command, check=True)

    trainer = tiny.trainer(run, max_steps=60, callbacks=[tiny.At(25, clean_up), tiny.At(45, sweep)])
    ckptkit.guard(trainer, 3)
    trainer.train()
    others = [line for line in told if "was deleted by" in line]
    assert others[0] == f"ckptkit: {run}/checkpoint-20 was deleted by someone else, not by this guard"
    by_name = [line for line in others[1:] if "was deleted by" in line]
    assert by_name and all("(pid " in line and "someone else" not in line for line in by_name)
    assert len(others) == len(set(others))


def test_start_of_a_training_forks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sh forks to call crontab. A process with a GPU, or memory that a network card writes to, must not be."""
    forks: list[int] = []
    fork, run, crontab = os.fork, tmp_path / "run", tmp_path / "crontab"

    def counted() -> int:
        forks.append(os.getpid())
        return fork()

    crontab.write_text("#!/bin/sh\nexit 1\n")
    crontab.chmod(0o755)
    run.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(cron, "daemon", lambda _: 1)
    monkeypatch.setattr(os, "fork", counted)
    preflight(str(run))
    assert forks  # a person's own call
    forks.clear()
    Room(str(run), settings_of_a_loop(str(run), 2, None, None, "skip", 60.0, ())).begin(0, chosen=True)
    assert forks == []
