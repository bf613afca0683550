"""A command as cron calls it on a full box: nothing in its environment, and all that it may write to on that volume."""

import subprocess
from pathlib import Path
from typing import Any, TextIO


def bare(
    volume: str | Path, *words: str | Path, out: TextIO | None = None, **environment: Any
) -> subprocess.CompletedProcess[str]:
    """HOME, TMPDIR and so the state are on the full volume; `out` takes both of its outputs, else they are returned."""
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": volume, "TMPDIR": volume} | environment
    options = {"stdout": out, "stderr": subprocess.STDOUT} if out else {"capture_output": True}
    return subprocess.run([*map(str, words)], env=environment, text=True, check=False, **options)
