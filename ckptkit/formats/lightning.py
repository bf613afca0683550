"""A checkpoint of Lightning: what the pickle of its archive tells, followed and never loaded.

torch.save of a dict (lightning `pytorch/trainer/connectors/checkpoint_connector.py::dump_checkpoint`): always
`pytorch-lightning_version`, `global_step`, `epoch`; beside the model's `state_dict`, where the save was not of weights
alone, `optimizer_states`, `lr_schedulers`, `loops` and `callbacks`, each callback's state by a key that begins with the
name of its class. ModelCheckpoint's has `best_model_path`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ckptkit.formats import Fault, pickles
from ckptkit.formats.torch_records import placed_pickle

if TYPE_CHECKING:
    from ckptkit.formats.torch_zip import Directory

VERSION = "pytorch-lightning_version"
CONTINUES = ("optimizer_states", "lr_schedulers", "loops")


class Content(NamedTuple):
    """Of which step it is, whether only weights are in it, and the names of the best ones by each callback."""

    step: int
    weights_only: bool
    best: tuple[str, ...]


def read(file: BinaryIO, directory: Directory) -> tuple[list[Fault], Content | None]:
    """Given an open file and its archive's directory, return (faults, what it tells). Raises OSError."""
    if not len(directory):
        return [("not-recognized", "is not an archive as Lightning writes it")], None
    faults, place = placed_pickle(file, directory)
    if faults or place is None:
        return faults, None
    if place.record.size > pickles.LARGEST_BYTES:
        return [("too-large", f"a pickle of {place.record.size:,} bytes, more than is looked at")], None
    file.seek(place.begin)
    return content(pickles.scan(file.read(place.record.size)))


def content(scan: pickles.Scan) -> tuple[list[Fault], Content | None]:
    """Given what its pickle says, return (faults, what it tells); names that act are judged by who loads it."""
    broken = [fault for fault in scan.faults if fault[0] in ("truncated", "bad-pickle", "too-large")]
    table = scan.value
    if broken or type(table) is not dict or VERSION not in table or type(table.get("global_step")) is not int:
        return broken or [("not-recognized", "is an archive of torch.save, and not as Lightning writes it")], None
    callbacks = table.get("callbacks")
    best = filter(None, map(_best, callbacks.items() if type(callbacks) is dict else ()))
    return [], Content(table["global_step"], any(key not in table for key in CONTINUES), tuple(best))


def _best(callback: tuple[Any, Any]) -> str | None:
    key, state = callback
    path = state.get("best_model_path") if type(state) is dict and str(key).startswith("ModelCheckpoint") else None
    return os.path.basename(path) if type(path) is str and path else None
