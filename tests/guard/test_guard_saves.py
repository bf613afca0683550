"""A training under the guard, on a disk with room: how many checkpoints, which ones, and that training is the same."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from watch import Watch

import ckptkit
from ckptkit.delete.checkpoint import SETTLE_SECONDS
from ckptkit.errors import NoSuchRun
from ckptkit.ops.read import judge, scan, verify
from tests.support.typed import FillTo, SmallDisk, present


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = tmp_path / "run"
    path.mkdir()
    return str(path)


def left(run: str) -> list[str]:
    return [c.name for c in scan(run).checkpoints]


def looked_at(run: str) -> bool | None:
    """Whether one is intact; None where a directory came or went meanwhile: such a look is of no one moment."""
    before = sorted(os.listdir(run))
    try:
        found = any(j.verdict.intact for j in judge(scan(run)))
    except NoSuchRun:  # none yet
        found = False
    return found if sorted(os.listdir(run)) == before else None


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("keep_last, most", [(1, 2), (2, 2), (3, 3)])
def test_never_more_than_keep_last_at_any_instant(
    run: str, watch: Callable[[str], Watch], told: list[str], keep_last: int, most: int, lora: bool
) -> None:
    import tiny

    trainer, seen = tiny.trainer(run, lora=lora, max_steps=60), watch(run)
    guard = ckptkit.guard(trainer, keep_last)
    trainer.train()
    assert seen.peak == most
    assert left(run) == [f"checkpoint-{step}" for step in (40, 50, 60)][-keep_last:]
    assert all(j.verdict.intact and j.verdict.resumable for j in verify(run))
    assert guard.skipped == 0
    assert any("there are 2 while a save is written" in line for line in told) == (keep_last == 1)


def test_at_every_look_one_is_intact(run: str) -> None:
    import tiny

    stop = threading.Event()
    looks: list[Any] = []

    def look() -> None:
        """Since the first save is whole, until the last begins."""
        while not stop.is_set() and not any("40" in name for name in os.listdir(run)):
            found = looked_at(run)
            if found or (looks and found is not None):
                looks.append(found)

    trainer = tiny.trainer(run, save_steps=2)
    ckptkit.guard(trainer, keep_last=1)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        trainer.train()
    finally:
        stop.set()
        looker.join()
    assert len(looks) > 20 and all(looks)


def test_rotation_is_taken_over_from_the_trainer(run: str, watch: Callable[[str], Watch]) -> None:
    import tiny

    trainer, seen = tiny.trainer(run, save_total_limit=3, max_steps=60), watch(run)
    ckptkit.guard(trainer)
    within = []
    trainer.add_callback(tiny.At(15, lambda: within.append(trainer.args.save_total_limit)))
    trainer.train()
    assert (seen.peak, len(left(run))) == (3, 3)
    assert (within, trainer.args.save_total_limit) == ([None], 3), "another Trainer may have the same arguments"


def test_an_argument_beats_the_trainers_limit(run: str) -> None:
    import tiny

    trainer = tiny.trainer(run, save_total_limit=3)
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert left(run) == ["checkpoint-30", "checkpoint-40"]


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    import tiny

    alone, guarded = tiny.trainer(tmp_path / "alone"), tiny.trainer(tmp_path / "guarded")
    ckptkit.guard(guarded)
    alone.train()
    guarded.train()
    assert tiny.losses(alone) == tiny.losses(guarded) and len(tiny.losses(alone)) == 8


def test_scalars_are_logged_at_each_save(run: str) -> None:
    import tiny

    trainer = tiny.trainer(run)
    ckptkit.guard(trainer)
    trainer.train()
    assert tiny.scalars(trainer, "ckpt/count") == [1, 2, 2, 2]
    assert all(size > 100_000 for size in tiny.scalars(trainer, "ckpt/bytes"))
    assert all(free > 0 for free in tiny.scalars(trainer, "disk/free_bytes"))
    stalls = tiny.scalars(trainer, "ckpt/stall_seconds")
    assert len(stalls) == 4 and all(0 < stall < 60 for stall in stalls)


NEIGHBOUR = """
import sys, time
print("writes", flush=True)
with open(sys.argv[1], "wb", buffering=0) as file:
    while file.tell() < 600 << 20:
        file.write(bytes(1 << 18))
        time.sleep(0.001)
