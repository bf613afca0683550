"""A neighbour's file that fills a disk."""

import errno
import os

MiB = 1 << 20


def fill(path: str, leave: int, name: str = "ballast") -> None:
    """Write a real file until `leave` bytes are available; none are where what follows a save took the last ones."""
    status = os.statvfs(path)
    size = status.f_bavail * status.f_frsize - leave
    with open(os.path.join(path, name), "wb", buffering=0) as file:
        try:
            while size > 0:
                size -= file.write(b"\1" * min(size, MiB))
        except OSError as error:
            if error.errno != errno.ENOSPC or leave:
                raise
