"""`training_args.bin`: the settings of a training, read from its pickle's opcodes. Nothing is loaded or called.

torch.save of a `TrainingArguments` (transformers `trainer.py::_save`): an archive whose pickle makes an empty instance
and gives it a dict of plain values, enumerations and a few objects.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from ckptkit.formats import pickles
from ckptkit.formats.inert import Global, InertCall
from ckptkit.formats.torch_records import PICKLE, placed
from ckptkit.formats.torch_zip import read


def settings(file: BinaryIO, size: int) -> dict[str, Any]:
    """Given an open file and its size, return {name: value} of the plain ones; {} if it is none. Raises OSError."""
    plain = ((name, _plain(value)) for name, value in content(file, size)[1].items())
    return {name: value for name, value in plain if value is None or isinstance(value, (int, float, str))}


def content(file: BinaryIO, size: int) -> tuple[str, dict[str, Any]]:
    """Given an open file and its size, return (dotted name of the class in it, {name: inert value}). Raises OSError.

    ("", {}) if it is no archive of torch.save with one object in it.
    """
    faults, _, directory = read(file, size)
    record_faults, places = placed(file, directory)
    pickled = next((place for place in places if place.record.name.endswith(PICKLE)), None)
    if faults or record_faults or pickled is None or pickled.record.size > pickles.LARGEST_BYTES:
        return "", {}
    file.seek(pickled.begin)
    value = pickles.scan(file.read(pickled.record.size)).value
    if type(value) is not InertCall or type(value.function) is not Global:
        return "", {}
    return value.function.name, value.state if type(value.state) is dict else {}


def _plain(value: Any) -> Any:
    """Of an enumeration, such as save_strategy, its text: "SaveStrategy('epoch')", or its name from Python 3.11 on."""
    if type(value) is not InertCall or type(value.function) is not Global or type(value.arguments) is not tuple:
        return value
    if value.function.name == "builtins.getattr" and len(value.arguments) == 2:
        name = value.arguments[1]
        return name.lower() if isinstance(name, str) else value
    made_from = value.arguments[0] if len(value.arguments) == 1 else value
    return made_from if value.function.name.startswith("transformers.") else value
