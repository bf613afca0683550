"""Accelerate's `save_state`: its own `checkpoints/checkpoint_<i>`, and directories that a script names by step.

Names and order of writing: accelerate `accelerator.py::save_state`, `checkpointing.py::save_accelerator_state`, as run
under accelerate 1.15 on one rank and on two, alone, with FSDP 2 and with DeepSpeed; diffusers' and SimpleTuner's
additions lie in the same directory. Nothing is written last: rank 0 writes the model, the optimizers, the schedulers,
the samplers, then `random_states_0.pkl`, then the registered objects (`custom_checkpoint_<i>.pkl`); other ranks write
their `random_states_<rank>.pkl` at any time. No file tells the step or how many ranks there are. So
`random_states_0.pkl` stands in for the mark, and what the save before it had must be there again (docs/layouts.md says
what can't be told).
"""

from ckptkit.layouts.deepspeed import STATES, model_states, optimizer_lost, states_lost
from ckptkit.layouts.deepspeed import TAG as DEEPSPEED_TAG
from ckptkit.layouts.fsdp import GATHERED, SHARDED
from ckptkit.layouts.hf_trainer import ADAPTER, FULL, TRAINERS
from ckptkit.layouts.layout import MOST_TOLD, Layout, Weights, fits
from ckptkit.model.checkpoint import SAVING

PROMISED = (
    r"(random_states|custom_checkpoint)_[0-9]{1,6}\.pkl|(optimizer|scheduler|sampler|dl_state_dict)(_[0-9]+)?\.bin"
    r"|\.guard|training_state(-rank[0-9]+)?\.json|checkpoint_manifest\.json"  # SimpleTuner's
    r"|scaler\.pt|model(_[0-9]+)?\.safetensors|(pytorch_model_fsdp|optimizer)_[0-9]+/\.metadata"
)
# Of diffusers' scripts: a LoRA alone, or each part of a pipeline in a directory of its own.
LORA = r"pytorch_lora_weights(_[0-9]+)?\.safetensors"
PART = r"([^/]+/diffusion_pytorch_model|text_encoder(_[0-9])?/model)(-[0-9]{5}-of-[0-9]{5})?(\.[a-z0-9]+)?\.safetensors"
ALL = rf"pytorch_model_fsdp_[1-9][0-9]*/\.metadata|model_[0-9]+\.safetensors|{LORA}|{PART}"


class Accelerate(Layout):
    """Each prepared model has a file or directory of its own, and all of them are loaded."""

    __slots__ = ()

    def weights(self, names: frozenset[str]) -> list[tuple[Weights, ...]]:
        """The first model as the Trainer names it, or in shards, and all others beside it."""
        first = next((model.files[0] for model in (SHARDED, GATHERED) if model.files[0] in names), None)
        states = model_states(names)
        others = sorted(name for name in names if fits(ALL, name))
        plain = [] if first or states else super().weights(names)
        files = [*(w.file for w in plain[0]), *others] if plain else [*filter(None, [first]), *states, *others]
        needed = {w.file: w for w in (plain[0] if plain else ())}
        return [tuple(needed.get(file, Weights(file, (), ())) for file in files)] if files else []

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """Without an optimizer, or DeepSpeed's states, it continues nothing."""
        states = any(fits(STATES, name) for name in names)  # else `latest` is a person's
        held = any(name in names and (states or name != DEEPSPEED_TAG) for name in self.resume[0])
        return [*([] if held else self.resume[0][:1]), *optimizer_lost(names)]

    def ranks_lost(self, names: frozenset[str], world: int, each_node: bool) -> list[str]:
        """Ranks below the highest that saved its random states, and DeepSpeed's states."""
        ranks = self.rank_files(names)
        begin = min(ranks, default=0) if each_node else 0
        lost = [f"random_states_{rank}.pkl" for rank in range(begin, max(ranks, default=0)) if rank not in ranks]
        return [*lost[:MOST_TOLD], *states_lost(names, max(ranks, default=0) + 1, each_node)]

    def promised(self, earlier: frozenset[str]) -> frozenset[str]:
        """Given the names in the save before, return those that this one must have too: a resume asks for all alike."""
        return frozenset(name for name in earlier if fits(PROMISED, name))


OWN = Accelerate(
    name="accelerate",
    title="Accelerate",
    starts=("checkpoint_",),
    pattern=r"checkpoint_(0|[1-9][0-9]{0,17})",
    stem="checkpoint_",
    resume_with="accelerator.load_state({path})",
    signs=((r"random_states_[0-9]+\.pkl",), (r"optimizer\.bin", r"(scheduler|sampler)\.bin"), (LORA,), (r"unet/.*",)),
    holds=("fsdp", "deepspeed"),
    others=TRAINERS,
    marker="random_states_0.pkl",
    is_last=False,
    incomplete=(SAVING,),
    unmarked="is missing; what a resume needs is written before it, so the save did not finish",
    models=(ADAPTER, FULL),
    resume=(("optimizer.bin", "optimizer_0/.metadata", DEEPSPEED_TAG), ("random_states_0.pkl",)),
    ranks=r"random_states_(0|[1-9][0-9]{0,5})\.pkl",
    # Rank 0's random states are the marker; the others' are looked at as well.
    continues=r"random_states_[0-9]+\.pkl|(optimizer|scheduler|sampler|dl_state_dict)(_[0-9]+)?\.bin|scaler\.pt|custom_checkpoint_[0-9]+\.pkl"
    r"|optimizer_[0-9]+/.*|pytorch_model(_[0-9]+)?/.*|latest",
    archives=r"(optimizer|scheduler|sampler|dl_state_dict)(_[0-9]+)?\.bin|scaler\.pt|(custom_checkpoint|random_states)_[0-9]+\.pkl"
    rf"|(pytorch_model|adapter_model)(-[0-9]{{5}}-of-[0-9]{{5}})?\.bin|pytorch_model_fsdp\.bin|{STATES}",
    lenient=True,
    # Nobody else names a directory so: what is first written there is Accelerate's.
    first=frozenset({"model.safetensors", "pytorch_model.bin", "config.json"}),
    witness=r"random_states_[0-9]+\.pkl|(optimizer|scheduler|sampler)(_[0-9]+)?\.bin|custom_checkpoint_[0-9]+\.pkl"
    r"|pytorch_model_fsdp(\.bin|_[0-9]+(/.*)?)|optimizer_[0-9]+(/.*)?|pytorch_model(_[0-9]+)?(/.*)?",
    debris=r"\.tmp[A-Za-z0-9]{6}",
    order=("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"),
)  # fmt: skip

BY_STEP = OWN._replace(
    # The examples of Accelerate write step_N and epoch_N, diffusers' scripts checkpoint-N, SimpleTuner -rolling too.
    name="accelerate-step",
    starts=("checkpoint-", "step_", "epoch_"),
    pattern=r"(?:checkpoint-|step_|epoch_)(0|[1-9][0-9]{0,17})(?:-rolling)?",
    stem="checkpoint-",
    clear=False,
    first=frozenset(),
)
