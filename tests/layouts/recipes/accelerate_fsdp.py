"""Accelerate's `save_state` in a plain loop on two ranks, under its own naming: with FSDP2, and with ZeRO-2.

Accelerate keeps no step: the loop registers an object that holds it, as its documentation advises.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its files are named like libraries
os.environ |= {"DS_ACCELERATOR": "cpu", "DS_BUILD_OPS": "0"}

from tests.layouts.recipes import fsdp, ranks, tiny  # isort: skip
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin, ProjectConfiguration, set_seed

CASES = {"accelerate-fsdp2": "fsdp", "accelerate-deepspeed": "deepspeed"}


class Progress:
    """How many steps are done."""

    step = 0

    def state_dict(self) -> dict[str, int]:
        """What is saved."""
        return {"step": self.step}

    def load_state_dict(self, state: Any) -> None:
        """What is loaded."""
        self.step = state["step"]


def accelerator(name: str) -> Any:
    """With the plugin of the case."""
    project = ProjectConfiguration(project_dir=name, automatic_checkpoint_naming=True)
    if CASES[name] == "fsdp":
        fsdp.shim()
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
            state_dict_type="SHARDED_STATE_DICT",
        )
        return Accelerator(cpu=True, project_config=project, fsdp_plugin=plugin)
    PartialState(cpu=True)  # as the Trainer begins; without a GPU each rank would think that it is alone
    config = {
        "train_micro_batch_size_per_gpu": 2,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
    }
    return Accelerator(project_config=project, deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config))


def prepare(accelerate: Any) -> Any:
    """The model and what trains it, made known to Accelerate."""
    model = tiny.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    # A generator of its own: what the loader draws for its workers would change the dropout after a resume.
    loader = torch.utils.data.DataLoader(tiny.data(), batch_size=2, generator=torch.Generator())
    return accelerate.prepare(model, optimizer, scheduler, loader)


def load(accelerate: Any, name: str, resume: str | None) -> None:
    """Resume, and count on: by itself Accelerate numbers from 0 again, and then refuses the name that is there."""
    accelerate.load_state(None if resume == "auto" else resume)
    numbers = [int(path.name.split("_")[1]) for path in Path(name, "checkpoints").iterdir()]
    accelerate.project_configuration.iteration = max(numbers) + 1


def train(name: str, resume: str | None) -> dict[str, object]:
    """One rank's training."""
    set_seed(1)
    accelerate, progress, losses = accelerator(name), Progress(), []
    assert accelerate.distributed_type == CASES[name].upper(), f"this was {accelerate.distributed_type}"
    assert accelerate.num_processes == 2, "a rank was alone"
    model, optimizer, scheduler, loader = prepare(accelerate)
    accelerate.register_for_checkpointing(progress)
    set_seed(1)
    if resume:
        load(accelerate, name, resume)
    resumed = progress.step
    for batch in accelerate.skip_first_batches(loader, resumed):
        loss = model(**batch).loss
        accelerate.backward(loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress.step += 1
        if progress.step == tiny.STEPS:
            break
        if progress.step % tiny.SAVE_EVERY == 0:
            accelerate.save_state()
    return {"resumed_step": resumed, "losses": losses}


if __name__ == "__main__":
    sys.exit(ranks.main(train, CASES))
