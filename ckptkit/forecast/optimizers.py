"""Optimizer state: which tensors an optimizer keeps for a parameter. Names as `TrainingArguments(optim=...)` has them.

Read from torch.optim, transformers' Adafactor, and bitsandbytes 0.50 (`optim/optimizer.py`), and held against real
files (`docs/forecast.md`).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.errors import UsageError
from ckptkit.forecast.models import ITEM_BYTES, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

# bitsandbytes: blockwise scales, 2048 before 0.45. Smaller parameters and embeddings keep 32 bits (the Trainer
# registers the override for each embedding). The table that 8 bits point into is there once a moment.
BLOCK = 256
SMALLEST_8BIT = 4096
QMAP_BYTES = 256 * 4


class OptimizerRecipe(NamedTuple):
    """moments: tensors as large as the parameter; item: bytes of a number in them, 0: as in the parameter."""

    moments: int
    item: int = 0
    step: bool = False
    factored: bool = False


OPTIMIZERS = {
    "adamw_torch": OptimizerRecipe(2, step=True),
    "adamw_torch_fused": OptimizerRecipe(2, step=True),
    "adamw_bnb_8bit": OptimizerRecipe(2, 1),
    "adamw_8bit": OptimizerRecipe(2, 1),
    "paged_adamw_8bit": OptimizerRecipe(2, 1),
    "paged_adamw_32bit": OptimizerRecipe(2, 4),
    "lion_32bit": OptimizerRecipe(1, 4),
    "lion_8bit": OptimizerRecipe(1, 1),
    "paged_lion_32bit": OptimizerRecipe(1, 4),
    "paged_lion_8bit": OptimizerRecipe(1, 1),
    "adafactor": OptimizerRecipe(0, factored=True),
    "sgd": OptimizerRecipe(0),
    "sgd_momentum": OptimizerRecipe(1),  # the Trainer's sgd with optim_args="momentum=0.9"
}
ALIASES = {"adamw": "adamw_torch", "lion": "lion_32bit", "adamw_paged_8bit": "paged_adamw_8bit"}


class OptimizerBytes(NamedTuple):
    """What optimizer.pt holds: the bytes of each storage, and how many tensors point into them."""

    storages: tuple[int, ...]
    tensors: int


def recipe_of(name: str) -> OptimizerRecipe:
    """Given an optimizer's name, return what it keeps. Raises UsageError."""
    recipe = OPTIMIZERS.get(ALIASES.get(name, name))
    if recipe is None:
        raise UsageError(f"optimizer {name!r} is not known here; known: {', '.join((*ALIASES, *OPTIMIZERS))}")
    return recipe


def state(trained: Sequence[Shape], optimizer: OptimizerRecipe) -> OptimizerBytes:
    """Given the parameters that are trained, return the state after the first step."""
    storages = [size for shape in trained for size in _tensor_bytes(shape, optimizer)]
    is_8bit = any(_in_8bit(shape, optimizer) for shape in trained)
    maps = [QMAP_BYTES] * optimizer.moments if is_8bit else []
    return OptimizerBytes((*storages, *maps), len(storages) + len(maps))


def _tensor_bytes(shape: Shape, optimizer: OptimizerRecipe) -> list[int]:
    """Bytes of each tensor kept for one parameter."""
    if optimizer.factored:
        return _factored(shape)
    steps = [4] if optimizer.step else []
    if _in_8bit(shape, optimizer):
        return [shape.numel, ceil(shape.numel / BLOCK) * 4] * optimizer.moments
    item = max(optimizer.item, 4) if optimizer.item else ITEM_BYTES[shape.dtype]
    return steps + [shape.numel * item] * optimizer.moments


def _in_8bit(shape: Shape, optimizer: OptimizerRecipe) -> bool:
    return optimizer.item == 1 and shape.numel >= SMALLEST_8BIT and shape.kind != "embedding"


def _factored(shape: Shape) -> list[int]:
    """Adafactor, in fp32 from its second step on: a row and a column for a matrix, all of a vector, and their RMS."""
    if len(shape.size) < 2:
        return [shape.numel * 4, 4]
    rows, columns = shape.numel // shape.size[-1], shape.numel // shape.size[-2]
    return [rows * 4, columns * 4, 4]
