"""Another process that claims a run as a guarded training does, without the seconds that a Trainer takes to import."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.runs import CHECKOUT

SINCE = 1_795_743_972.7
WORDS = "since 2026-11-27 01:46 UTC"
CODE = """
import os, sys
from contextlib import ExitStack
from ckptkit.system import lock
run, now, held = sys.argv[1:]
fd = os.open(run, os.O_RDONLY)
lock.claim(fd, run, float(now))
with ExitStack() as stack:
    if held == "held":
        stack.enter_context(lock.hold(run))
    print("claimed", flush=True)
    sys.stdin.read()
"""


@contextmanager
def claiming(run: str, held: bool = False, before: tuple[str, ...] = ()) -> Iterator[int]:
    """Yield the process that claims the run until the end. held: it holds the lock too, as during a save.

    before: what starts it, such as unshare.
    """
    words = [*before, sys.executable, "-c", CODE, str(run), str(SINCE), "held" if held else ""]
    with subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "claimed\n"
            yield process.pid
        finally:
            process.kill()
