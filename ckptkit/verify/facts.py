"""What is asked of each file of a checkpoint, and what each one told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.formats import HINTS, Fault, safetensors, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptkit.formats.dcp import ShardItem
    from ckptkit.formats.pickles import Scan
    from ckptkit.formats.stream import Pace
    from ckptkit.layouts import Weights
    from ckptkit.model.checkpoint import FileDigest, TrainerState

SHARDED = (".metadata", ".distcp")  # of torch.distributed.checkpoint

TAG, LONGEST_TAG = "latest", 4096  # DeepSpeed's: the directory of the states


class Reading(NamedTuple):
    """How to read whole files: `wanted` says of a path whether to, `digests` which to take of those that are.

    pickles: at `quick` too, follow the pickles of what a resume loads. values: at `full` too, look for NaN and Inf in
    the weights. trust: patterns of names (`pkg.*`) that pickles may name besides what the framework allows.
    """

    wanted: Callable[[str], bool] = lambda _path: True
    digests: tuple[str, ...] = ("crc32",)
    pace: Pace | None = None
    pickles: bool = False
    values: bool = False
    trust: tuple[str, ...] = ()


WHOLE = Reading()


class FileFacts(NamedTuple):
    """What one file tells: its faults, and whatever its format has to say to the others.

    whole: it was read to its end. table: a document, what a `.metadata` promises, or the directory that `latest` names.
    weights_only: nothing in it continues training. pieces: of a shard, where its items lie.
    nonfinite: names of its tensors with NaN or Inf; None: nobody looked.
    """

    faults: tuple[Fault, ...] = ()
    bytes_read: int = 0
    size: int = 0
    whole: bool = False
    digest: FileDigest | None = None
    state: TrainerState | None = None
    header: safetensors.Header | None = None
    records: torch_zip.Directory = torch_zip.NOTHING
    table: Any = None
    pickled: Scan | None = None
    weights_only: bool = False
    pieces: tuple[ShardItem, ...] = ()
    nonfinite: tuple[str, ...] | None = None

    @property
    def damaged(self) -> bool:
        """Whether something is wrong with it, or could not be told."""
        return any(code not in HINTS for code, _ in self.faults)


class CheckpointParts(NamedTuple):
    """The files that a layout asks a checkpoint for, each with what it tells; others are bystanders, and not opened.

    weights: the models that a resume loads, () if there is none. needed: names without which it can't be resumed from
    or loaded; what is wrong with the others is told, and no more.
    """

    facts: dict[str, FileFacts]
    weights: tuple[Weights, ...]
    needed: frozenset[str]
