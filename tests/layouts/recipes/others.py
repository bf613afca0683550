"""What is only listed and sized: Megatron, orbax, verl, and loose torch files.

orbax is real. Megatron and verl want GPUs: their names are built here as their sources write them (Megatron-core 0.16,
whose shards are those of torch.distributed.checkpoint; verl 0.9), with real shards and tensors. None is resumed.
Changed in what orbax wrote: its commit_success.txt name their directory by its whole path, here from the run on.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip


def weights(step: int) -> dict[str, Any]:
    """A model of two layers, other ones at each step."""
    import torch

    generator = torch.Generator().manual_seed(step)
    return {f"layers.{number}.weight": torch.randn(8, 8, generator=generator) for number in range(2)}


def optimizer(step: int) -> dict[str, Collection[object]]:
    return {"state": {0: {"exp_avg": weights(step)["layers.0.weight"], "step": step}}, "param_groups": [{"lr": 0.01}]}


def megatron(run: Path) -> None:
    """iter_0000002/: common.pt first, the shards, `.metadata`, metadata.json; then the trainer's tracker."""
    import torch
    from torch.distributed import checkpoint

    for step in (1, 2):
        folder = run / f"iter_{step:07}"
        folder.mkdir(parents=True)
        torch.save({"iteration": step, "args": {"world_size": 1}, "checkpoint_version": 3.0}, folder / "common.pt")
        checkpoint.save({"model": weights(step), "optimizer": optimizer(step)}, checkpoint_id=folder, no_dist=True)
        format_of = {"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch"}
        (folder / "metadata.json").write_text(json.dumps(format_of | {"common_backend_version": 1}))
        (run / "latest_checkpointed_iteration.txt").write_text(str(step))


def orbax(run: Path) -> None:
    """orbax's CheckpointManager: each step's directory appears by a rename."""
    import numpy
    import orbax.checkpoint

    options = orbax.checkpoint.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    with orbax.checkpoint.CheckpointManager(run.absolute(), options=options) as manager:
        for step in (1, 2):
            tree = {name: numpy.asarray(value) for name, value in weights(step).items()}
            manager.save(step, args=orbax.checkpoint.args.StandardSave(tree))
    for mark in run.rglob("commit_success.txt"):
        mark.write_text(mark.read_text().replace(f"{Path.cwd()}/", ""))


def verl(run: Path) -> None:
    """global_step_N/{actor,critic}/, a file per kind and rank; data.pt; then the tracker."""
    import torch

    for step in (1, 2):
        folder = run / f"global_step_{step}"
        for role in ("actor", "critic"):
            (folder / role / "huggingface").mkdir(parents=True)
            for rank in range(2):
                extra = {"rng": torch.get_rng_state()}
                for kind, value in {"model": weights(step), "optim": optimizer(step), "extra_state": extra}.items():
                    torch.save(value, folder / role / f"{kind}_world_size_2_rank_{rank}.pt")
            (folder / role / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 2}))
            (folder / role / "huggingface" / "config.json").write_text(json.dumps({"model_type": "llama"}))
        torch.save({"_num_yielded": step}, folder / "data.pt")
        (run / "latest_checkpointed_iteration.txt").write_text(str(step))


def loose_torch(run: Path) -> None:
    """Files that scripts save where they like, with names that their authors thought of."""
    import torch

    run.mkdir()
    for step, name in enumerate(("model_1000.pt", "model_2000.pt", "step_2000.pth", "epoch-3.ckpt", "best.pt"), 1):
        torch.save({"model": weights(step), "optimizer": optimizer(step), "step": step}, run / name)


WRITERS = {"megatron": megatron, "orbax": orbax, "verl": verl, "loose-torch": loose_torch}
LISTED = {"megatron": 1, "orbax": 1, "verl": 1, "loose-torch": 1}


def train(case: str, resume: str | None) -> dict[str, object]:
    if resume:
        sys.exit(f"{case}: nobody resumes these here")
    plain.seed()
    WRITERS[case](Path(case))
    return {"resumed_step": 0, "losses": []}


if __name__ == "__main__":
    plain.main(train, LISTED)
