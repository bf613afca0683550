"""What test_guard_saving_ranks.py runs on two ranks: a loop with torch.distributed.checkpoint, a disk a scene.

torchrun --nproc-per-node 2 saving_ranks.py MOUNT...     one small tmpfs a scene
"""

import os
import resource
import sys
import warnings
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
warnings.filterwarnings("ignore")

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from launching import tell
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import ckptkit
from ckptkit.ops.read import judge, scan

RANK = int(os.environ["RANK"])
FREE = resource.getrlimit(resource.RLIMIT_FSIZE)
VALUES = 100_000  # of a checkpoint, half of it on each rank


def write(path: str) -> None:
    values = distribute_tensor(torch.ones(VALUES), MESH, [Shard(0)])
    dcp.save({"model": {"weight": values}, "optimizer": {"state": values}}, checkpoint_id=path)


def refused(path: str) -> None:
    """On rank 1."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000 if RANK == 1 else FREE[0], FREE[1]))
    try:
        write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, FREE)


def train(guard: Any, *saves: Any) -> None:
    for step, save in enumerate(saves, 1):
        with guard.saving(step) as path:
            save(path)


def to_the_end(guard: Any) -> dict[str, Any]:
    train(guard, *[write] * 6)
    return {}


def refused_on_one(guard: Any) -> dict[str, Any]:
    train(guard, write, refused, write)
    return {}


def refused_once(guard: Any) -> dict[str, Any]:
    tries = iter([write, refused, write])
    return {"saved": [guard.save(step, lambda path: next(tries)(path)) for step in (1, 2)]}


def refused_twice(guard: Any) -> dict[str, Any]:
    tries = iter([write, refused, refused])
    return {"saved": [guard.save(step, lambda path: next(tries)(path)) for step in (1, 2)]}


def error_on_one(guard: Any) -> dict[str, Any]:
    def breaks(path: str) -> None:
        if RANK == 1:
            raise KeyError("of the program")

    train(guard, write)
    try:
        guard.save(2, breaks)
    except (KeyError, RuntimeError) as error:
        return {"error": "of the program" in str(error)}
    return {}


def alone(guard: Any) -> dict[str, Any]:
    """Rank 0 alone comes to it."""
    if RANK == 0:
        for step in (1, 2, 3):
            with guard.saving(step, alone=True) as path:
                dcp.save({"model": torch.ones(9), "optimizer": torch.ones(9)}, checkpoint_id=path, no_dist=True)
    dist.barrier()
    return {}


def latest(guard: Any) -> dict[str, Any]:
    train(guard, write, write)
    return {"latest": os.path.basename(guard.latest())}


SCENES = [
    to_the_end,
    refused_on_one,
    refused_once,
    refused_twice,
    error_on_one,
    alone,
    latest,
]

if __name__ == "__main__":
    dist.init_process_group("gloo")
    MESH = init_device_mesh("cpu", (2,))
    for scene, mount in zip(SCENES, sys.argv[1:], strict=True):
        run = os.path.join(mount, "run")
        with ckptkit.guard(run, keep_last=2) as guard:
            seen = scene(guard)
        dist.barrier()
        states = {str(j.checkpoint.step): j.verdict.state for j in judge(scan(run), quiet=0)}
        tell(scene.__name__, RANK, {"states": states, "skipped": guard.skipped, **seen})
        dist.barrier()
    dist.destroy_process_group()
    os._exit(0)
