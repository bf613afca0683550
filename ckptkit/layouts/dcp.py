"""torch.distributed.checkpoint, and torchtitan's `step-<N>`: shards of all ranks, then one `.metadata`.

Names and order of writing: torch `distributed/checkpoint/filesystem.py`, torchtitan `components/checkpoint.py`, as run
under torch 2.13 and torchtitan 0.3. `.metadata` is written beside as `.metadata.tmp`, fsynced and renamed, last; it
names each shard and tells its exact size. Which ranks there were is known from it alone. A save into a directory that
holds one already writes over the shards while the old `.metadata` stands: torch loads such a mix without a word.
"""

from collections.abc import Iterable

from ckptkit.layouts.hf_trainer import TRAINERS
from ckptkit.layouts.layout import Layout, Model, fits
from ckptkit.model.checkpoint import SAVING, File

SHARD = r"__[0-9]+_[0-9]+\.distcp"
ALL = Model(files=(".metadata",))
INDEXED = Model(
    files=("model.safetensors.index.json",), also=("config.json",),
    shards=r"model-([0-9]{5})-of-([0-9]{5})\.safetensors",
)  # fmt: skip


class Dcp(Layout):
    """Shards have any number; whatever it is, they come before the index that names them."""

    __slots__ = ()

    def written_in_order(self, files: Iterable[File]) -> bool:
        """Whether the files' times are those of a save: a copy's are in any order."""
        times = {file.name: file.modified_at for file in files}
        shards = [at for name, at in times.items() if fits(SHARD, name)]
        return bool(shards) and max(shards) <= times.get(self.marker, 0.0)


LAYOUT = Dcp(
    name="dcp",
    title="torch.distributed.checkpoint",
    starts=("step", "checkpoint-", "epoch"),
    pattern=r"(?:step[-_]|checkpoint-|epoch[-_])(0|[1-9][0-9]{0,17})",
    stem="step-",
    resume_with="torch.distributed.checkpoint.load(state, checkpoint_id={path})",
    clear=False,
    others=TRAINERS,
    signs=((SHARD,), (r"\.metadata(\.tmp)?",)),
    marker=".metadata",
    incomplete=(SAVING,),
    models=(ALL,),
    witness=rf"{SHARD}|\.metadata\.tmp",
)

# torchtitan's export of the last step for the Hugging Face loaders: weights alone.
EXPORT = LAYOUT._replace(
    name="torchtitan-export",
    title="torchtitan",
    starts=("step-",),
    pattern=r"step-(0|[1-9][0-9]{0,17})",
    resume_with="",
    signs=((r"model\.safetensors\.index\.json",), (r"model-[0-9]{5}-of-[0-9]{5}\.safetensors",)),
    marker="model.safetensors.index.json",
    resume=((".metadata",),),
    models=(INDEXED,),
    witness=r"model-[0-9]{5}-of-[0-9]{5}\.safetensors",
)
