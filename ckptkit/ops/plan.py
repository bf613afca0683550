"""plan: a configuration on a volume, sized before it runs, or measured from a run that did."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.calling import command
from ckptkit.errors import NoIntactCheckpoint, UsageError
from ckptkit.forecast import budget, checkpoint_size, models
from ckptkit.forecast.checkpoint_size import WORD
from ckptkit.forecast.lora import Lora
from ckptkit.forecast.models import DTYPES, ITEM_BYTES, Shape, kind_of, parameters
from ckptkit.formats import bounded, safetensors
from ckptkit.model.training_plan import TrainingPlan
from ckptkit.ops.read import judge, scan
from ckptkit.policy import rules
from ckptkit.policy.lineage import in_line
from ckptkit.runs import discover
from ckptkit.system import small_files, volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptkit.model.checkpoint import Checkpoint

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
    if not match or not FEWEST <= (number := int(float(match[1]) * POWERS[match[2]])) <= MOST:
        raise UsageError(f"--params {text!r}: must be a number of parameters such as 8B, 350M, 1.5B")
    return number


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
    if absent and (described := _by_index(os.path.join(folder, INDEX), config or {}, dtype)):
        return described
    shapes = [s for name in names for s in _header(os.path.join(folder, name), dtype)]
    if not shapes:
        raise UsageError(f"--model {path!r} has neither a config.json of a known family nor .safetensors files")
    return _described(tuple(shapes), f"the headers at {path}", folder)


def _dtype(config: Mapping[str, object], default: str = "fp32") -> str:
    return DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")), default)


def _refuse_pipeline(path: str, folder: str, file: str) -> None:
    """A diffusers pipeline is several models, of which one is trained."""
    index = _json(os.path.join(folder, PIPELINE)) if file in ("", PIPELINE) else None
    if index is None or (not file and os.path.exists(os.path.join(folder, CONFIG))):
        return
    parts = ", ".join(sorted(name for name, what in index.items() if isinstance(what, list) and what[:1] != [None]))
    why = f"is a diffusers pipeline ({PIPELINE}) of {parts or 'nothing'}"
    raise UsageError(f"--model {path!r} {why}; give the directory of the one that is trained, or --params")


def _by_index(path: str, config: Mapping[str, object], dtype: str | None) -> Described | None:
    """A model of a family unknown here, whose files are not here either: about as many parameters as its index says."""
    metadata = (_json(path) or {}).get("metadata")
    known = metadata if isinstance(metadata, dict) and "quantization_config" not in config else {}
    stored = _dtype(config, "bf16")
    for name, each in (("total_parameters", 1), ("total_size", ITEM_BYTES[stored])):
        size = known.get(name)
        if isinstance(size, (int, float)) and FEWEST * each <= size <= MOST * each:
            shapes = models.guessed_shapes(int(size / each), dtype or stored)
            basis = f"a Llama-like model of {parameters(shapes):,} parameters, as {path} says {int(size / each):,}"
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
        with small_files.opened(path, follow=True) as file:
            faults, _, header = safetensors.read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        fix = "give the directory with config.json, or --params"
        raise UsageError(f"{path}: {error.strerror}; {fix}") from None
    if header is None:
        raise UsageError(f"{path}: {faults[0][1]}")
    for tensor in header.tensors:
        if tensor.dtype not in DTYPES:
            raise UsageError(f"{path}: {tensor.name} is {tensor.dtype}: quantized; give the config.json of its base")
    return [Shape(t.name, t.shape, dtype or DTYPES[t.dtype], kind_of(t.name, t.shape)) for t in header.tensors]


def _json(path: str) -> dict[str, Any] | None:
    """The object in a JSON file, None if there is no file. Raises UsageError."""
    try:
        with small_files.opened(path, follow=True) as file:
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


WEIGHTS = ("model", "adapter_model", "pytorch_model")

STATE = ("optimizer",)


class Steps(NamedTuple):
    """How long it trains and how often it saves and logs, in steps; limit: save_total_limit, keep_last."""

    max_steps: int
    save_steps: int = 500
    limit: int = 2
    logging_steps: int = 10


class How(NamedTuple):
    """What is trained of a model, on how many GPUs, a process each. lora None: all of it."""

    lora: Lora | None
    optimizer: str
    gpus: int


class CheckpointBytes(NamedTuple):
    """One checkpoint, in bytes as the volume counts them, and where that comes from."""

    basis: str
    approximate: bool
    weights: int
    optimizer: int
    rest: int


def how(rank: int | None, targets: str, whole: str, optimizer: str, gpus: int) -> How:
    """Given what was typed, return what is trained. rank None: the full model; targets, whole: names with commas."""
    lora = Lora(rank, _names(targets), _names(whole)) if rank else None
    return How(lora, optimizer, gpus)


def typed_size(flag: str, text: str | None) -> int | None:
    """Given a size as typed or None, return bytes or None. 0 is one. Raises UsageError."""
    try:
        return None if text is None else 0 if text == "0" else rules.size(text)
    except ValueError as error:
        raise UsageError(f"--{flag} {text!r}: {error}") from None


def predicted(model: str | None, params: str | None, dtype: str | None, how: How, steps: Steps) -> CheckpointBytes:
    """Given a model's path or its number of parameters, return its last and largest checkpoint. Raises UsageError."""
    described: Described = by_path(model, dtype) if model else by_count(str(params), dtype)
    lines = steps.max_steps // steps.logging_steps
    setup = checkpoint_size.TrainingSetup(
        described.shapes, how.lora, how.optimizer, lines, described.tokenizer_bytes, 1, how.gpus
    )
    saved = checkpoint_size.save(setup)
    weights, state = (
        sum(checkpoint_size.rounded(size) for _, size in part) for part in (saved.weights, saved.optimizer)
    )
    rest = saved.allocated_bytes - weights - state
    return CheckpointBytes(described.basis, described.approximate, weights, state, rest)


