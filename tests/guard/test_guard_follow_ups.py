"""What follows a save goes on beside training: no save waits for it without need, and one gives way to a newer."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.guard import after_save
from ckptkit.guard import room as rooms
from ckptkit.guard.after_save import FollowUp, FollowUps, make_durable
from ckptkit.guard.room import DURABLE, Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.model.decision import PrunePlan
from ckptkit.ops.read import plan, scan
from ckptkit.policy.keep import Range, Rules
from tests.support.typed import RunOf

SETTINGS = GuardSettings(Rules(keep_last=Range(9, 9)), 9, True, "skip", 0.0)


@pytest.fixture
def run(run_of: RunOf) -> str:
    return str(run_of(dict.fromkeys((100, 200, 300), "intact")))


def manifests(run: str) -> list[str]:
    return sorted(name for name in os.listdir(run) if ".ckptkit-manifest.json" in os.listdir(os.path.join(run, name)))


def test_of_two_that_wait_the_newer_takes_the_place_and_both_saves_are_recorded(run: str) -> None:
    room, follow_ups, recorded = Room(run, SETTINGS), FollowUps(), []
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(60)

    def follow_up(step: int, intact: Callable[[], None] = lambda: None) -> None:
        follow_ups.start(FollowUp(room, f"checkpoint-{step}", intact, lambda: recorded.append(step)))

    follow_up(100, hold)
    assert begun.wait(60)
    follow_up(200)
    follow_up(300)
    assert follow_ups.pending
    go_on.set()
    follow_ups.wait(60)
    assert (manifests(run), room.durable.keys()) == (["checkpoint-100", "checkpoint-300"], {"checkpoint-300"})  # type: ignore[comparison-overlap]
    assert recorded == [100, 200, 300] and not follow_ups.pending


def test_waiting_ends_at_its_limit_and_the_work_goes_on(run: str) -> None:
    room, follow_ups, go_on = Room(run, SETTINGS), FollowUps(), threading.Event()
    follow_ups.start(FollowUp(room, "checkpoint-100", lambda: go_on.wait(60) and None, lambda: None))  # type: ignore[arg-type]
    with pytest.raises(TimeoutError, match="within 0.05 s"):
        follow_ups.wait_secured(0.05)
    go_on.set()
    follow_ups.wait(60)
    assert manifests(run) == ["checkpoint-100"]


def test_room_waits_for_the_last_save_also_where_the_one_before_becomes_durable_at_that_very_moment(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save had begun beside two, of which one was to go: it stayed, and nothing was waited for."""
    settings = GuardSettings(Rules(keep_last=Range(2, 2)), 2, True, "skip", 0.0)
    room, planned = Room(run, settings), plan

    def meanwhile(*args: Any, **kwargs: Any) -> PrunePlan:
        made = planned(*args, **kwargs)
        if not room.durable:  # the thread beside training is through with it now
            room.durable = {"checkpoint-200": DURABLE}
        return made

    def secured() -> None:
        room.durable = {"checkpoint-300": DURABLE}

    monkeypatch.setattr(rooms, "ops_plan", meanwhile)
    room.make(1, secured=secured)
    assert sorted(os.listdir(run)) == ["checkpoint-300"]


def test_fault_in_one_costs_the_next_nothing(run: str, told: list[str]) -> None:
    room, follow_ups = Room(run, SETTINGS), FollowUps()

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    follow_ups.start(FollowUp(room, "checkpoint-100", fail, lambda: None))
    follow_ups.wait(60)
    follow_ups.start(FollowUp(room, "checkpoint-200", lambda: None, lambda: None))
    follow_ups.wait(60)
    assert manifests(run) == ["checkpoint-100", "checkpoint-200"]
    assert any("a fault of ours" in line for line in told)


def test_durable_means_every_file_and_directory_and_the_one_above(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync
    lock = threading.Lock()

    def watched(fd: Any) -> None:
        with lock:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    path = os.path.join(run, "checkpoint-100")
    os.makedirs(os.path.join(path, "deep", "er"))
    shutil.copy(os.path.join(path, "trainer_state.json"), os.path.join(path, "deep", "er"))
    make_durable(path)
    below = {os.path.join(parent, name) for parent, folders, names in os.walk(path) for name in (*folders, *names)}
    assert sorted(synced) == sorted({run, path, *below})


@pytest.mark.parametrize("keep_last, step", [(2, 30), (3, 40), (4, 50)])
def test_save_waits_for_the_follow_up_of_an_earlier_one_only_where_a_checkpoint_must_go_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_last: int, step: int
) -> None:
    """Step 20's is held up: only 10 is known to be durable, and stays. The first save with no place left waits."""
    import tiny

    trainer = tiny.trainer(tmp_path / "run", max_steps=60)
    guard = ckptkit.guard(trainer, keep_last)
    release, waited = threading.Event(), []
    wait_secured, durable = guard.follow_ups.wait_secured, after_save.make_durable

    def wait(seconds: float) -> None:
        waited.append(trainer.state.global_step)
        release.set()
        wait_secured(seconds)

    def hold_up(path: str) -> None:
        assert not path.endswith("checkpoint-20") or release.wait(300)
        durable(path)

    guard.follow_ups.wait_secured = wait
    monkeypatch.setattr(after_save, "make_durable", hold_up)
    trainer.add_callback(tiny.At(11, lambda: guard.follow_ups.wait(300)))
    trainer.train()
    assert waited[0] == step and guard.skipped == 0
    assert len(scan(str(tmp_path / "run")).checkpoints) == keep_last
