"""What test_guard_fsdp.py runs under torchrun: the real FSDP on two ranks, each scene with sharded and whole weights.

torchrun --nproc-per-node 2 real_fsdp.py MOUNT...     one small tmpfs a scene and kind
"""

import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tiny
import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from ballast import fill
from launching import tell

import ckptkit

RANK = int(os.environ["RANK"])
KINDS = {"sharded": "SHARDED_STATE_DICT", "whole": "FULL_STATE_DICT"}
_init = AcceleratorState.__init__


def _knows_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    """accelerate lists FSDP for GPUs alone, and is silently DDP on CPUs."""
    is_new = not AcceleratorState._shared_state
    _init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if is_new and fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = _knows_fsdp


def trainer(mount: str, kind: str, **settings: Any) -> Any:
    AcceleratorState._reset_state(reset_partial_state=False)
    PartialState._shared_state.pop("distributed_type", None)
    wrap = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}
    config = {"version": 2, "state_dict_type": KINDS[kind], **wrap}
    made = tiny.trainer(
        os.path.join(mount, "run"), of=tiny.model(lora=False, intermediate_size=128), fsdp="full_shard",
        fsdp_config=config, dataloader_pin_memory=False, ddp_timeout=60, save_total_limit=2, **settings
    )  # fmt: skip
    assert made.is_fsdp_enabled
    return made


def plain(mount: str, kind: str) -> dict[str, Any]:
    trainer(mount, kind).train()
    return {}


def guarded(mount: str, kind: str) -> dict[str, Any]:
    made = trainer(mount, kind)
    guard = ckptkit.guard(made)
    made.train()
    return {"skipped": guard.skipped, "step": made.state.global_step, "rotates": guard.room.rotates}


def full_in_the_middle(mount: str, kind: str) -> dict[str, Any]:
    """Of the third save, in both attempts; before the fourth there is room again."""
    ballast = os.path.join(mount, "ballast")

    def write(output_dir: str) -> None:
        if RANK == 0 and made.state.global_step == 30 and not os.path.exists(ballast):
            fill(mount, 100_000)
        dist.barrier()
        original(output_dir)

    def free() -> None:
        if RANK == 0:
            os.unlink(ballast)
        dist.barrier()

    made = trainer(mount, kind, callbacks=[tiny.At(35, free)])
    original, made._save_optimizer_and_scheduler = made._save_optimizer_and_scheduler, write
    guard = ckptkit.guard(made)
    made.train()
    return {"skipped": guard.skipped, "step": made.state.global_step}


SCENES = [plain, guarded, full_in_the_middle]

if __name__ == "__main__":
    todo = [(kind, scene) for kind in KINDS for scene in SCENES]
    for (kind, scene), mount in zip(todo, sys.argv[1:], strict=True):
        seen = scene(mount, kind)
        dist.barrier()
        run = os.path.join(mount, "run")
        files = sorted(n for n in os.listdir(os.path.join(run, "checkpoint-40")) if not n.startswith(".ckptkit-"))
        tell(f"{kind} {scene.__name__}", RANK, {"names": sorted(os.listdir(run)), "files": files, **seen})
    dist.destroy_process_group()
    os._exit(0)
