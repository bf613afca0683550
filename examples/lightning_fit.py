"""
Lightning's Trainer whose checkpoints never fill the disk. On a CPU it takes some seconds:

python examples/lightning_fit.py
python examples/lightning_fit.py out 200 20     the run, steps, steps between saves

Started again, it goes on from the newest checkpoint that is intact.
"""

import logging
import sys
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import ckptkit

run = sys.argv[1] if len(sys.argv) > 1 else "out/lightning"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
save_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

# -----------------------------------------------------------------------------
# the model and the data


class Autoencoder(lightning.LightningModule):
    """As small as it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """One step."""
        loss = (self.net(batch) - batch).square().mean()
        self.log("loss", loss)
        print(f"step {self.global_step + 1}: loss {loss.item():.6f}")
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """With two moments, as large again as the model each."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


lightning.seed_everything(0, verbose=False)
data = torch.randn(8 * 1000, 64, generator=torch.Generator().manual_seed(1))
loader = torch.utils.data.DataLoader(data, batch_size=8)

# -----------------------------------------------------------------------------
# training, from the newest checkpoint if there is one

guard = ckptkit.lightning_guard(keep_last=2)
saves = ModelCheckpoint(dirpath=run, filename="{step}", every_n_train_steps=save_steps, save_top_k=-1)
trainer = lightning.Trainer(
    max_steps=steps, accelerator="auto", devices=1, callbacks=[guard, saves], logger=False,
    enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Autoencoder(), loader, ckpt_path=guard.latest(run))
