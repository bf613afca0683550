"""Trainers that write what FSDP, DeepSpeed and sentence-transformers' Router write: their names, in their order.

And one that writes as nobody else does. What each real one writes was watched with inotify; see docs/layouts.md. No
ranks and no GPU are needed for these.
"""

import os
from typing import Any

import tiny
import torch
import torch.distributed.checkpoint as dcp

MARKER = "trainer_state.json"


class Like(tiny.Trainer):
    """Its files continue training as well as the real ones do: a resume asks whether all of them are there."""

    flag = ""  # what a real one says of itself before its first save

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begun = 0  # attempts at writing what continues training

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        self.begun += 1
        self.write_first(output_dir)
        self.write_last(output_dir)

    def write_first(self, output_dir: str) -> None:
        """About half of the bytes."""

    def write_last(self, output_dir: str) -> None:
        """The other half."""

    def needed(self) -> tuple[str, ...]:
        """Without these a resume with the real one fails."""
        return ()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        for name in (*self.needed(), MARKER):
            if not os.path.lexists(os.path.join(resume_from_checkpoint, name)):
                raise ValueError(f"can't find a valid checkpoint at {resume_from_checkpoint}: {name} is missing")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        pass

    def save(self, content: dict[str, Any], *path: str) -> None:
        """As torch does, its directory made first."""
        os.makedirs(os.path.join(*path[:-1]), exist_ok=True)
        torch.save(content, os.path.join(*path))


class FsdpSharded(Like):
    """SHARDED_STATE_DICT: no weights in one file, no settings, no training_args.bin."""

    flag = "is_fsdp_enabled"

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        pass

    def write_first(self, output_dir: str) -> None:
        self._shards(self.model.state_dict(), os.path.join(output_dir, "pytorch_model_fsdp_0"))

    def write_last(self, output_dir: str) -> None:
        self._shards(self.optimizer.state_dict()["state"], os.path.join(output_dir, "optimizer_0"))
        self.save(self.lr_scheduler.state_dict(), output_dir, "scheduler.pt")

    def _shards(self, state: dict[Any, Any], folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        dcp.save({str(name): value for name, value in state.items()}, checkpoint_id=folder, no_dist=True)

    def needed(self) -> tuple[str, ...]:
        return ("pytorch_model_fsdp_0/.metadata", "optimizer_0/.metadata")


class FsdpFull(Like):
    """FULL_STATE_DICT: the weights twice, and the optimizer under accelerate's name."""

    flag = "is_fsdp_enabled"

    def write_first(self, output_dir: str) -> None:
        self.save(self.model.state_dict(), output_dir, "pytorch_model_fsdp.bin")

    def write_last(self, output_dir: str) -> None:
        self.save(self.optimizer.state_dict(), output_dir, "optimizer.bin")
        self.save(self.lr_scheduler.state_dict(), output_dir, "scheduler.pt")

    def needed(self) -> tuple[str, ...]:
        return ("pytorch_model_fsdp.bin", "optimizer.bin")


class DeepSpeed(Like):
    """ZeRO-2 on one rank."""

    flag = "is_deepspeed_enabled"

    def write_first(self, output_dir: str) -> None:
        states = {"module": self.model.state_dict(), "lr_scheduler": self.lr_scheduler.state_dict()}
        self.save(states, output_dir, self._tag(), "mp_rank_00_model_states.pt")

    def write_last(self, output_dir: str) -> None:
        self.save(self.optimizer.state_dict(), output_dir, self._tag(), "zero_pp_rank_0_mp_rank_00_optim_states.pt")
        for name, text in (("zero_to_fp32.py", "#\n"), ("zero_to_torch.py", "#\n"), ("latest", self._tag())):
            with open(os.path.join(output_dir, name), "w") as file:
                file.write(text)

    def _tag(self) -> str:
        return f"global_step{self.state.global_step}"

    def needed(self) -> tuple[str, ...]:
        return ("latest",)


class Router(Like):
    """Nothing says so before its first save: a plain Trainer whose model writes a directory for each route."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        for route in ("query_0_Transformer", "document_0_Transformer"):
            self.model.save_pretrained(os.path.join(output_dir, route))
        for name in ("modules.json", "router_config.json", "config_sentence_transformers.json"):
            with open(os.path.join(output_dir, name), "w") as file:
                file.write("{}")
        torch.save(self.args, os.path.join(output_dir, "training_args.bin"))

    def write_last(self, output_dir: str) -> None:
        self.save(self.optimizer.state_dict(), output_dir, "optimizer.pt")
        self.save(self.lr_scheduler.state_dict(), output_dir, "scheduler.pt")

    def needed(self) -> tuple[str, ...]:
        return ("query_0_Transformer", "document_0_Transformer")


class Strange(Like):
    """As nobody else does: what it writes no layout knows."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        pass

    def write_first(self, output_dir: str) -> None:
        self.save(self.model.state_dict(), output_dir, "parts", "weights.part")

    def write_last(self, output_dir: str) -> None:
        self.save(self.optimizer.state_dict(), output_dir, "parts", "moments.part")

    def needed(self) -> tuple[str, ...]:
        return ("parts/weights.part", "parts/moments.part")


KINDS = {
    "strange": Strange,
    "fsdp-sharded": FsdpSharded,
    "fsdp-full": FsdpFull,
    "deepspeed": DeepSpeed,
    "router": Router,
}
