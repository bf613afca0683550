"""What test_guard_nodes.py runs on two "nodes" of two ranks each: one launcher a node, in a mount namespace of its own.

torchrun --nnodes 2 --node-rank N --nproc-per-node 2 two_nodes.py TOP     TOP/SCENE is that scene's disk, or disks
"""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tiny
import torch.distributed as dist
from ballast import fill
from launching import tell
from watch import Watch

import ckptkit
from ckptkit.ops.read import judge, scan

RANK, LOCAL, NODE = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"))
EACH: dict[str, Any] = dict(save_on_each_node=True)


def train(mount: str, guarded: bool = True, limit: int = 2, **settings: Any) -> dict[str, Any]:
    """Train, and tell what this rank sees on its own disk at the end."""
    run = os.path.join(mount, "run")
    os.makedirs(run, exist_ok=True)
    if dist.is_initialized():  # by the scene before
        dist.barrier()
    seen = Watch(run)
    trainer = tiny.trainer(run, ddp_timeout=60, ddp_find_unused_parameters=False, save_total_limit=limit, **settings)
    guard = ckptkit.guard(trainer) if guarded else None
    trainer.train()
    dist.barrier()
    facts = {"step": trainer.state.global_step, "peak": seen.peak, "names": sorted(os.listdir(run)), "node": NODE}
    if guard:
        states = {j.checkpoint.name: j.verdict.resumable for j in judge(scan(run), quiet=0)}
        facts |= {"skipped": guard.skipped, "resumable": states, "leads": guard.leads, "rotates": guard.room.rotates}
    facts["ranks"] = sorted(name for name in os.listdir(newest(run)) if name.startswith("rng_state"))
    seen.close()
    return facts


def newest(run: str) -> str:
    return os.path.join(run, max(os.listdir(run), key=lambda name: (len(name), name)))


def on_node_1(action: Callable[[], None]) -> Callable[[], None]:
    """Done by its first rank; all others wait until it is."""

    def all_ranks() -> None:
        if (NODE, LOCAL) == (1, 0):
            action()
        dist.barrier()

    return all_ranks


class FullInTheMiddle(tiny.Trainer):
    """Node 1's disk is full once its weights are written, in the first attempt at step 30, and not in the second.

    The room is given back before the second attempt writes its weights: the node's second rank writes as soon as they
    are there, and given back after them, that rank would find the disk still full now and then.
    """

    tries = 0

    @property
    def _disk(self) -> str:
        return os.path.dirname(str(self.args.output_dir))

    def _fills(self) -> bool:
        return self.state.global_step == 30 and (NODE, LOCAL) == (1, 0)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        if self._fills() and self.tries:
            os.unlink(os.path.join(self._disk, "ballast"))
        super().save_model(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._fills():
            self.tries += 1
            if self.tries == 1:
                fill(self._disk, 0)
        super()._save_optimizer_and_scheduler(output_dir)


def each_plain(mount: str) -> dict[str, Any]:
    return train(mount, guarded=False, **EACH)


def each(mount: str) -> dict[str, Any]:
    return train(mount, **EACH)


def each_neighbour(mount: str) -> dict[str, Any]:
    """Node 1's disk is full before step 20, and not any more before step 40."""
    ballast = os.path.join(mount, "ballast")
    crowd = tiny.At(15, on_node_1(lambda: fill(mount, 100_000)))
    free = tiny.At(35, on_node_1(lambda: os.unlink(ballast)))
    return train(mount, callbacks=[crowd, free], **EACH)


def each_refused(mount: str) -> dict[str, Any]:
    """Before step 30 node 1's disk has no room that could be made; before step 40 it has."""
    run, seen = os.path.join(mount, "run"), []

    def crowd() -> None:
        shutil.rmtree(os.path.join(run, "checkpoint-10"))
        fill(mount, 100_000)

    def look() -> None:
        seen.extend(sorted(os.listdir(run)))
        on_node_1(lambda: os.unlink(os.path.join(mount, "ballast")))()

    callbacks = [tiny.At(25, on_node_1(crowd)), tiny.At(35, look)]
    return {**train(mount, callbacks=callbacks, **EACH), "meanwhile": seen}


def each_in_the_middle(mount: str) -> dict[str, Any]:
    return train(mount, kind=FullInTheMiddle, **EACH)


def each_shared_plain(mount: str) -> dict[str, Any]:
    return train(mount, guarded=False, **EACH)


def each_shared(mount: str) -> dict[str, Any]:
    """A mistake: both nodes write the same files."""
    return train(mount, **EACH)


def shared_plain(mount: str) -> dict[str, Any]:
    return train(mount, guarded=False)


def shared(mount: str) -> dict[str, Any]:
    return train(mount)


def apart_plain(mount: str) -> dict[str, Any]:
    """A mistake: rank 0 writes all but the other ranks' random states, which lie on node 1's disk."""
    return train(mount, guarded=False, max_steps=60)


def apart(mount: str) -> dict[str, Any]:
    return train(mount, max_steps=60)


def each_resumed(mount: str) -> dict[str, Any]:
    """On node 1 the newest one was torn, so both go on from the one before."""
    run = os.path.join(mount, "run")
    train(mount, max_steps=20, **EACH)
    on_node_1(lambda: os.unlink(os.path.join(run, "checkpoint-20", "trainer_state.json")))()
    trainer = tiny.trainer(run, ddp_timeout=60, kind=Resumable, max_steps=40, save_total_limit=2, **EACH)
    ckptkit.guard(trainer)
    first: list[int] = []
    trainer.add_callback(tiny.At(11, lambda: first.append(trainer.state.global_step)))
    trainer.train(resume_from_checkpoint=True)
    dist.barrier()
    return {"first": first, "names": sorted(os.listdir(run))}


class Resumable(tiny.Trainer):
    """torch can't load an optimizer onto the "cpu:0" that the Trainer asks for with ranks on CPUs, guarded or not."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        assert checkpoint is None or os.path.isfile(os.path.join(checkpoint, "optimizer.pt"))


def each_search(mount: str) -> dict[str, Any]:
    """Three trials, of which the second is the best: rank 0 alone has the study that knows it."""
    run = os.path.join(mount, "run")
    settings: dict[str, Any] = dict(
        max_steps=10, eval_strategy="steps", eval_steps=10, ddp_find_unused_parameters=False
    )
    trainer = tiny.trainer(run, ddp_timeout=60, **settings, **EACH)
    trainer.model_init = lambda trial=None: tiny.model()
    trials: list[int] = []

    def space(trial: Any) -> dict[str, Any]:
        trials.append(trial.number)
        return {"seed": trial.suggest_int("seed", 1, 9)}

    ckptkit.guard(trainer, 1, keep_trials="best")
    trainer.hyperparameter_search(space, lambda metrics: (3.0, 1.0, 2.0)[trials[-1]], n_trials=3, backend="optuna")
    dist.barrier()
    return {"left": {name: os.listdir(os.path.join(run, name)) for name in sorted(os.listdir(run))}}


# Whether both nodes see one disk.
SCENES = {
    each_plain: False,
    each: False,
    each_neighbour: False,
    each_refused: False,
    each_in_the_middle: False,
    each_resumed: False,
    each_search: False,
    shared_plain: True,
    shared: True,
    each_shared_plain: True,
    each_shared: True,
    apart_plain: False,
    apart: False,
}

if __name__ == "__main__":
    for scene in SCENES:
        tell(scene.__name__, RANK, scene(os.path.join(sys.argv[1], scene.__name__)))
        dist.barrier()
    dist.destroy_process_group()
    os._exit(0)
