"""`python -m benchmarks.startup`: what a sweep that finds nothing to do costs, as a multiple of a bare Python.

Real checkpoints, two of them, and `bin/prune` as cron starts it; the CPU time (user and system) of each process from
wait4(2), bash included. Rounds take turns, so that a busy machine burdens all commands alike. Exits 1 if the target is
missed.

The ratio is of the means. Where the kernel samples (CONFIG_TICK_CPU_ACCOUNTING), it splits a short process's time
between user and system by what it did at the 4 ms ticks: a single figure is a draw, the median of draws is biased,
their mean is not. The median stands beside it; so does user plus system time, which is exact.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = 6.0  # bin/prune on an idle run, in CPU time (user + system) of `python3 -c pass`
Costs = Sequence[tuple[float, float]]  # (user, system) seconds, one a start
TRAINING = ("20", "10", "baseline", "none")  # steps, a save every, no guard, nothing breaks


def main() -> int:
    """Exit 0 if the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="how often each command is started (default 200)")
    parser.add_argument("--json", action="store_true", help="one document on stdout: a list of rows, times in seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        train(run, os.path.join(folder, "report.json"))
        rows = measured(commands(run), environment(folder), options.rounds)
    print(json.dumps(rows) if options.json else table(rows))
    return 0 if rows[1]["ratio_of_cpu"] <= TARGET else 1


def train(run: str, report: str) -> None:
    """A run of two real checkpoints, from the replay's Trainer."""
    command = (sys.executable, "-m", "benchmarks.replay.training", run, *TRAINING, report)
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    if len(os.listdir(run)) != 2:
        sys.exit(f"startup: {run} should have two checkpoints: {os.listdir(run)}")


def commands(run: str) -> dict[str, tuple[str, ...]]:
    """What is measured: first what all are measured by, then what the target is for."""
    prune = os.path.join(CHECKOUT, "bin", "prune")
    return {
        "python3 -c pass": (sys.executable, "-c", "pass"),
        "bin/prune RUN": (prune, run),
        "bin/prune RUN -q": (prune, run, "-q"),
        "bin/prune --help": (prune, "--help"),
    }


def environment(folder: str) -> dict[str, str]:
    """As cron gives it, with the same Python for all; its compiled modules lie in the folder, as they lie on a box."""
    own = {"CKPTKIT_PYTHON": sys.executable, "PYTHONPYCACHEPREFIX": os.path.join(folder, "compiled")}
    return {"PATH": os.environ["PATH"], "HOME": folder} | own


def measured(measure: dict[str, tuple[str, ...]], env: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """One row a command: its seconds, and the ratios to the first one's."""
    for command in measure.values():
        cost(command, env)  # compiles, and warms the page cache
    turns = [[cost(command, env) for command in measure.values()] for _ in range(rounds)]
    costs = list(zip(*turns, strict=True))
    return [row(name, own, costs[0]) for name, own in zip(measure, costs, strict=True)]


def row(name: str, own: Costs, bare: Costs) -> dict[str, Any]:
    """Given all starts of a command and of the bare Python, return what they took."""
    user, cpu = [u for u, _ in own], [u + s for u, s in own]
    bare_user, bare_cpu = [u for u, _ in bare], [u + s for u, s in bare]
    return {
        "command": name,
        "rounds": len(own),
        "user_seconds": statistics.mean(user),
        "ratio": statistics.mean(user) / statistics.mean(bare_user),
        "ratio_of_medians": statistics.median(user) / statistics.median(bare_user),
        "ratio_of_cpu": statistics.mean(cpu) / statistics.mean(bare_cpu),
    }


def cost(command: tuple[str, ...], env: dict[str, str]) -> tuple[float, float]:
    """(user, system) seconds of one start and all that it starts. Exits if it fails: that is not what it costs."""
    devices = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    pid = os.posix_spawn(command[0], command, env, file_actions=devices)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"startup: {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime, usage.ru_stime


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a person reads them."""
    head = f"{'command':<18}{'user ms':>8}{'ratio':>8}{'of medians':>12}{'of user + system':>18}"
    lines = [
        f"{r['command']:<18}{r['user_seconds'] * 1e3:>8.1f}{r['ratio']:>7.2f}x"
        f"{r['ratio_of_medians']:>11.2f}x{r['ratio_of_cpu']:>17.2f}x"
        for r in rows
    ]
    return "\n".join([head, *lines, f"target: {TARGET:.0f}x the CPU time; {rows[0]['rounds']} starts of each"])


if __name__ == "__main__":
    sys.exit(main())
