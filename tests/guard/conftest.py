"""What the guard's tests share: real Trainers on a tiny Llama, real small disks, and an exact count of checkpoints.

transformers takes five seconds to import, so only what is called imports it, and each worker pays once.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))  # ballast.py, tiny.py, watch.py, whatever pytest's import mode

import ballast
from watch import Watch

from tests.support.typed import FillTo, Names, SmallDisk


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Any) -> None:
    """What mounts is marked so, for the suite's own conftest to leave out where nobody can mount."""
    for item in items:
        if {"disk", "scenes"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.mounts)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Every line that the guard tells during the test."""
    from loguru import logger

    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), format="{message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """disk(size_bytes, inodes=None) mounts a tmpfs of that size and returns its path."""
    mounted: list[str] = []

    def mount(size: int, inodes: int | None = None) -> str:
        path = str(tmp_path / f"disk{len(mounted)}")
        os.mkdir(path)
        options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in reversed(mounted):
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def watch() -> Iterator[Callable[[str], Watch]]:
    """watch(run) counts its checkpoints from now on, by inotify: no instant is missed."""
    made = []

    def start(run: str) -> Watch:
        made.append(Watch(run))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def fill() -> FillTo:
    """fill(path, leave) writes a real file until `leave` bytes are available on the volume."""
    return ballast.fill


@pytest.fixture
def names() -> Names:
    """names(run): everything in the run, checkpoints in the order of their steps."""
    return lambda run: sorted(os.listdir(run), key=lambda name: (len(name), name))