def measured(run: str) -> CheckpointBytes:
    """Given a run, return its newest intact checkpoint. Raises NoSuchRun, NoIntactCheckpoint."""
    intact = in_line([j for j in judge(scan(run)) if j.verdict.intact])
    if not intact:
        explain = command("verify", run, "--explain")
        raise NoIntactCheckpoint(f"no intact checkpoint in {run!r} to measure; what is wrong with each: {explain}")
    checkpoint = intact[-1].checkpoint
    weights, state = (_named(checkpoint, stems) for stems in (WEIGHTS, STATE))
    rest = checkpoint.allocated_bytes - weights - state
    return CheckpointBytes(f"{checkpoint.path}, as it stands", False, weights, state, rest)


def volume_at(path: str, size: int | None, other: int | None, run: str | None = None) -> budget.VolumeSize:
    """Given where it will run, return the volume; size and other stand for what is there. Of `run` nothing counts."""
    if size is not None:
        return budget.VolumeSize(size, other or 0)
    volume = volumes.volume(path)
    own = sum(c.allocated_bytes for c in discover.scan(run).checkpoints) if run else 0
    used = volume.total_bytes - volume.free_bytes - own
    return budget.VolumeSize(volume.total_bytes - volume.reserved_bytes, used if other is None else other)


def size_up(parts: CheckpointBytes, volume: budget.VolumeSize, steps: Steps) -> TrainingPlan:
    """Given a checkpoint, a volume and the steps, return what it comes to, and what else would fit."""
    if volume.other_bytes >= volume.total_bytes:
        raise UsageError("the other data alone fill the volume; check --other and --volume")
    size = parts.weights + parts.optimizer + parts.rest
    return TrainingPlan(
        parts.basis, parts.approximate, parts.weights, parts.optimizer, parts.rest,
        volume.total_bytes, volume.other_bytes, -(-steps.max_steps // steps.save_steps),
        budget.setting(volume, size, steps.save_steps, steps.limit, steps.max_steps),
        budget.others(volume, size, steps.save_steps, steps.max_steps),
    )  # fmt: skip


def _named(checkpoint: Checkpoint, stems: tuple[str, ...]) -> int:
    """Bytes of the files whose name begins so: model-00001-of-00002.safetensors is of the stem `model`."""
    matching = (f for f in checkpoint.files if re.split(r"[-.]", os.path.basename(f.name))[0] in stems)
    return sum(file.allocated_bytes for file in matching)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))
