"""The small volume: a tmpfs, or a loop ext4 where a mode needs attributes; filled until eight checkpoints fit."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

TOTAL = 100_000_000
BALLAST = 70_000_000
# Beside the ballast lies the run's base model, so that this is left: eight checkpoints of 2.79 MB and half of a ninth's
# weights. The ninth save, at step 9,000, dies in safetensors.
LEFT = 22_900_000


@contextmanager
def small_volume(folder: str, filesystem: str) -> Iterator[str]:
    """Mount it below `folder` and yield the mount point; unmounted at the end, whatever happened."""
    mount = os.path.join(folder, "volume")
    os.makedirs(mount)
    try:
        _mount_tmpfs(mount) if filesystem == "tmpfs" else _mount_ext4(mount, os.path.join(folder, "image"))
        os.chmod(mount, 0o777)
        _fill(mount)
        yield mount
    finally:
        _run("chattr", "-R", "-f", "-i", mount, check=False)
        _run("umount", "-R", "-l", mount, check=False)


def _mount_tmpfs(mount: str) -> None:
    _run("mount", "-t", "tmpfs", "-o", f"size={TOTAL}", "tmpfs", mount)


def _mount_ext4(mount: str, image: str) -> None:
    """Without a journal, so that as much of it as of the tmpfs is for files; mkfs takes the rest for its tables."""
    _run("truncate", "-s", str(int(TOTAL * 1.1)), image)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image)
    _run("mount", "-o", "loop", image, mount)
    os.unlink(image)  # the loop device holds it: it goes with the mount, even after a kill


def _fill(mount: str) -> None:
    """Allocated, not sparse: other people's data, and the base model."""
    _write(os.path.join(mount, "other-data"), BALLAST)
    status = os.statvfs(mount)
    _write(os.path.join(mount, "base-model"), status.f_bavail * status.f_frsize - LEFT)


def _write(path: str, size: int) -> None:
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)
