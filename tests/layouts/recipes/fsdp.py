"""Transformers' Trainer with FSDP, two ranks: sharded and full state dicts, FSDP2 and FSDP1, with and without LoRA.

Without a GPU accelerate makes it plain DDP and does not say so: its state lists no CPU for FSDP. `shim` puts it there.
Not here: FSDP1 with a full state dict, whose gather gloo does not take.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its files are named like libraries

from tests.layouts.recipes import ranks, tiny  # isort: skip
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType


class Case(NamedTuple):
    """What sets one case apart."""

    version: int
    state_dict: str
    lora: bool = False


CASES = {
    "fsdp2-sharded": Case(2, "SHARDED_STATE_DICT"),
    "fsdp2-full": Case(2, "FULL_STATE_DICT"),
    "fsdp1-sharded": Case(1, "SHARDED_STATE_DICT"),
    "fsdp2-sharded-lora": Case(2, "SHARDED_STATE_DICT", lora=True),
    "fsdp2-full-lora": Case(2, "FULL_STATE_DICT", lora=True),
}


def shim() -> None:
    """Let FSDP be FSDP on CPUs."""
    plain = AcceleratorState.__init__

    def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        fresh = AcceleratorState._shared_state == {}
        plain(self, *args, fsdp_plugin=fsdp_plugin, **more)
        if fresh and fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
            self.device = PartialState._shared_state["device"] = torch.device("cpu")  # FSDP1 takes no "cpu:0"

    AcceleratorState.__init__ = with_fsdp


def train(name: str, resume: str | None) -> dict[str, Any]:
    """One rank's training."""
    case = CASES[name]
    shim()
    config = {
        "version": case.version,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        "state_dict_type": case.state_dict,
    }
    if case.version == 1:
        config |= {"sync_module_states": "false", "cpu_ram_efficient_loading": "false"}
    arguments = tiny.arguments(name, fsdp=True, fsdp_config=config)
    trainer = tiny.Trainer(tiny.model(case.lora), arguments, train_dataset=tiny.data())
    result = tiny.train(trainer, resume)
    assert trainer.is_fsdp_enabled and dist.get_world_size() == 2, "this was not FSDP on two ranks"
    return result


if __name__ == "__main__":
    sys.exit(ranks.main(train, CASES))
