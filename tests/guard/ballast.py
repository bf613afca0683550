"""A neighbour's file that fills a disk."""

import os

MiB = 1 << 20


def fill(path: str, leave: int, name: str = "ballast") -> None:
    """Write a real file until `leave` bytes are available on the volume."""
    status = os.statvfs(path)
    size = status.f_bavail * status.f_frsize - leave
    with open(os.path.join(path, name), "wb") as file:
        while size > 0:
            size -= file.write(b"\1" * min(size, MiB))
