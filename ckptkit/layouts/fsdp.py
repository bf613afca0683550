"""The Hugging Face Trainer under FSDP: the model and the optimizer in shards, or gathered into one file each.

Names and order of writing: transformers `trainer.py::_save_checkpoint`, accelerate `utils/fsdp_utils.py`, as run under
transformers 5.24 and accelerate 1.15 with two ranks, FSDP 1 and 2. The frame is the Trainer's own. SHARDED_STATE_DICT:
`pytorch_model_fsdp_0/` and `optimizer_0/`, each of torch.distributed.checkpoint, and no config.json, no
model.safetensors, no training_args.bin. FULL_STATE_DICT: what the plain Trainer writes, then `pytorch_model_fsdp.bin`
and `optimizer.bin`; a resume takes these two and fails without them, whatever else is there. The ranks race:
`trainer_state.json` is not last, `rng_state_<rank>.pth` may come after it.
"""

from ckptkit.layouts import hf_trainer
from ckptkit.layouts.layout import Layout, Model, Weights, fits

PLAIN = hf_trainer.LAYOUT
SHARDED = Model(files=("pytorch_model_fsdp_0/.metadata",))
GATHERED = Model(files=("pytorch_model_fsdp.bin",))
SHARD = r"(?:pytorch_model_fsdp|optimizer)_[0-9]+/__([0-9]{1,6})_[0-9]+\.distcp"
SIGNS = (
    (r"pytorch_model_fsdp(\.bin|_[0-9]+(/.*)?)",), (r"optimizer_[0-9]+(/.*\.distcp)?",),
)  # fmt: skip


class Fsdp(Layout):
    """What a resume takes lies beside what other loaders take; either may have been removed to save room."""

    __slots__ = ()

    def weights(self, names: frozenset[str]) -> list[tuple[Weights, ...]]:
        """The shards, or all of them gathered into one file; where both are gone, the weights in the Trainer's form."""
        return super().weights(names) or PLAIN.weights(names)

    def ranks_lost(self, names: frozenset[str], world: int, each_node: bool) -> list[str]:
        """As the plain Trainer's; each rank that wrote a shard saved its random states too."""
        shards = (fits(SHARD, name) for name in names)
        return super().ranks_lost(names, max([world, *(int(match[1]) + 1 for match in shards if match)]), each_node)

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """A resume fails without FSDP's own weights, also where `model.safetensors` is there."""
        own = [model.files[0] for model in self.models]
        return [*([] if names & set(own) else own[1:]), *super().resume_gaps(names)]


LAYOUT = Fsdp(*PLAIN)._replace(
    name="fsdp",
    title="the Trainer under FSDP",
    signs=SIGNS,
    foreign=("deepspeed",),
    models=(SHARDED, GATHERED),
    resume=(("optimizer_0/.metadata", "optimizer.bin"), *PLAIN.resume[1:]),
    continues=r"optimizer_[0-9]+/.*",
    # What a resume does without and a loader takes: the gathered weights in the Trainer's own form.
    optional=rf"{PLAIN.optional}|{hf_trainer.GATHERED}",
    archives=rf"{PLAIN.archives}|pytorch_model_fsdp\.bin",
    witness=rf"{PLAIN.witness}|pytorch_model_fsdp(\.bin|_[0-9]+(/.*)?)|optimizer(\.bin|_[0-9]+(/.*)?)",
    others=r"random_states_[0-9]+\.pkl|training_state(-.*)?\.(pt|pth|bin|json)|global_step[0-9]+(/.*)?"
    r"|(scheduler|sampler)\.bin|custom_checkpoint_[0-9]+\.pkl|(bf16_)?zero_pp_rank_.*|mp_rank_.*|zero_to_.*\.py|.*\.ckpt",
    order=("config.json", "model.safetensors", "training_args.bin", "pytorch_model_fsdp_0/.metadata",
           "pytorch_model_fsdp.bin", "optimizer_0/.metadata", "optimizer.bin", "trainer_state.json"),
)  # fmt: skip
