"""torchtitan's own CheckpointManager on two ranks: `checkpoint/step-N/`, interrupted, at its end, and that for the Hub.

The model is not torchtitan's and has a layer of FSDP2. `torchtitan` stops after the last interval's checkpoint, as one
that is killed does. The save of a last step has no optimizer by default (`torchtitan-end`), and may be in the
Hub's format (`torchtitan-hf`): neither is resumed from.
torchtitan asks torch for an accelerator when it is imported: it is told `cpu`.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"torchtitan": 2}
LISTED = {"torchtitan-end": 2, "torchtitan-hf": 2}  # torchtitan refuses to resume from their last checkpoint


def tiny_model():
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    sizes = plain.VOCABULARY, 8
    model = torch.nn.Sequential(torch.nn.Embedding(*sizes), torch.nn.Dropout(0.2), torch.nn.Linear(*reversed(sizes)))
    fully_shard(model, mesh=init_device_mesh("cpu", (plain.ranks(),)))
    return model


class Optimizers:
    """As torchtitan's container has it: the state by the names of the weights."""

    def __init__(self, model):
        import torch

        self.model, self.optimizer = model, torch.optim.AdamW(model.parameters(), lr=1e-2)

    def state_dict(self):
        return self._call("get_optimizer_state_dict")

    def load_state_dict(self, state):
        self._call("set_optimizer_state_dict", optim_state_dict=state)

    def _call(self, name, **more):
        from torch.distributed.checkpoint import state_dict

        options = state_dict.StateDictOptions(flatten_optimizer_state_dict=True)
        return getattr(state_dict, name)(self.model, self.optimizer, options=options, **more)


class TrainState:
    """torchtitan's `train_state`: the step; and here each rank's random state."""

    step = 0

    def state_dict(self):
        import torch

        return {"step": torch.tensor(self.step), f"random.{plain.rank()}": torch.get_rng_state()}

    def load_state_dict(self, state):
        import torch

        self.step = int(state["step"])
        torch.set_rng_state(state[f"random.{plain.rank()}"])


class Adapter:
    """What makes a model's state the Hub's: here nothing but the file of each weight."""

    hf_assets_path = None

    def __init__(self):
        self.fqn_to_index_mapping = {"0.weight": 1, "2.weight": 2, "2.bias": 2}

    def to_hf(self, state):
        return dict(state)


def manager(case, model, optimizers, scheduler, state):
    import torch

    torch._utils._get_available_device_type = lambda: "cpu"
    from torchtitan.components.checkpoint import CheckpointManager

    hub = case == "torchtitan-hf"
    config = CheckpointManager.Config(enable=True, interval=plain.SAVE_EVERY, keep_latest_k=2, last_save_in_hf=hub)
    parts = {"dataloader": None, "model_parts": [model], "optimizers": optimizers, "lr_schedulers": scheduler}
    return CheckpointManager(config, states={"train_state": state}, sd_adapter=Adapter(), base_folder=case, **parts)


def train(case, resume):
    import torch
    import torch.distributed as dist

    plain.seed()
    dist.init_process_group("gloo")
    model, state, losses = tiny_model(), TrainState(), []
    optimizers = Optimizers(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizers.optimizer, lambda step: 1 - step / 20)
    checkpoints = manager(case, model, optimizers, scheduler, state)
    if resume:
        checkpoints.load(-1 if resume == "auto" else int(Path(resume).name.split("-")[1]))
    resumed = state.step
    rows = plain.tokens(plain.STEPS * plain.BATCH * plain.ranks()).view(plain.STEPS, plain.ranks(), plain.BATCH, -1)
    for batch in rows[resumed:, plain.rank()]:
        loss = torch.nn.functional.cross_entropy(model(batch).flatten(0, 1), batch.roll(-1, 1).flatten())
        loss.backward()
        optimizers.optimizer.step()
        scheduler.step()
        optimizers.optimizer.zero_grad()
        losses.append(loss.item())
        state.step += 1
        if state.step < plain.STEPS or case != "torchtitan":
            checkpoints.save(state.step, last_step=state.step == plain.STEPS)
    checkpoints.close()
    dist.barrier()
    dist.destroy_process_group()
    return {"resumed_step": resumed, "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES | LISTED)
