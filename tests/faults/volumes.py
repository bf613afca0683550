"""Real volumes of each kind, filled to the last byte or the last inode in files of random sizes."""

import io
import os
import random
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.typed import Mount

MiB = 1 << 20
ROOM = 20 * MiB  # what is left to a round on the file systems that can't be made as small as that
BASE = "other-data"  # and the rest of them


class Kind(NamedTuple):
    """filesystem, megabytes and options as the fixture `mount` takes them; inodes: whether they can run out.

    user: whether all is done by an ordinary user, from whom the reserve is kept.
    """

    filesystem: str
    megabytes: int = 0
    options: tuple[str, ...] = ()
    inodes: bool = False
    user: bool = False


KINDS = {
    "ext4": Kind("ext4", 24, ("-m", "0", "-N", "256"), inodes=True),
    "ext4, 20 % reserve": Kind("ext4", 32, ("-m", "20", "-N", "256"), inodes=True, user=True),
    "xfs": Kind("xfs", 300),
    "btrfs": Kind("btrfs", 128),
    "tmpfs": Kind("tmpfs", inodes=True),
    "overlay on tmpfs": Kind("tmpfs", inodes=True),
    "overlay on ext4": Kind("ext4", 24, ("-m", "0", "-N", "256"), inodes=True),
}


def mounted(name: str, mount: Mount, folder: str) -> str:
    """Given a kind's name and the fixture `mount`, return the path of such a volume below `folder`."""
    kind = KINDS[name]
    place = os.path.join(folder, "volume")
    volume = mount(kind.filesystem, "size=20m,nr_inodes=256", kind.megabytes, kind.options, at=place)
    if name.startswith("overlay"):
        layers = [os.path.join(place, layer) for layer in ("lower", "upper", "work")]
        for layer in layers:
            os.mkdir(layer)
        options = "lowerdir={},upperdir={},workdir={}".format(*layers)
        volume = mount("overlay", options, at=os.path.join(folder, "root"))
    if (spare := available(volume) - ROOM) > 0:
        with open(os.path.join(volume, BASE), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, spare)
    os.chmod(volume, 0o777)
    return volume


def available(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def free(path: str) -> int:
    """With the reserve."""
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


def fill(volume: str, what: str, rng: random.Random) -> None:
    """Leave nothing: "bytes" that an ordinary user may write, "reserve" those of root too, or "inodes"."""
    refused = 0
    for number in range(1_000_000):
        with suppress(OSError):
            if not _more(os.path.join(volume, f"ballast-{what}-{number}"), what, rng):
                return
            continue
        refused += 1
        if refused == 8:  # xfs and btrfs say no to a large file before they say no to a small one
            return


def _more(path: str, what: str, rng: random.Random) -> bool:
    """Another file of ballast, until the disk refuses; False where the last byte is gone without its word."""
    left = available(os.path.dirname(path))
    if what == "bytes" and not left:
        return False
    with open(path, "xb", buffering=0) as file:
        if what != "inodes":
            _write(file, min(left, rng.randrange(1, 2 * MiB)) if what == "bytes" else rng.randrange(1, 2 * MiB))
    return True


def _write(file: io.FileIO, size: int) -> None:
    """As much of it as there is room for, then raise what the disk says."""
    while size:
        size -= file.write(b"\1" * min(size, 4096))


def is_full(volume: str, what: str) -> bool:
    if what == "inodes":
        return os.statvfs(volume).f_ffree == 0
    return available(volume) < 64 * 1024 or not _takes_more(volume)


def _takes_more(volume: str) -> bool:
    """What xfs still shows as available may be its own."""
    path = os.path.join(volume, "ballast-probe")
    try:
        with open(path, "xb", buffering=0) as file:
            _write(file, 64 * 1024)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.unlink(path)
    return True


def release(volume: str) -> None:
    """A neighbour takes his files away."""
    for path in Path(volume).glob("ballast-*"):
        path.unlink()


def empty(volume: str) -> None:
    """For the next round."""
    for entry in os.scandir(volume):
        if entry.name not in (BASE, "lost+found"):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    subprocess.run(["sync", "-f", volume], check=True)  # btrfs and xfs give the blocks back with that


def written(volume: str, run: str) -> int:
    """Allocated bytes of logs, history and all else that is neither the run's nor ballast."""
    sizes = 0
    for parent, directories, files in os.walk(volume):
        directories[:] = [name for name in directories if os.path.join(parent, name) != run]
        kept = [name for name in files if not name.startswith(("ballast-", BASE))]
        sizes += sum(os.lstat(os.path.join(parent, name)).st_blocks * 512 for name in kept)
    return sizes