"""


def test_somebody_else_writing_on_the_volume_stalls_no_save(disk: SmallDisk) -> None:
    import tiny

    mount = disk(1 << 30)
    trainer = tiny.trainer(os.path.join(mount, "run"), max_steps=60)
    ckptkit.guard(trainer)
    command = [sys.executable, "-c", NEIGHBOUR, os.path.join(mount, "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stdout.readline()
        trainer.train()
        writer.kill()
    # Four of the six saves delete; one that waited for the volume to stand still would take that long each time.
    assert median(tiny.scalars(trainer, "ckpt/stall_seconds")) < SETTLE_SECONDS


def test_the_best_one_stays_and_is_loaded_at_the_end(run: str, told: list[str]) -> None:
    import tiny

    trainer = tiny.trainer(
        run, eval_strategy="steps", eval_steps=10, load_best_model_at_end=True, metric_for_best_model="loss",
        greater_is_better=True, learning_rate=1e-2, max_steps=60,
    )  # fmt: skip
    ckptkit.guard(trainer, 2)
    trainer.train()
    assert trainer.state.best_model_checkpoint == os.path.join(run, "checkpoint-10"), "the highest loss is the first"
    assert left(run) == ["checkpoint-10", "checkpoint-50", "checkpoint-60"]
    assert any("at most 2 checkpoints on disk at any instant, and the best one" in line for line in told)


def test_save_strategy_best_passes_through_the_guard(run: str, watch: Callable[[str], Watch]) -> None:
    import tiny

    trainer = tiny.trainer(
        run, save_strategy="best", eval_strategy="steps", eval_steps=5, metric_for_best_model="loss", learning_rate=1e-2
    )
    ckptkit.guard(trainer, 2)
    seen = watch(run)
    trainer.train()
    assert seen.peak == 2 and len(seen.gone) >= 2


def test_keep_every_stays_beside_the_last(run: str) -> None:
    import tiny

    trainer = tiny.trainer(run, max_steps=70)
    ckptkit.guard(trainer, 2, keep_every=30)
    trainer.train()
    assert left(run) == [f"checkpoint-{step}" for step in (30, 60, 70)]


def test_a_second_training_writes_its_own_checkpoints(run: str) -> None:
    import tiny

    trainer = tiny.trainer(run, save_steps=20)
    ckptkit.guard(trainer)
    trainer.train()
    first = os.stat(os.path.join(run, "checkpoint-40", "optimizer.pt")).st_mtime_ns
    trainer.train()
    assert os.stat(os.path.join(run, "checkpoint-40", "optimizer.pt")).st_mtime_ns > first
    assert [j.verdict.state for j in verify(run)] == ["intact", "intact"]


def test_each_trial_of_a_search_has_a_run_of_its_own(run: str) -> None:
    import tiny
    from transformers.trainer_utils import HPSearchBackend

    class Trial:
        number = 7

    trainer = tiny.trainer(run)
    ckptkit.guard(trainer, 1)
    trainer.hp_search_backend = HPSearchBackend.OPTUNA
    trainer.hp_name = None
    trainer.state.global_step = 10
    trainer.create_optimizer_and_scheduler(40)
    trainer._save_checkpoint(trainer.model, Trial())
    trainer._ckptkit_guard.wait()
    assert left(os.path.join(run, "run-7")) == ["checkpoint-10"]


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_each_save_is_read_back_and_has_a_manifest(run: str, lora: bool) -> None:
    import tiny

    from ckptkit.verify import manifest

    trainer = tiny.trainer(run, lora=lora)
    ckptkit.guard(trainer)
    trainer.train()
    for judged in verify(run, level="full"):
        known = present(manifest.read(judged.checkpoint.path))
        assert judged.verdict.findings == () and known.files == dict(judged.verdict.digests)
        assert known.versions.keys() >= {"ckptkit", "python", "torch", "transformers", "safetensors"}


def test_history_knows_each_save_and_each_deletion(run: str) -> None:
    import tiny

    from ckptkit.history import records
    from ckptkit.model.events import Deletion, Save

    ckptkit.guard(trainer := tiny.trainer(run, max_steps=60), keep_last=2)
    trainer.train()
    saves, gone = records.recall(Save)[0], records.recall(Deletion)[0]
    assert [(s.step, s.kind, s.run) for s in saves] == [(step, "save", run) for step in (10, 20, 30, 40, 50, 60)]
    assert all(s.allocated_bytes > 0 and 0 < s.seconds < 60 for s in saves)
    assert [(d.step, d.program) for d in gone] == [(step, "the guard") for step in (10, 20, 30, 40)]


def test_no_room_for_a_manifest_is_told_and_costs_nothing(
    disk: SmallDisk, fill: FillTo, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    from ckptkit.guard import after_save

    mount = disk(8 << 20)
    run = os.path.join(mount, "run")
    durable = after_save.make_durable
    monkeypatch.setattr(after_save, "make_durable", lambda path: (durable(path), fill(mount, 0)))  # type: ignore[func-returns-value]
    trainer = tiny.trainer(run, max_steps=10)
    guard = ckptkit.guard(trainer)
    trainer.train()
    assert guard.skipped == 0 and [j.verdict.state for j in verify(run)] == ["intact"]
    assert any("no manifest written: No space left on device" in line for line in told)


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import ckptkit, tiny
trainer = tiny.trainer(sys.argv[2])
ckptkit.guard(trainer, 1)
trainer.train()
"""


def whole_calls(lines: list[str]) -> list[str]:
    """Each call in one line, where it ended: strace splits those during which another thread called something."""
    begun, calls = {}, []
    for line in lines:
        thread = line.split()[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif "resumed>" in line:
            calls.append(begun.pop(thread) + line.split("resumed>")[1])
        else:
            calls.append(line)
    return calls


def test_the_new_one_is_durable_before_an_older_one_goes(run: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-y",
        "-qq",
        "-e",
        "trace=fsync,rename,renameat,renameat2",
        "-o",
        str(trace),
    ]
    subprocess.run(
        [*command, sys.executable, "-c", SCRIPT, os.path.dirname(__file__), run], check=True, capture_output=True
    )
    calls = whole_calls(trace.read_text().splitlines())
    written = verify(run)[-1].checkpoint
    last_rename = max(i for i, call in enumerate(calls) if ".ckptkit-deleting-checkpoint-20" in call)
    synced = "\n".join(call for call in calls[:last_rename] if "fsync(" in call and call.rstrip().endswith("= 0"))
    durable = os.path.join(run, "checkpoint-30")
    for file in written.files:
        if file.name.startswith(".ckptkit-"):
            continue  # ours, written once the rest is durable
        assert f"<{durable}/{file.name}>" in synced
    assert f"<{durable}>" in synced and f"<{run}>" in synced
