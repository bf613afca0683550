"""`python -m benchmarks.diskreport`: how long diskreport walks a tree, as a multiple of `du -sx` on it.

A million files in a thousand directories, a tenth of them with a block; both walks and `du` in turns, so that a busy
machine burdens all alike. The ratio is of the medians. Exits 1 if the target is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ckptkit.system import usage

TARGET = 1.2  # diskreport's walk, in wall time of `du -sx`
PER_DIRECTORY = 1000
WITH_A_BLOCK = 10  # every tenth file
DEPTH, SMALLEST_BYTES = 3, 1 << 20


def main() -> int:
    """Exit 0 if the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="how many the tree has (default 1000000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each walks it (default 5)")
    parser.add_argument("--at", default=None, help="make the tree below this directory (default: the temporary one)")
    parser.add_argument("--json", action="store_true", help="one document on stdout: a list of rows, times in seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.at) as folder:
        grow(folder, options.files)
        rows = measured(walks(folder), options.rounds)
    print(json.dumps(rows) if options.json else table(rows, options))
    return 0 if rows[1]["ratio"] <= TARGET else 1


def grow(folder: str, files: int) -> None:
    """Make the tree."""
    for number in range(0, files, PER_DIRECTORY):
        inside = os.path.join(folder, f"group-{number // PER_DIRECTORY // 100}", f"directory-{number}")
        os.makedirs(inside)
        fd = os.open(inside, os.O_RDONLY)
        for index in range(min(PER_DIRECTORY, files - number)):
            file = os.open(f"file-{index}", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
            if index % WITH_A_BLOCK == 0:
                os.write(file, b"\1")
            os.close(file)
        os.close(fd)


def walks(folder: str) -> dict[str, Callable[[], Any]]:
    """What is measured: first what all are measured by, then what the target is for."""
    du = ("du", "-sx", folder)
    return {
        "du -sx": lambda: subprocess.run(du, check=True, stdout=subprocess.DEVNULL),
        "diskreport": lambda: usage.eaters(folder, DEPTH),
        "without GNU du": lambda: usage.walk(folder, DEPTH, SMALLEST_BYTES),
    }


def measured(measure: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, Any]]:
    """One row a walk: its seconds, and the ratio to the first one's."""
    turns = [[seconds(walk) for walk in measure.values()] for _ in range(rounds + 1)][1:]  # the first one warms up
    times = [statistics.median(own) for own in zip(*turns, strict=True)]
    return [{"walk": n, "seconds": t, "ratio": t / times[0]} for n, t in zip(measure, times, strict=True)]


def seconds(walk: Callable[[], Any]) -> float:
    """Wall time of one walk."""
    began = time.monotonic()
    walk()
    return time.monotonic() - began


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The rows as a person reads them."""
    lines = [f"{row['walk']:<16}{row['seconds']:>8.2f} s{row['ratio']:>7.2f}x" for row in rows]
    return "\n".join([*lines, f"target: {TARGET}x; {options.files} files, {options.rounds} rounds"])


if __name__ == "__main__":
    sys.exit(main())
