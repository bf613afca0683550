"""Lightning's ModelCheckpoint: one `.ckpt` file a checkpoint, or a directory of that name where it is sharded.

Names and order of writing: lightning `pytorch/callbacks/model_checkpoint.py`, `pytorch/strategies/model_parallel.py`,
`fabric/utilities/cloud_io.py::_atomic_save`, as run under lightning 2.6.6. A file is an archive of torch.save with a
dict: `pytorch-lightning_version`, `global_step`, `state_dict` and, where it can be resumed from, `optimizer_states`,
`lr_schedulers`, `loops`, `callbacks`. It is written elsewhere and moved; across file systems that is a plain copy, so
one that is cut is possible. A directory holds the shards, `.metadata`, and `meta.pt` last. `last.ckpt` is a second copy
of the newest, or a link to it. The name tells the step only where the person's pattern asks for it; the content does.
"""

from collections.abc import Iterable

from ckptkit.layouts.layout import Layout, Model, Weights
from ckptkit.model.checkpoint import SAVING, File

NAMED = r"(?:[^/]*step=([0-9]{1,18})[^/]*|[^/]+)\.ckpt"
SHARDS = Model(files=(".metadata",), beside=("meta.pt",))


class OneFile(Layout):
    """The file is the whole checkpoint; whether it continues training is known from its content alone."""

    __slots__ = ()

    def weights(self, names: frozenset[str]) -> list[tuple[Weights, ...]]:
        """The one file."""
        return [(Weights(name, (), ()),) for name in sorted(names)[:1]]

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """Nothing that a name could tell."""
        return []

    def written_in_order(self, files: Iterable[File]) -> bool:
        """Of one file there is no order that could show a copy: its time counts, which only ever protects one more."""
        return True

    def holds_optimizer(self, names: frozenset[str]) -> bool:
        """As long as nobody read it: it may."""
        return True


FILE = OneFile(
    name="lightning",
    title="Lightning",
    pattern=NAMED,
    stem="",
    ends=(".ckpt",),
    resume_with="trainer.fit(model, ckpt_path={path})",
    single=True,
    archives=r"[^/]+\.ckpt",
    lenient=True,
)

SHARDED = Layout(
    name="lightning-sharded",
    title="Lightning",
    pattern=NAMED,
    stem="",
    ends=(".ckpt",),
    resume_with="trainer.fit(model, ckpt_path={path})",
    signs=((r"meta\.pt",), (r"__[0-9]+_[0-9]+\.distcp",), (r"\.metadata(\.tmp)?",)),
    marker="meta.pt",
    incomplete=(SAVING,),
    models=(SHARDS,),
    archives=r"meta\.pt",
    lenient=True,
    witness=r"__[0-9]+_[0-9]+\.distcp|\.metadata(\.tmp)?",
)
