"""What somebody lays in the place of a file or directory of a run, and the run that is made for it."""

import os
import time
from pathlib import Path

from tests.support.runs import make_run, set_age

THREE = {100: "intact", 200: "intact", 300: "intact"}
DELETING = ".ckptkit-deleting-checkpoint-100"
TARGETS = {
    "checkpoint": [("checkpoint-100", "checkpoint-100"), (DELETING, "checkpoint-100")],
    "directory": [(f"{name}/sub", "checkpoint-100/sub") for name in ("checkpoint-100", DELETING, "checkpoint-300")],
    "file": [(f"{name}/precious", "precious") for name in ("checkpoint-100/sub", f"{DELETING}/sub")],
    "manifest": [("checkpoint-300/.ckptkit-manifest.json.tmp", "precious")],
    "pins": [(".ckptkit-pins.tmp", "precious"), (".ckptkit-pins", "precious")],
}
LAY = {
    "symlink": os.symlink,
    "hard link": lambda target, path: None if os.path.isdir(target) else os.link(target, path),
}


def swap(run: str, outside: str, what: str, how: str) -> None:
    """Move away what stands there and lay a link in its place."""
    for place, target in TARGETS[what]:
        path, away = os.path.join(run, place), os.path.join(run, f"away-{len(os.listdir(run))}")
        if os.path.lexists(path):
            os.rename(path, away)
        if os.path.isdir(os.path.dirname(path)) and not os.path.lexists(path):
            LAY[how](os.path.join(outside, target), path)


def attacked(real: str, at: Path) -> str:
    """A run whose oldest checkpoint has a directory and hard links, so that a removal has many steps."""
    run = make_run(real, str(at), THREE)
    for step in (100, 300):
        os.mkdir(f"{run}/checkpoint-{step}/sub")
        Path(run, f"checkpoint-{step}", "sub", "precious").write_text("theirs")
        set_age(f"{run}/checkpoint-{step}", time.time(), 3600)
    return run


def nest(top: str, levels: int) -> None:
    """Directories in directories, deeper than any path can name."""
    os.makedirs(top, exist_ok=True)
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        child = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)
