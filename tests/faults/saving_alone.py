"""Run as a script: one training of save_trials.py under the guard, in a process of its own.

python -m tests.faults.saving_alone RUN BACK KIND BEGIN

Between its first two saves it does what BEGIN says: "nothing"; "wait" says "begin" on stdout, goes on with the next
line on stdin, and its guard's own bounds are short; "no-threads" is at the limit of its processes from then on.
The last lines on stdout: how it ended, as JSON, and "exits" once no thread of Python's holds the exit up.
"""

import atexit
import json
import os
import resource
import sys
import threading
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

from tests.faults.hanging_saves import shorten_bounds
from tests.faults.save_trials import train

if TYPE_CHECKING:
    from collections.abc import Callable


def no_threads() -> None:
    """From now on the kernel refuses each thread; here, where it does not, the trial ends."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return
    os._exit(3)


def wait(out: TextIO) -> None:
    """Until somebody who stands by has made the disk what it shall be."""
    print("begin", file=out, flush=True)
    sys.stdin.readline()


def main(run: str, back: str, kind: str, begin: str) -> None:
    out = sys.stdout
    actions: dict[str, Callable[[], Any]] = {"nothing": int, "wait": lambda: wait(out), "no-threads": no_threads}
    atexit.register(lambda: print("exits", file=out, flush=True))
    if begin == "wait":
        shorten_bounds()
    with redirect_stdout(sys.stderr):
        ended = train(run, back, kind, actions[begin], hangs=begin == "wait")
    print(json.dumps(ended), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
