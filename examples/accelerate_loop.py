"""
A loop with Accelerate whose checkpoints never fill the disk. On a CPU it takes some seconds:

python examples/accelerate_loop.py
torchrun --nproc_per_node 2 examples/accelerate_loop.py
python examples/accelerate_loop.py out 200 20     the run, steps, steps between saves

Started again, it goes on from the newest checkpoint that is intact.
"""

import os
import sys

import torch
from accelerate import Accelerator

import ckptkit

run = sys.argv[1] if len(sys.argv) > 1 else "out/checkpoints"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
save_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10

# -----------------------------------------------------------------------------
# the model and the data

accelerator = Accelerator(cpu=not torch.cuda.is_available())
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.Dropout(0.1), torch.nn.Linear(512, 64))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)

# -----------------------------------------------------------------------------
# go on from the newest checkpoint, if there is one

guard = ckptkit.guard(run, keep_last=2)
first = 0
if newest := guard.latest():
    accelerator.load_state(newest)
    first = int(os.path.basename(newest).split("-")[1])  # Accelerate writes no step into a checkpoint

# -----------------------------------------------------------------------------
# training

for step in range(first + 1, steps + 1):
    batch = torch.randn(8, 64, generator=torch.Generator().manual_seed(step), device="cpu").to(accelerator.device)
    loss = (model(batch) - batch).square().mean()
    accelerator.backward(loss)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    accelerator.print(f"step {step}: loss {loss.item():.6f}")
    if step % save_steps == 0:
        with guard.saving(step) as path:  # on every rank
            accelerator.save_state(path)

guard.close()  # what checks the last one is through
accelerator.end_training()
