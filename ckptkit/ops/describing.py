"""What a person says of a model, as shapes: a directory or file as the Hub has it, or a number of parameters."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.errors import UsageError
from ckptkit.forecast import models
from ckptkit.forecast.checkpoint_size import WORD
from ckptkit.forecast.models import DTYPES, ITEM_BYTES, Shape, kind_of, parameters
from ckptkit.formats import bounded, safetensors
from ckptkit.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG, INDEX, PIPELINE = "config.json", "model.safetensors.index.json", "model_index.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
LARGEST_JSON = 100_000_000
FEWEST, MOST = 10**6, 10**13  # parameters that somebody trains
POWERS = {"M": 10**6, "B": 10**9, "T": 10**12}


class Described(NamedTuple):
    """A model: its shapes, where they come from in words, and the bytes of its tokenizer's files."""

    shapes: tuple[Shape, ...]
    basis: str
    approximate: bool
    tokenizer_bytes: int


def count(text: str) -> int:
    """Given a number of parameters as people say it (8B, 350M, 1.5B), return it. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([MBT])", text, re.ASCII)
    if not match or not FEWEST <= (found := int(float(match[1]) * POWERS[match[2]])) <= MOST:
        raise UsageError(f"--params {text!r}: must be a number of parameters such as 8B, 350M, 1.5B")
    return found


def by_count(text: str, dtype: str | None) -> Described:
    """Given a number of parameters as typed, return a Llama-like model of about as many."""
    shapes = models.guessed_shapes(count(text), dtype or "bf16")
    return Described(shapes, f"a Llama-like model of {parameters(shapes):,} parameters", True, _words(shapes) * WORD)


def by_path(path: str, dtype: str | None) -> Described:
    """Given a directory, config.json, index or .safetensors, return the model. Raises UsageError.

    A configuration of a known family tells the shapes in memory; else the headers of the files do; where those are not
    there, an index that says how large they are.
    """
    folder, file = (path, "") if os.path.isdir(path) else os.path.split(path)
    if not os.path.exists(path):
        raise UsageError(f"--model {path!r} does not exist; give a directory, config.json, or --params 8B")
    _refuse_pipeline(path, folder, file)
    config = _json(os.path.join(folder, CONFIG)) if file in ("", CONFIG, INDEX) else None
    if config is not None and (file == CONFIG or config.get("model_type") in models.FAMILIES):
        return _described(models.shapes(config, dtype or _dtype(config)), os.path.join(folder, CONFIG), folder)
    names = _files(folder, file)
    absent = file in ("", INDEX) and not any(os.path.exists(os.path.join(folder, name)) for name in names)
    if absent and (found := _by_index(os.path.join(folder, INDEX), config or {}, dtype)):
        return found
    shapes = [s for name in names for s in _header(os.path.join(folder, name), dtype)]
    if not shapes:
        raise UsageError(f"--model {path!r} has neither a config.json of a known family nor .safetensors files")
    return _described(tuple(shapes), f"the headers at {path}", folder)


def _dtype(config: Mapping[str, Any], default: str = "fp32") -> str:
    return DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")), default)


def _refuse_pipeline(path: str, folder: str, file: str) -> None:
    """A diffusers pipeline is several models, of which one is trained."""
    index = _json(os.path.join(folder, PIPELINE)) if file in ("", PIPELINE) else None
    if index is None or (not file and os.path.exists(os.path.join(folder, CONFIG))):
        return
    parts = ", ".join(sorted(name for name, what in index.items() if isinstance(what, list) and what[:1] != [None]))
    told = f"is a diffusers pipeline ({PIPELINE}) of {parts or 'nothing'}"
    raise UsageError(f"--model {path!r} {told}; give the directory of the one that is trained, or --params")


def _by_index(path: str, config: Mapping[str, Any], dtype: str | None) -> Described | None:
    """A model of a family unknown here, whose files are not here either: about as many parameters as its index says."""
    metadata = (_json(path) or {}).get("metadata")
    known = metadata if isinstance(metadata, dict) and "quantization_config" not in config else {}
    stored = _dtype(config, "bf16")
    for name, each in (("total_parameters", 1), ("total_size", ITEM_BYTES[stored])):
        told = known.get(name)
        if isinstance(told, (int, float)) and FEWEST * each <= told <= MOST * each:
            shapes = models.guessed_shapes(int(told / each), dtype or stored)
            basis = f"a Llama-like model of {parameters(shapes):,} parameters, as {path} says {int(told / each):,}"
            return Described(shapes, basis, True, _words(shapes) * WORD)
    return None


def _described(shapes: tuple[Shape, ...], basis: str, folder: str) -> Described:
    spoken = sum(os.path.getsize(file) for name in TOKENIZER if os.path.isfile(file := os.path.join(folder, name)))
    return Described(shapes, f"{basis}, {parameters(shapes):,} parameters", False, spoken or _words(shapes) * WORD)


def _words(shapes: tuple[Shape, ...]) -> int:
    return next((shape.size[0] for shape in shapes if shape.kind == "embedding"), 0)


def _files(folder: str, file: str) -> list[str]:
    """Names of the .safetensors files: the one named, the index's, or those of the directory."""
    if file and file != INDEX:
        return [file]
    index = _json(os.path.join(folder, INDEX))
    if index is not None:
        names = index.get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise UsageError(f"{os.path.join(folder, INDEX)} has no weight_map")
        return sorted(set(names.values()))
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None


def _header(path: str, dtype: str | None) -> list[Shape]:
    """The shapes of one file; the header alone is read."""
    try:
        with files.opened(path, follow=True) as file:
            faults, _, header = safetensors.read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        told = "give the directory with config.json, or --params"
        raise UsageError(f"{path}: {error.strerror}; {told}") from None
    if header is None:
        raise UsageError(f"{path}: {faults[0][1]}")
    for tensor in header.tensors:
        if tensor.dtype not in DTYPES:
            raise UsageError(f"{path}: {tensor.name} is {tensor.dtype}: quantized; give the config.json of its base")
    return [Shape(t.name, t.shape, dtype or DTYPES[t.dtype], kind_of(t.name, t.shape)) for t in header.tensors]


def _json(path: str) -> dict[str, Any] | None:
    """The object in a JSON file, None if there is no file. Raises UsageError."""
    try:
        with files.opened(path, follow=True) as file:
            content = bounded.loads(file.read(LARGEST_JSON))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, bounded.TooLargeError) as error:
        raise UsageError(f"{path} is no JSON that can be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no JSON object")
    return content
