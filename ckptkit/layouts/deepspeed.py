"""The Hugging Face Trainer under DeepSpeed, ZeRO 0 to 3: each rank's part of the states in `global_step<N>/`.

Names and order of writing: transformers `trainer.py::_save_checkpoint`, deepspeed `runtime/engine.py::save_checkpoint`,
as run under transformers 5.24 and deepspeed 0.19.8 with two ranks. The frame is the Trainer's own. `latest` names the
directory of the states and is no mark of completion: rank 0 writes it while other ranks still write, and ZeRO-3 without
gathered weights saves twice. A resume fails without it, without that directory, and without any rank's states; it does
without `model.safetensors`. ZeRO-0 has the optimizer in `mp_rank_00_model_states.pt`; ZeRO-1 and 2 have one
`..._optim_states.pt` a rank beside it; ZeRO-3 has both kinds a rank.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from ckptkit.layouts import hf_trainer
from ckptkit.layouts.layout import MOST_TOLD, Layout, Weights, fits

PLAIN = hf_trainer.LAYOUT
TAG = "latest"
# Group 1 is the directory, 2 the rank in data parallelism, 3 the rank in model parallelism, 4 whose states.
DIRECTORY = r"(global_step[0-9]+|pytorch_model(?:_[0-9]+)?)"  # the Trainer's, Accelerate's
SHARD = DIRECTORY + r"/(?:bf16_)?zero_pp_rank_([0-9]{1,6})_mp_rank_([0-9]{2,6})_(model|optim)_states\.pt"
STATES = DIRECTORY + r"/.*_states\.pt"


class DeepSpeed(Layout):
    """The files of states are named by rank, so which there must be is counted."""

    __slots__ = ()

    def weights(self, names: frozenset[str]) -> list[tuple[Weights, ...]]:
        """The states, which a resume takes; where they are gone (a strip), the gathered weights."""
        states = model_states(names)
        return [tuple(Weights(name, (), ()) for name in states)] if states else super().weights(names)

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """As the plain Trainer's, and the optimizer's states: people delete them to save room."""
        return [*super().resume_gaps(names), *optimizer_lost(names)]

    def ranks_lost(self, names: frozenset[str], world: int, each_node: bool) -> list[str]:
        """As the plain Trainer's, and the states: each kind of them has one file a rank."""
        lost = super().ranks_lost(names, world, each_node)
        least = max([world, *(rank + 1 for rank in self.rank_files(names))])
        return [*lost, *states_lost(names, least, each_node)]


def model_states(names: Iterable[str]) -> list[str]:
    """Given the names present, return the files that hold the model's states."""
    return sorted(name for name in names if name.endswith("_model_states.pt") and fits(STATES, name))


def optimizer_lost(names: Iterable[str]) -> list[str]:
    """Given the names present, return the first of the optimizer's states if none is there and ZeRO wrote some.

    ZeRO-0 has the optimizer in `mp_rank_00_model_states.pt` and lays no `zero_to_fp32.py` beside it.
    """
    there = tuple(names)
    zero = any(fits(SHARD, name) or name == "zero_to_fp32.py" for name in there)
    if not zero or any(name.endswith("_optim_states.pt") for name in there):
        return []
    folders = [name.partition("/")[0] for name in model_states(there)[:1]]
    return [f"{folder}/zero_pp_rank_0_mp_rank_00_optim_states.pt" for folder in folders]


def states_lost(names: Iterable[str], world: int, each_node: bool) -> list[str]:
    """Given the names present and how many ranks there are at least, return the ranks' states that are not there."""
    families: dict[tuple[str, str, str], dict[int, str]] = {}
    for name in names:
        if match := fits(SHARD, name):
            families.setdefault((match[1], match[3], match[4]), {})[int(match[2])] = name
    columns = len({mp for _, mp, _ in families}) or 1  # ranks of model parallelism share the ranks among them
    highest = max((max(ranks) + 1 for ranks in families.values()), default=0)
    count = max(highest, world // columns)
    return list(islice((name for ranks in families.values() for name in _lost(ranks, count, each_node)), MOST_TOLD))


def _lost(ranks: dict[int, str], count: int, each_node: bool) -> Iterator[str]:
    some, name = next(iter(ranks.items()))
    begin, end = (min(ranks), max(ranks) + 1) if each_node else (0, count)
    return (name.replace(f"pp_rank_{some}_", f"pp_rank_{rank}_", 1) for rank in range(begin, end) if rank not in ranks)


LAYOUT = DeepSpeed(*PLAIN)._replace(
    name="deepspeed",
    title="the Trainer under DeepSpeed",
    signs=((STATES,), (r"global_step[0-9]+", TAG), (r"global_step[0-9]+", r"zero_to_.*\.py")),
    foreign=("fsdp",),
    # DeepSpeed keeps the scheduler in the states; the Trainer writes one only where DeepSpeed does not know it.
    resume=((TAG,), PLAIN.resume[-1]),
    extras=("scheduler.pt", *PLAIN.extras),
    continues=r"global_step[0-9]+/.*",
    # What a resume does without and a loader takes: the gathered weights in the Trainer's own form.
    optional=rf"{PLAIN.optional}|{hf_trainer.GATHERED}",
    archives=rf"{PLAIN.archives}|{STATES}",
    lenient=True,
    witness=rf"{PLAIN.witness}|global_step[0-9]+(/.*)?|zero_to_.*\.py",
    others=r"random_states_[0-9]+\.pkl|training_state(-.*)?\.(pt|pth|bin|json)|(.*/)?[^/]*\.distcp|pytorch_model_fsdp.*"
    r"|(optimizer|scheduler|sampler)\.bin|custom_checkpoint_[0-9]+\.pkl|.*\.ckpt",
    order=("config.json", "model.safetensors", "training_args.bin", TAG, "trainer_state.json"),
)  # fmt: skip
