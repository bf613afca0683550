"""What a level says of a damaged copy, and what that costs.

Run as a script it measures: each checkpoint named on stdin, a whole one first, is judged at each level in turn, in a
forked child of its own. One line of JSON each: {levels: [{seconds, state, codes}, ...], megabytes}. Seconds are the
processor's, since others work on this machine; levels that never came are not in the list.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from ckptkit.model.checkpoint import Level, Verdict
from ckptkit.ops.read import verify
from ckptkit.ops.verify import standing_still
from tests.corpus.damage import LEVELS
from tests.corpus.originals import LATER

PATIENCE = 3  # seconds of the processor, for what never returns


def judged(checkpoint: Path, level: Level) -> Verdict:
    """As `bin/verify RUN` would, when nobody has written there for an hour; checkpoint-100 is the run's last."""
    found = verify(str(checkpoint.parent), level=level, now=time.time() + LATER)
    return (standing_still(found) if level == "deep" else found)[-1].verdict


def codes(verdict: Verdict) -> list[str]:
    return [finding.code for finding in verdict.findings]


def measure(checkpoint: str) -> dict[str, Any]:
    """Judge in a child; `megabytes` is its peak, all that Python and ckptkit take included."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _tell(checkpoint, write)
    os.close(write)
    with os.fdopen(read) as told:
        lines = [json.loads(line) for line in told]
    return {"levels": lines, "megabytes": os.wait4(child, 0)[2].ru_maxrss / 1024}


def _tell(checkpoint: str, write: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    for level in LEVELS:
        began = time.process_time()
        verdict = judged(Path(checkpoint), level)
        said = {"seconds": time.process_time() - began, "state": verdict.state, "codes": codes(verdict)}
        os.write(write, json.dumps(said).encode() + b"\n")
    os._exit(0)


def main() -> None:
    """The first path is of a whole one: what the levels import is there before anybody forks."""
    for number, path in enumerate(map(str.rstrip, sys.stdin)):
        if number == 0:
            for level in LEVELS:
                judged(Path(path), level)
        print(json.dumps(measure(path)), flush=True)


if __name__ == "__main__":
    main()
