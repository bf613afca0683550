"""PURE: the bytes of a checkpoint before any was saved, from a description of the training. Nothing is loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.forecast import lora as adapters
from ckptkit.forecast import optimizers
from ckptkit.forecast.models import SAFETENSORS_DTYPES, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.forecast.lora import Lora

# torch/csrc `caffe2/serialize/inline_container.cc`: each record begins at a multiple of 64, four bytes of padding at
# least, and a data descriptor follows it; then a directory of all.
ALIGNMENT = 64

LOCAL_HEADER, PADDING, DESCRIPTOR, DIRECTORY_ENTRY, DIRECTORY_END = 30, 4, 16, 46, 22

ZIP64 = 76  # a second end, where sizes pass 4 GiB

# data.pkl, seen with torch 2.13: 60 to 80 bytes a tensor, and the parameter groups with their numbers.
PICKLED_TENSOR, PICKLED_REST = 74, 500

SMALL_RECORDS = (("/.format_version", 1), ("/.storage_alignment", 2), ("/byteorder", 6))

LAST_RECORDS = (("/version", 2), ("/.data/serialization_id", 40))


def safetensors(shapes: Sequence[Shape]) -> int:
    """Given what a .safetensors file holds, return its bytes: header, padded to 8, and tensors."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for shape in sorted(shapes, key=lambda s: s.name):
        offsets = [at, at + shape.bytes]
        entries[shape.name] = {
            "dtype": SAFETENSORS_DTYPES[shape.dtype], "shape": list(shape.size), "data_offsets": offsets,
        }  # fmt: skip
        at += shape.bytes
    parts = sum((shape.parts - 1) * (len(shape.name) + 70) for shape in shapes)
    header = len(json.dumps(entries, separators=(",", ":"))) + parts
    return 8 + -(-header // 8) * 8 + at


def torch_zip(stem: str, storages: Sequence[int], tensors: int) -> int:
    """Given a file's name without suffix and its storages' bytes, return the bytes of what torch.save writes."""
    pickle = PICKLED_REST + PICKLED_TENSOR * tensors
    data = [(f"/data/{index}", size) for index, size in enumerate(storages)]
    at = directory = 0
    for name, size in (("/data.pkl", pickle), *SMALL_RECORDS, *data, *LAST_RECORDS):
        length = len(stem) + len(name)
        begin = at + LOCAL_HEADER + length + PADDING
        at = -(-begin // ALIGNMENT) * ALIGNMENT + size + DESCRIPTOR
        directory += DIRECTORY_ENTRY + length
    return at + directory + DIRECTORY_END + (ZIP64 if at >= 1 << 32 else 0)


BLOCK = 4096  # of ext4, xfs, btrfs and tmpfs

SHARD_BYTES = 50 * 1000**3  # transformers 5; 4.x: 5 GB

# Seen with transformers 5.24, peft 0.21, torch 2.13.
SCHEDULER, SCALER, ARGUMENTS = 1465, 1383, 5265

RANDOM, RANDOM_CUDA = 14455, 254

STATE, LOG_LINE = 850, 150  # trainer_state.json: without a log, and each line of it

CONFIG, GENERATION_CONFIG = 750, 195

ADAPTER_README, ADAPTER_CONFIG = 5200, 1500

# Of a tokenizer's files, where they are not at hand: an assumption.
WORD = 100


class TrainingSetup(NamedTuple):
    """What is trained, and how it is saved. lora None: the full model. gpus: that one process sees.

    log_lines: in trainer_state.json by then. tokenizer_bytes: of its files, 0 where the Trainer has none.
    """

    shapes: tuple[Shape, ...]
    lora: Lora | None = None
    optimizer: str = "adamw_torch"
    log_lines: int = 0
    tokenizer_bytes: int = 0
    gpus: int = 0
    processes: int = 1
    scaler: bool = False
    only_model: bool = False
    shard_bytes: int = SHARD_BYTES


class SaveSize(NamedTuple):
    """One predicted checkpoint: (name, apparent bytes) of each file."""

    weights: tuple[tuple[str, int], ...]
    optimizer: tuple[tuple[str, int], ...]
    rest: tuple[tuple[str, int], ...]

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """(name, apparent bytes) of each file."""
        return (*self.weights, *self.optimizer, *self.rest)

    @property
    def apparent_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(size for _, size in self.files)

    @property
    def allocated_bytes(self) -> int:
        """As the volume counts it: whole blocks, and one for the directory."""
        return BLOCK + sum(rounded(size) for _, size in self.files)


def save(training: TrainingSetup) -> SaveSize:
    """Given a training, return the save that it will write. Raises UsageError for an optimizer or target unknown."""
    shapes, lora = training.shapes, training.lora
    trained = adapters.trained(shapes, lora) if lora else shapes
    if lora:
        weights: list[tuple[str, int]] = [("adapter_model.safetensors", safetensors(adapters.saved(shapes, lora)))]
    else:
        weights = _model(shapes, training.shard_bytes)
    kept = optimizers.state(trained, optimizers.recipe_of(training.optimizer))
    state = [] if training.only_model else [("optimizer.pt", torch_zip("optimizer", kept.storages, kept.tensors))]
    return SaveSize(tuple(weights), tuple(state), tuple(_rest(training)))


def rounded(size: int) -> int:
    """Given a file's bytes, return what its blocks take."""
    return -(-size // BLOCK) * BLOCK


def _rest(training: TrainingSetup) -> list[tuple[str, int]]:
    lora = training.lora
    files = [("training_args.bin", ARGUMENTS), ("trainer_state.json", STATE + LOG_LINE * training.log_lines)]
    if lora:
        names = sum(len(name) + 8 for name in (*lora.targets, *lora.whole))
        files += [("README.md", ADAPTER_README), ("adapter_config.json", ADAPTER_CONFIG + names)]
    else:
        files += [("config.json", CONFIG), ("generation_config.json", GENERATION_CONFIG)]
    if not training.only_model:
        random = RANDOM + RANDOM_CUDA * training.gpus
        files += [("scheduler.pt", SCHEDULER), *_random(random, training.processes)]
        files += [("scaler.pt", SCALER)] if training.scaler else []
    return [*files, ("tokenizer files", training.tokenizer_bytes)] if training.tokenizer_bytes else files


def _random(size: int, processes: int) -> list[tuple[str, int]]:
    if processes == 1:
        return [("rng_state.pth", size)]
    return [(f"rng_state_{rank}.pth", size) for rank in range(processes)]


def _model(shapes: Sequence[Shape], limit: int) -> list[tuple[str, int]]:
    """model.safetensors, or shards with their index: a tensor that would pass the limit begins the next one."""
    shards = _shards(shapes, limit)
    if len(shards) == 1:
        return [("model.safetensors", safetensors(shards[0]))]
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    files = [(name, safetensors(shard)) for name, shard in zip(names, shards, strict=True)]
    return [*files, ("model.safetensors.index.json", _index(shapes, names[0]))]


def _shards(shapes: Sequence[Shape], limit: int) -> list[list[Shape]]:
    shards: list[list[Shape]] = [[]]
    taken = 0
    for shape in shapes:
        if shards[-1] and taken + shape.bytes > limit:
            shards.append([])
            taken = 0
        shards[-1].append(shape)
        taken += shape.bytes
    return shards


def _index(shapes: Sequence[Shape], file: str) -> int:
    parameters, size = sum(s.numel for s in shapes), sum(s.bytes for s in shapes)
    content = {
        "metadata": {"total_parameters": parameters, "total_size": size},
        "weight_map": {shape.name: file for shape in shapes},
    }
    parts = sum((shape.parts - 1) * (len(shape.name) + len(file) + 15) for shape in shapes)
    return len(json.dumps(content, indent=2)) + 1 + parts


# What a save writes beside tensors and tokenizer: scheduler, RNG state, training_args, trainer_state, configuration,
# and each file's last block. Seen: 40 to 120 KB with transformers 5.17.
SMALL_FILES_BYTES = 256 << 10

# trainer_state.json grows by the log lines since the last save, and zip and safetensors headers round up.
GROWTH = 1.02


def first_save_bytes(weights: int, optimizer: int, tokenizer: int) -> int:
    """Given the bytes of the tensors and files that the first save will write, return the bytes it needs on disk."""
    return int((weights + optimizer + tokenizer) * GROWTH) + SMALL_FILES_BYTES


def next_save_bytes(last: int) -> int:
    """Given the bytes that this training's last save took, return the bytes that the next one needs."""
    return int(last * GROWTH) + SMALL_FILES_BYTES
