"""What follows a save goes on beside training, on a disk that holds an fsync until something else has happened on it.

No test here measures a time: where the guard waits for what it need not wait for, the fsync is held in vain.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ckptkit
from ckptkit.ops.read import scan, verify
from tests.support.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Through FUSE an fsync locks its file against lseek(2), so what is held is one that nobody looks at while it lasts.
UNREAD = "README.md"
pytestmark = pytest.mark.mounts


class Disk(NamedTuple):
    """path: where it is mounted; log: what has happened on it."""

    path: str
    log: Path

    @property
    def run(self) -> str:
        return os.path.join(self.path, "run")

    @property
    def events(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Callable[[Any, Any], Disk]]:
    """holding(held, until) mounts a disk whose first fsync that matches `held` waits for `until`: see held_disk.py."""
    servers = []
    disk = Disk(str(tmp_path / "held"), tmp_path / "log")

    def mount(held: Any, until: Any) -> Disk:
        back = tmp_path / "back"
        back.mkdir()
        os.mkdir(disk.path)
        command = [sys.executable, "-m", "tests.guard.held_disk", str(back), disk.path, str(disk.log), held, until]
        with open(tmp_path / "server", "w") as told:
            servers.append(subprocess.Popen(command, cwd=CHECKOUT, stderr=told))
        wait_for(lambda: os.path.ismount(disk.path))
        return disk

    yield mount
    for server in servers:
        subprocess.run(["umount", "-l", disk.path], check=False)
        server.terminate()
        server.wait(30)


def train(disk: Disk, keep_last: int, **settings: Any) -> list[str]:
    """Four saves, all of which must be written; what happened on the disk, in order."""
    import tiny

    trainer = tiny.trainer(disk.run, **settings)
    guard = ckptkit.guard(trainer, keep_last)
    trainer.train()
    assert guard.skipped == 0
    assert scan(disk.run).checkpoints[-1].name == "checkpoint-40"
    assert all(j.verdict.intact for j in verify(disk.run))
    return disk.events


def synced(events: list[str], name: str) -> list[int]:
    """The places in the events where something of that checkpoint became durable."""
    return [at for at, event in enumerate(events) if event.startswith(f"synced /run/{name}")]


def in_vain(events: list[str]) -> list[str]:
    return [event for event in events if event.startswith("in vain")]


def test_a_save_begins_while_the_one_before_is_still_made_durable(holding: Callable[[Any, Any], Disk]) -> None:
    disk = holding(f"fsync /run/checkpoint-20/{UNREAD}", "mkdir /run/checkpoint-30")
    events = train(disk, 3)
    assert synced(events, "checkpoint-20")[-1] > events.index("mkdir /run/checkpoint-30")
    assert not in_vain(events)


def test_with_two_slots_a_save_waits_until_the_one_before_is_durable(holding: Callable[[Any, Any], Disk]) -> None:
    """It takes the place of the older one, and then the one before is the only one."""
    import tiny

    disk = holding("fsync /run/checkpoint-20/.*", "mkdir /saving-30")
    callbacks = [tiny.At(30, lambda: os.mkdir(os.path.join(disk.path, "saving-30")))]
    events = train(disk, 2, callbacks=callbacks)
    assert synced(events, "checkpoint-20")[-1] < events.index("mkdir /run/checkpoint-30")
    assert not in_vain(events)


def test_the_files_of_a_save_are_made_durable_side_by_side(holding: Callable[[Any, Any], Disk]) -> None:
    one_of_them = "fsync /run/checkpoint-10/.*"
    assert not in_vain(train(holding(one_of_them, one_of_them), 2))


def test_of_two_saves_that_wait_to_be_made_durable_the_older_one_is_left_out(
    holding: Callable[[Any, Any], Disk],
) -> None:
    disk = holding(f"fsync /run/checkpoint-10/{UNREAD}", "mkdir /run/checkpoint-40")
    events = train(disk, 4)
    assert synced(events, "checkpoint-10") and synced(events, "checkpoint-40")
    assert not synced(events, "checkpoint-20") or not synced(events, "checkpoint-30")
    assert not in_vain(events)
