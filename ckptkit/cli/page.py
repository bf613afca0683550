"""The file that `--html` asks for: there whole or not at all."""

import os
from contextlib import suppress


def write(path: str, content: str) -> None:
    """Given a path and text, put it there under a temporary name and rename. Raises OSError; a page there stays."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
