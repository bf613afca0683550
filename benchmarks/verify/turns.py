"""Commands in turns, each with the cache as it should be: seconds and peak memory of each start, from wait4(2)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DROP = "/proc/sys/vm/drop_caches"
Command = tuple[str, ...]


class Cost(NamedTuple):
    """One start: seconds from start to end and of the processor; the most memory that it had at once."""

    seconds: float
    cpu: float
    peak_bytes: int


def turns(commands: Mapping[str, Command], ready: Callable[[], None], rounds: int) -> dict[str, list[Cost]]:
    """Given commands, start each once a round, A B C A B C, so that a busy machine burdens all alike.

    ready: brings the cache into its state, before each start.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            ready()
            costs[name].append(cost(command))
    return costs


def cost(command: Command) -> Cost:
    """What one start takes, all that it starts included. Exits if it fails: that is not what it costs."""
    devices = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, environment(), file_actions=devices)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"benchmarks.verify: {' '.join(command)[:200]} ended with {os.waitstatus_to_exitcode(status)}")
    # Until its exec a child counts this process's memory as its own; this one is smaller than any that is measured.
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def environment() -> dict[str, str]:
    """The same Python for all, and its compiled modules kept, as they are on a box."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"CKPTKIT_PYTHON": sys.executable, "PYTHONPYCACHEPREFIX": os.environ["BENCHMARK_COMPILED"]}


def warm(files: Sequence[str]) -> Callable[[], None]:
    """Have the files in the page cache; verify gives back what it read."""
    return lambda: read(files)


def read(files: Sequence[str]) -> None:
    """From the disk, twice. verify gives back what it reads: else it alone would find pages that were long there."""
    for name in files:
        with open(name, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(2 if files else 0):
        subprocess.run(("cat", *files), stdout=subprocess.DEVNULL, check=True)


def cold(programs: Sequence[Command]) -> Callable[[], None]:
    """Have nothing in the cache but the programs themselves, each started once on something small."""

    def ready() -> None:
        os.sync()
        with open(DROP, "w") as file:
            file.write("3")
        for program in programs:
            cost(program)

    return ready


def may_drop() -> bool:
    """Whether this process can empty the page cache."""
    return os.access(DROP, os.W_OK) and os.geteuid() == 0
