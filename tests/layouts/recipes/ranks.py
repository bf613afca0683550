"""The command line of a recipe with ranks, and the ranks: what torchrun does, without an import per rank.

RECIPE CASE DIR [--resume CHECKPOINT|auto]   writes DIR/CASE; the last line is {"resumed_step": N, "losses": [...]}
RECIPE --cases                               lists them

The ranks are forked from a process that has everything imported: a run takes two seconds instead of fifteen. A rank
that dies takes the others along, as torchrun's agent sees to it, so that nobody waits for it in a collective.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Train = Callable[[str, "str | None"], Mapping[str, Any]]


class Job(NamedTuple):
    """One training: of a case, in a directory, fresh or from a checkpoint ("auto": the framework picks it).

    log      takes what the ranks print
    timeout  in seconds: a collective that waits for a rank that raised never ends by itself
    """

    case: str
    folder: str
    resume: str | None = None
    log: str | None = None
    timeout: float = 600.0


def main(train: Train, cases: Mapping[str, Any], ranks: int = 2) -> int:
    """Run what the command line says; returns the exit code, which is not 0 if the framework refused."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", choices=cases)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--resume")
    parser.add_argument("--cases", action="store_true")
    given = parser.parse_args()
    if given.cases:
        print(*cases)
        return 0
    if given.folder is None:
        parser.error("CASE and DIR are needed")
    return run(train, Job(given.case, given.folder, given.resume), ranks)


def run(train: Train, job: Job, ranks: int) -> int:
    """Fork the ranks and wait for them; returns 0 only if all of them did, else what the first to fail did."""
    port = _free_port()
    processes = [_fork(train, job, rank, ranks, port) for rank in range(ranks)]
    alive, code, end = set(processes), 0, time.monotonic() + job.timeout
    while alive:
        process, status = os.waitpid(-processes[0], os.WNOHANG | os.WUNTRACED)
        if process and os.WIFSTOPPED(status):
            time.sleep(1)  # a test holds it: the others go on as far as they can without it, then all of them die
            code = code or signal.SIGKILL
        elif process:
            alive.discard(process)
            code = code or abs(os.waitstatus_to_exitcode(status))
        elif time.monotonic() > end:
            code = code or 124
        if alive and code:
            os.killpg(processes[0], signal.SIGKILL)
        time.sleep(0 if process else 0.002)
    return int(code)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_leader = 0


def _fork(train: Train, job: Job, rank: int, ranks: int, port: int) -> int:
    global _leader
    sys.stdout.flush()
    process = os.fork()
    if not process:
        os.setpgid(0, 0 if rank == 0 else _leader)
        _be_rank(train, job, rank, ranks, port)
    if rank == 0:
        _leader = process
    os.setpgid(process, _leader)
    return process


def _be_rank(train: Train, job: Job, rank: int, ranks: int, port: int) -> None:
    """Never returns."""
    code = 1
    try:
        if job.log:
            log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
        if ranks > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
            os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        os.chdir(job.folder)
        result = train(job.case, job.resume)
        _leave_together()
        if rank == 0:
            print("\n" + json.dumps(result), flush=True)
        code = 0
    except BaseException:  # noqa: BLE001 (printed; a forked rank must not go on as its parent)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_together() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
