"""
A loop of one's own that saves with torch.distributed.checkpoint, and never fills the disk. On a CPU it takes seconds:

python examples/plain_loop.py
python examples/plain_loop.py out 200 20     the run, steps, steps between saves

Started again, it goes on from the newest checkpoint that is intact.
"""

import os
import sys
import warnings
from typing import Any

import torch
import torch.distributed.checkpoint as dcp

import ckptkit

run = sys.argv[1] if len(sys.argv) > 1 else "out/plain"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
save_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10
warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")  # that there is one rank alone

# -----------------------------------------------------------------------------
# the model and the data

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)


def batch_of(step: int) -> torch.Tensor:
    """The same each time."""
    return torch.randn(8, 64, generator=torch.Generator().manual_seed(step))


def train(step: int) -> None:
    """One step."""
    batch = batch_of(step)
    loss = (model(batch) - batch).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.6f}")


def state() -> dict[str, Any]:
    """What continues training."""
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"]}


# -----------------------------------------------------------------------------
# go on from the newest checkpoint, if there is one

guard = ckptkit.guard(run, keep_last=2)
first = 0
if newest := guard.latest():
    for p in model.parameters():  # the optimizer has its state from the first step on
        p.grad = torch.zeros_like(p)
    optimizer.step()
    loaded = state()
    dcp.load(loaded, checkpoint_id=newest)
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(optimizer.state_dict() | {"state": loaded["optimizer"]})
    first = int(os.path.basename(newest).split("-")[1])

# -----------------------------------------------------------------------------
# training

for step in range(first + 1, steps + 1):
    train(step)
    if step % save_steps == 0:
        # Called once more after room was made, where the disk was full. guard.saving(step) is the same as a `with`.
        guard.save(step, lambda path: dcp.save(state(), checkpoint_id=path), f"{run}/step-{step}")

guard.close()  # what checks the last one is through
