"""Runs made of real checkpoints, in any state."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckptkit import layouts

CHECKOUT = Path(__file__).resolve().parent.parent.parent
ORDER = layouts.LAYOUTS[0].order
OLD = 3600  # seconds: nobody has written there for longer than the quiet period
NOBODY = 65534
TYPED = "python YOUR_SCRIPT.py --resume_from_checkpoint"  # where nothing tells the training's own command


def make_run(real: str, run: str, states: dict[int, str], kind: str = "lora", age: float = OLD) -> str:
    """Given real checkpoints, make `run` with one a step: intact, torn (no state yet), corrupt (step belied) or young.

    Each is a copy of a real one with the state's step and log changed to its own; saved one second after the other.
    """
    now = time.time()
    for at, (step, state) in enumerate(states.items()):
        path = os.path.join(run, f"checkpoint-{step}")
        shutil.copytree(os.path.join(real, kind, "checkpoint-100"), path)
        restep(path, step if state != "corrupt" else step + 1)
        if state in ("torn", "young"):
            os.unlink(os.path.join(path, "trainer_state.json"))
        set_age(path, now, 1 if state == "young" else age - at)
    return run


def restep(path: str, step: int) -> None:
    """Make the state that of `step`, with the log of a run that came there: a line every ten steps."""
    file = os.path.join(path, "trainer_state.json")
    with open(file) as read:
        state = json.load(read)
    state["global_step"] = step
    state["max_steps"] = 10 * step  # training goes on
    state["log_history"] = [{"step": s, "loss": 5 - s / 1e6, "epoch": s / 8} for s in range(10, step + 1, 10)]
    with open(file, "w") as write:
        json.dump(state, write)


def set_age(path: str | Path, now: float, seconds: float) -> None:
    """Make everything of a checkpoint `seconds` old, as a save leaves it: one file after the other, in its order."""
    for parent, _, names in os.walk(path):
        for name in (*names, ""):
            before = len(ORDER) - ORDER.index(name) - 1 if name in ORDER else 0
            at = now - seconds - before / 1000
            os.utime(os.path.join(parent, name), (at, at), follow_symlinks=False)


def names(run: str | Path) -> list[str]:
    """What stands in the run, hidden names too, checkpoints in the order of their steps."""
    return sorted(os.listdir(run), key=lambda name: (len(name), name))


def tree(run: str | Path) -> dict[str, tuple[int, int]]:
    """{path: (inode, mtime)} of all below: equal before and after means that nothing was touched."""
    found = {}
    for parent, directories, files in os.walk(run):
        for name in (*directories, *files):
            status = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (status.st_ino, status.st_mtime_ns)
    return found


@contextmanager
def somebody_else(path: Path, wanted: bool) -> Iterator[None]:
    """As a user who may look into the folders on the way and has no right to root's files."""
    if not wanted:
        yield
        return
    for folder in (path, *path.parents):
        if not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)  # pytest closes its own folders
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
