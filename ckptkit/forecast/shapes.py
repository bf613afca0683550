"""The noun of a prediction: one parameter of a model, with its shape and the dtype that it is stored in."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

ITEM_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
SAFETENSORS_DTYPES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
DTYPES = {long: short for short, long in SAFETENSORS_DTYPES.items()} | {
    "float32": "fp32", "bfloat16": "bf16", "float16": "fp16",
}  # fmt: skip
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in")
HEADS = ("lm_head", "embed_out")


class Shape(NamedTuple):
    """One parameter. kind: linear, experts, embedding, head, or other; parts: tensors that it is saved as."""

    name: str
    size: tuple[int, ...]
    dtype: str = "fp32"
    kind: str = "other"
    parts: int = 1

    @property
    def numel(self) -> int:
        return prod(self.size)

    @property
    def bytes(self) -> int:
        return self.numel * ITEM_BYTES[self.dtype]

    @property
    def module(self) -> str:
        """The dotted path of the module that holds it."""
        return self.name.rpartition(".")[0]


def kind_of(name: str, size: tuple[int, ...]) -> str:
    """Given a parameter's name and shape as a file has them, return what it is, as LoRA and optimizers see it."""
    module, _, leaf = name.rpartition(".")
    last = module.rpartition(".")[2]
    if leaf != "weight" or len(size) != 2:
        return "other"
    if last in EMBEDDINGS:
        return "embedding"
    return "head" if last in HEADS else "linear"


def parameters(shapes: tuple[Shape, ...]) -> int:
    """Given a model's shapes, return how many numbers it has."""
    return sum(shape.numel for shape in shapes)
