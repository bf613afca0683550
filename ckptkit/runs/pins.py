"""Pinned checkpoints, by name, one a line in the run's own `.ckptkit-pins`.

Not inside the checkpoint: a file added there changes its mtime, by which the Trainer's rotation sorts.
"""

import os

from ckptkit.errors import UsageError
from ckptkit.system import small_files

FILE = ".ckptkit-pins"


def read(run: str) -> frozenset[str]:
    """Given a run, return the pinned names. Raises UsageError if they can't be read: nobody may guess them empty."""
    path = os.path.join(run, FILE)
    try:
        return frozenset(line for line in small_files.content(path).decode().splitlines() if line)
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} can't be read ({error}): nothing is deleted until it can be read: repair or remove that file"
        ) from None


def write(run: str, names: frozenset[str]) -> None:
    """Given a run and the names to pin from now on, replace the list whole. Raises OSError; then the old one stands."""
    fd = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        small_files.replace(fd, FILE, "".join(f"{name}\n" for name in sorted(names)).encode())
    finally:
        os.close(fd)
