"""What an index of shards promises and what lies there: `.metadata` of torch.distributed.checkpoint, DeepSpeed's tag.

`.metadata` tells each shard's exact size, so a shard that is cut, missing or of another model is known without reading
it. One of another save with the same shapes has the same size: then only time tells. A save into a directory that
holds one already writes over the shards in place while the old `.metadata` stands, and torch loads that mix silently.
Times prove nothing: such a one is `unknown`, so nobody resumes from it, and nobody deletes it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ckptkit.model.checkpoint import Checkpoint, Finding
from ckptkit.system import small_files
from ckptkit.verify.facts import SHARDED, TAG, CheckpointParts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptkit.formats.dcp import Shards
    from ckptkit.layouts import Layout

MOST_TOLD = 20  # of a thousand ranks whose disk was full
SAME_MOMENT = 1.0  # seconds: a file that was copied with its times is older than it is here by more


def shard_findings(checkpoint: Checkpoint, layout: Layout, parts: CheckpointParts) -> Iterator[Finding]:
    """Given a checkpoint and what each file tells, yield where shards are not what their index promises."""
    sizes = {file.name: file.apparent_bytes for file in checkpoint.files}
    for name, facts in parts.facts.items():
        if name.endswith(SHARDED[0]) and facts.table is not None:
            yield from _sizes(name, facts.table, sizes)
            folder = name[: -len(SHARDED[0])]
            yield from _written_over(checkpoint, name, [folder + shard for shard in facts.table.items])
            if layout.marker in sizes and name == SHARDED[0] != layout.marker:
                yield from _written_over(checkpoint, layout.marker, list(facts.table.items))
        elif name == TAG and isinstance(facts.table, str) and (layout.state or facts.table in checkpoint.directories):
            yield from _tag(facts.table, checkpoint.directories, sizes)


def _sizes(index: str, shards: Shards, sizes: dict[str, int]) -> Iterator[Finding]:
    folder = index[: -len(SHARDED[0])]
    differing = [name for name in shards.items if sizes.get(folder + name) != shards.size(name)]
    for name in differing[:MOST_TOLD]:
        size, promised = sizes.get(folder + name), shards.size(name)
        if size is None:
            yield Finding(folder + name, "missing", f"is missing, and {index} says that it should be there")
        elif size < promised:
            yield Finding(folder + name, "truncated", f"is cut off: {size:,} bytes, {index} says {promised:,}")
        else:
            yield Finding(folder + name, "of-another-save", f"has {size:,} bytes, {index} says {promised:,}")


def _written_over(checkpoint: Checkpoint, index: str, shards: Sequence[str]) -> Iterator[Finding]:
    """Shards that were written again after the index that names them, where the file system shows it."""
    times = {file.name: file.modified_at for file in checkpoint.files}
    later = [name for name in shards if times.get(name, 0.0) > times[index]]
    born = small_files.born_at(os.path.join(checkpoint.path, index)) if later else None
    for name in later[:MOST_TOLD]:
        shard_born = small_files.born_at(os.path.join(checkpoint.path, name))
        if born and shard_born and _again(times[index], born, times[name], shard_born):
            message = (
                f"was written after {index}: a save into this directory broke off, or somebody copied or touched it"
            )
            yield Finding(name, "perhaps-mixed", message)


def _again(index_at: float, index_born: float, shard_at: float, shard_born: float) -> bool:
    """Whether a shard that is newer than its index was written over, and is not merely a copy that came later.

    Written here: the shard was born before the index came to its end, and changed after that. Copied here with its
    times: the index is older than its own file, and the shard, which should be too, is not. A copy without times has
    files that are all as young as they are new.
    """
    if index_at < index_born - SAME_MOMENT:
        return shard_at >= shard_born - SAME_MOMENT
    return shard_born < index_at < shard_at and index_at - index_born < SAME_MOMENT


def _tag(tag: str, directories: tuple[str, ...], sizes: dict[str, int]) -> Iterator[Finding]:
    """`latest` in a checkpoint of DeepSpeed: the directory that it names is the one that is loaded."""
    if "/" in tag or tag in ("", ".", ".."):
        yield Finding(TAG, "bad-tag", f"names {tag[:99]!r}, which is not a directory of this checkpoint")
    elif tag not in directories:
        yield Finding(tag, "missing", f"is missing, and {TAG} says that the states are in it")
    elif not any(name.startswith(f"{tag}/") and name.endswith("_model_states.pt") for name in sizes):
        yield Finding(f"{tag}/mp_rank_00_model_states.pt", "missing", "is missing, and no resume works without it")
