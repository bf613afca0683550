"""Accelerate's `save_state` in a plain loop: its own naming, as `checkpoint-N`, and on two ranks.

It has no file for the step: the loop registers an object that holds it, as Accelerate's documentation advises.
Its own naming counts from 0 again after a restart: unless the loop sets `iteration`, as here, the next save is refused,
or with a `total_limit` takes the place of an old number and is newer than the number above it.
`accelerate-own` uses a stateful data loader (dl_state_dict.bin). No sampler.bin: 1.15 writes none for any data.
"""

import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"accelerate-own": 1, "accelerate-step": 1, "accelerate-2ranks": 2}


class Progress:
    """What the loop must know again: how many steps are done."""

    step = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: Any) -> None:
        self.step = state["step"]


def accelerator(case: str) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration

    naming = case != "accelerate-step"
    project = ProjectConfiguration(project_dir=case, automatic_checkpoint_naming=naming, total_limit=2)
    stateful = case == "accelerate-own"
    loader = DataLoaderConfiguration(use_stateful_dataloader=stateful, use_seedable_sampler=True, data_seed=1)
    return Accelerator(cpu=True, project_config=project, dataloader_config=loader)


def prepare(accelerate: Any, progress: Progress) -> Any:
    """The model and what trains it, made known to Accelerate."""
    import torch
    from torch.utils.data import DataLoader

    model = plain.tiny_llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    rows = plain.tokens(16 * accelerate.num_processes)
    # A generator of its own: what the loader draws for its workers would change the dropout after a resume.
    data = DataLoader(rows, batch_size=plain.BATCH, shuffle=True, generator=torch.Generator())
    accelerate.register_for_checkpointing(progress)
    return accelerate.prepare(model, optimizer, scheduler, data)


def load(accelerate: Any, case: str, resume: str | None) -> None:
    """Resume as people do: `load_state()` with Accelerate's naming, the highest number with their own."""
    if resume == "auto" and case == "accelerate-step":
        names = [path for path in Path(case).iterdir() if path.name.startswith("checkpoint")]
        resume = str(max(names, key=lambda path: int(path.name.split("-")[1])))
    accelerate.load_state(None if resume == "auto" else resume)
    if case != "accelerate-step":
        numbers = [int(path.name.split("_")[1]) for path in Path(case, "checkpoints").iterdir()]
        accelerate.project_configuration.iteration = max(numbers) + 1


def rest_of_epoch(accelerate: Any, data: Any, steps_done: int) -> Any:
    """The batches that are left: a stateful loader knows them, another one must be told."""
    return data if data.use_stateful_dataloader else accelerate.skip_first_batches(data, steps_done)


def train(case: str, resume: str | None) -> dict[str, object]:
    plain.seed()
    accelerate, progress, losses = accelerator(case), Progress(), []
    model, optimizer, scheduler, data = prepare(accelerate, progress)
    if resume:
        load(accelerate, case, resume)
    resumed = progress.step
    for batch in rest_of_epoch(accelerate, data, resumed):
        loss = model(input_ids=batch, labels=batch).loss
        accelerate.backward(loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress.step += 1
        if progress.step % plain.SAVE_EVERY == 0:
            accelerate.save_state(f"{case}/checkpoint-{progress.step}" if case == "accelerate-step" else None)
        if progress.step == plain.STEPS:
            break
    accelerate.end_training()
    return {"resumed_step": resumed, "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
