"""What test_guard_ranks.py runs under torchrun: each scene on both ranks, then one JSON line a rank with what it saw.

torchrun --nproc-per-node 2 two_ranks.py MOUNT...     one small tmpfs a scene
"""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tiny
import torch.distributed as dist
from ballast import fill

import ckptkit
from ckptkit.ops.read import judge, scan

RANK = int(os.environ["RANK"])
FREE = resource.getrlimit(resource.RLIMIT_FSIZE)


class Limited(tiny.Trainer):
    """One rank may write no file larger than `limit` in the attempts `barred`: the kernel itself says EFBIG."""

    rank, limit, barred, attempts = 1, 1000, range(0), 0

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        type(self).attempts += 1
        here = self.rank == RANK and self.attempts in self.barred
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit if here else FREE[0], FREE[1]))
        try:
            super()._save_checkpoint(*args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, FREE)


def limited(**how: Any) -> type[Limited]:
    return type("Limited", (Limited,), {"attempts": 0, **how})


def on_rank_0(action: Callable[[], None]) -> Callable[[], None]:
    """Done by one rank; the other waits until it is."""

    def both() -> None:
        if RANK == 0:
            action()
        dist.barrier()

    return both


def train(mount: str, guarded: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, Any, str]:
    run = os.path.join(mount, "run")
    trainer = tiny.trainer(run, ddp_timeout=60, ddp_find_unused_parameters=False, **settings)
    guard = ckptkit.guard(trainer, 2, **(guarded or {}))
    trainer.train()
    return trainer, guard, run


def seen(trainer: Any, guard: Any, run: str) -> dict[str, Any]:
    guard.wait()
    dist.barrier()
    states = [(j.checkpoint.step, j.verdict.state, j.verdict.resumable) for j in judge(scan(run))]
    return {"step": trainer.state.global_step, "states": states, "names": sorted(os.listdir(run))}


def undisturbed(mount: str) -> dict[str, Any]:
    trainer, guard, run = train(mount)
    return {**seen(trainer, guard, run), "model": guard.save_model(os.path.join(run, "new", "final"))}


def full_in_the_middle(mount: str) -> dict[str, Any]:
    def crowd() -> None:
        shutil.rmtree(os.path.join(mount, "run", "checkpoint-10"))  # what it gave back would do for step 30
        fill(mount, 600_000)

    callbacks = [tiny.At(25, on_rank_0(crowd))]
    trainer, guard, run = train(mount, callbacks=callbacks)
    return {**seen(trainer, guard, run), "model": guard.save_model(os.path.join(run, "final"))}


def stop(mount: str) -> dict[str, Any]:
    callbacks = [tiny.At(15, on_rank_0(lambda: fill(mount, 0)))]
    return seen(*train(mount, {"on_full": "stop"}, callbacks=callbacks))


def weights_only(mount: str) -> dict[str, Any]:
    callbacks = [tiny.At(15, on_rank_0(lambda: fill(mount, 700_000)))]
    return seen(*train(mount, {"on_full": "weights-only"}, callbacks=callbacks, max_steps=20))


def one_rank_fails_once(mount: str) -> dict[str, Any]:
    return seen(*train(mount, kind=limited(barred=range(2, 3))))


def one_rank_always_fails(mount: str) -> dict[str, Any]:
    return seen(*train(mount, kind=limited(barred=range(2, 99))))


BEST: dict[str, Any] = dict(
    eval_strategy="steps", eval_steps=10, metric_for_best_model="loss"
)  # a barrier after the weights


def weights_fail_before_a_barrier(mount: str) -> dict[str, Any]:
    """Rank 0 can't write the weights, and rank 1 waits behind them."""
    return seen(*train(mount, kind=limited(rank=0, limit=100_000, barred=range(2, 3)), **BEST))


def no_inode_for_the_directory(mount: str) -> dict[str, Any]:
    """Rank 0 can't even make the checkpoint's directory: what follows fails otherwise than by a full disk's words."""

    def use_up() -> None:
        number = 0
        while os.statvfs(mount).f_ffree:
            open(os.path.join(mount, f"inode{number}"), "w").close()
            number += 1

    callbacks = [tiny.At(15, on_rank_0(use_up))]
    return seen(*train(mount, callbacks=callbacks, max_steps=20, **BEST))


def own_save_model(mount: str) -> dict[str, Any]:
    """A person's own save_model on this one trainer, as some libraries set it."""
    trainer = tiny.trainer(os.path.join(mount, "run"), ddp_timeout=60, ddp_find_unused_parameters=False)
    original, calls = trainer.save_model, []

    def own(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        original(*args, **kwargs)

    trainer.save_model = own
    guard = ckptkit.guard(trainer, 2)
    trainer.train()
    return {**seen(trainer, guard, os.path.join(mount, "run")), "calls": len(calls), "own": trainer.save_model is own}


def nothing_to_resume(mount: str) -> dict[str, Any]:
    if RANK == 0:
        os.makedirs(os.path.join(mount, "run/checkpoint-10"))  # torn before its first file
    dist.barrier()
    trainer = tiny.trainer(os.path.join(mount, "run"), ddp_timeout=60)
    ckptkit.guard(trainer, 2)
    try:
        trainer.train(resume_from_checkpoint=True)
    except ckptkit.CkptkitError as error:
        return {"error": type(error).__name__}
    return {}


class Resumable(tiny.Trainer):
    """torch can't load an optimizer onto the "cpu:0" that the Trainer asks for with ranks on CPUs, guarded or not."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        assert checkpoint is None or os.path.isfile(os.path.join(checkpoint, "optimizer.pt"))


def resumed(mount: str) -> dict[str, Any]:
    train(mount, max_steps=20)
    dist.barrier()
    trainer = tiny.trainer(os.path.join(mount, "run"), ddp_timeout=60, max_steps=40, kind=Resumable)
    guard = ckptkit.guard(trainer, 2)
    first: list[int] = []
    trainer.add_callback(tiny.At(21, lambda: first.append(trainer.state.global_step)))
    trainer.train(resume_from_checkpoint=True)
    return {**seen(trainer, guard, os.path.join(mount, "run")), "first": first}


SCENES = [
    undisturbed,
    full_in_the_middle,
    stop,
    weights_only,
    one_rank_fails_once,
    one_rank_always_fails,
    weights_fail_before_a_barrier,
    no_inode_for_the_directory,
    own_save_model,
    nothing_to_resume,
    resumed,
]

if __name__ == "__main__":
    for scene, mount in zip(SCENES, sys.argv[1:], strict=True):
        line = json.dumps({"scene": scene.__name__, "rank": RANK, **scene(mount)})
        os.write(1, f"\n{line}\n".encode())  # one write: the ranks share this pipe
    dist.destroy_process_group()  # one that is gone already makes gloo abort the other
    os._exit(0)  # in the interpreter's own end torch's threads abort a rank now and then
