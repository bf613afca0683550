"""What atheris runs in, apart: nothing of ckptkit may be loaded before it is instrumented.

python -m tests.fuzz.child reads a job a line from stdin, as JSON, and forks for each, so that all is loaded and
instrumented once; it answers with the exit code of each.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz import engines, harness


def fork(job: dict[str, Any]) -> int:
    """One target in a process of its own; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        into = os.open(job["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0), os.dup2(into, 1), os.dup2(into, 2)
        tempfile.tempdir = job["scratch"]
        harness.own_status()
        engines.fuzz(job["name"], Path(job["found"]), job["flags"])
    finally:
        os._exit(1)  # libFuzzer has ended it before


if __name__ == "__main__":
    engines.instrumented()
    for line in sys.stdin:
        print(fork(json.loads(line)), flush=True)
