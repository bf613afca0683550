"""Plain torch.distributed.checkpoint in a loop: `step-N/` from two ranks with FSDP2, and from one process.

It writes no step: the state holds it here, as it holds each rank's random state.
"""

import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"dcp": 2, "dcp-1rank": 1}


class Training:
    """The model and all else of which the checkpoint is made; torch calls the two methods."""

    def __init__(self) -> None:
        import torch

        self.model = plain.tiny_llama()
        if plain.ranks() > 1:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.model, mesh=init_device_mesh("cpu", (plain.ranks(),)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 - step / 20)
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        import torch
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimizer = get_state_dict(self.model, self.optimizer)
        state = {"model": model, "optim": optimizer, "scheduler": self.scheduler.state_dict(), "step": self.step}
        return state | {f"random.{plain.rank()}": torch.get_rng_state()}

    def load_state_dict(self, state: Any) -> None:
        import torch
        from torch.distributed.checkpoint.state_dict import set_state_dict

        parts = {"model_state_dict": state["model"], "optim_state_dict": state["optim"]}
        set_state_dict(self.model, self.optimizer, **parts)
        self.scheduler.load_state_dict(state["scheduler"])
        self.step = state["step"]
        torch.set_rng_state(state[f"random.{plain.rank()}"])


def train(case: str, resume: str | None) -> dict[str, object]:
    import torch.distributed as dist
    from torch.distributed import checkpoint

    plain.seed()
    if plain.ranks() > 1:
        dist.init_process_group("gloo")
    training, losses = Training(), []
    rows = plain.tokens(plain.STEPS * plain.BATCH * plain.ranks()).view(plain.STEPS, plain.ranks(), plain.BATCH, -1)
    if resume:
        steps = {int(path.name.split("-")[1]): path for path in Path(case).glob("step-*")}
        checkpoint.load({"app": training}, checkpoint_id=steps[max(steps)] if resume == "auto" else resume)
    resumed = training.step
    for batch in rows[resumed:, plain.rank()]:
        loss = training.model(input_ids=batch, labels=batch).loss
        loss.backward()
        training.optimizer.step()
        training.scheduler.step()
        training.optimizer.zero_grad()
        losses.append(loss.item())
        training.step += 1
        if training.step % plain.SAVE_EVERY == 0:
            checkpoint.save({"app": training}, checkpoint_id=f"{case}/step-{training.step}")
    if plain.ranks() > 1:
        dist.barrier()
        dist.destroy_process_group()
    return {"resumed_step": resumed, "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
