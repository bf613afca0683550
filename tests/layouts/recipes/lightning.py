"""Lightning's ModelCheckpoint: the two best and `last.ckpt`; as a link; weights only; sharded on two ranks.

The directory is left to Lightning: a `dirpath` is made absolute, and that path gets into each .ckpt. It is
lightning_logs/version_0/checkpoints with a logger, whose version stands still here: a new one each time would hide
last.ckpt from `ckpt_path="last"`, and the training would begin anew without a word. Else it is checkpoints.
Lightning keeps no random state, so the module does, and its loader begins the epoch again after a resume in the middle
of one, so the module takes its rows by the step.
"""

import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"lightning-single": 1, "lightning-last-link": 1, "lightning-sharded": 2}
LISTED = {"lightning-weights-only": 1}  # Lightning refuses to resume from its checkpoints
STEPS, SAVE_EVERY = 7, 2  # two epochs of four steps, but for the last one


def module(sharded: Any) -> Any:
    """The LightningModule, made here because Lightning takes seconds to import."""
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = plain.tiny_llama()
            self.rows = plain.tokens(STEPS * plain.BATCH).view(STEPS, plain.BATCH, -1)
            self.losses: list[Any] = []

        def configure_model(self) -> None:
            if sharded:
                from torch.distributed.fsdp import fully_shard

                fully_shard(self.model, mesh=self.device_mesh["data_parallel"])

        def training_step(self, _batch: Any, _index: Any) -> Any:
            rows = self.rows[self.global_step]
            loss = self.model(input_ids=rows, labels=rows).loss
            self.losses.append(loss.item())
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        def on_save_checkpoint(self, checkpoint: Any) -> None:
            checkpoint["random_state"] = torch.get_rng_state()

        def on_load_checkpoint(self, checkpoint: Any) -> None:
            torch.set_rng_state(checkpoint["random_state"])

    return Module()


def callback(case: str) -> Any:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return ModelCheckpoint(
        monitor="loss",
        every_n_train_steps=SAVE_EVERY,
        save_top_k=1 if case == "lightning-sharded" else 2,
        save_last="link" if case == "lightning-last-link" else True,
        save_weights_only=case == "lightning-weights-only",
    )


def loader() -> Any:
    """Four steps an epoch. A generator of its own: what it draws would change the dropout after a resume."""
    import torch

    return torch.utils.data.DataLoader(range(4 * plain.ranks()), generator=torch.Generator())


def strategy(case: str) -> Any:
    if case != "lightning-sharded":
        return "auto"
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(
        data_parallel_size=2,
        tensor_parallel_size=1,
        save_distributed_checkpoint=True,
        process_group_backend="gloo",
    )


def train(case: str, resume: str | None) -> dict[str, Any]:
    import lightning
    from lightning.pytorch.loggers import CSVLogger

    plain.seed()
    model, data = module(case == "lightning-sharded"), loader()
    trainer = lightning.Trainer(
        default_root_dir=case,
        accelerator="cpu",
        devices=plain.ranks(),
        strategy=strategy(case),
        max_epochs=2,
        max_steps=STEPS,
        callbacks=[callback(case)],
        logger=CSVLogger(case, version=0) if case == "lightning-single" else False,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # "last" is a question that Lightning answers with None where it finds nothing: that trains from the start.
    trainer.fit(model, data, ckpt_path="last" if resume == "auto" else resume)
    return {"resumed_step": trainer.global_step - len(model.losses), "losses": model.losses}


if __name__ == "__main__":
    plain.main(train, CASES | LISTED)
