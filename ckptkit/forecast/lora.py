"""LoRA: which parameters peft adds to a model, trains and saves (peft 0.21, `get_peft_model_state_dict`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckptkit.errors import UsageError
from ckptkit.forecast.models import Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "base_model.model."
ALL_LINEAR = "all-linear"
# peft saves the base weights too of these, where an adapter targets them.
SAVED_WITH_BASE = ("embed_tokens", "lm_head")


class Lora(NamedTuple):
    """targets: module names, or all-linear; whole: modules that are trained and saved as they are."""

    rank: int
    targets: tuple[str, ...] = (ALL_LINEAR,)
    whole: tuple[str, ...] = ()


def trained(shapes: Sequence[Shape], lora: Lora) -> tuple[Shape, ...]:
    """Given a model and a LoRA, return the parameters that are trained. Raises UsageError for a target not there.

    The adapter's are fp32 whatever the base is (peft casts them); whole modules keep the base's dtype.
    """
    for name in (*lora.targets, *lora.whole):
        if name != ALL_LINEAR and not any(_called(shape, name) for shape in shapes):
            names = sorted({_last(s) for s in shapes if s.kind in ("linear", "embedding", "head")})
            raise UsageError(f"no module of the model is called {name!r}; there are: {', '.join(names)}")
    pairs = [pair for shape in shapes if _targeted(shape, lora) for pair in _pair(shape, lora.rank)]
    if not pairs:
        raise UsageError("no layer of this model takes a LoRA; name its modules with --targets")
    whole = [s._replace(name=PREFIX + s.name) for s in shapes if any(_called(s, name) for name in lora.whole)]
    return (*pairs, *whole)


def saved(shapes: Sequence[Shape], lora: Lora) -> tuple[Shape, ...]:
    """Given a model and a LoRA, return what adapter_model.safetensors holds: embeddings may come along."""
    base = [s for s in shapes if _last(s) in SAVED_WITH_BASE and _last(s) in lora.targets]
    return (*trained(shapes, lora), *(s._replace(name=f"{PREFIX}{s.module}.base_layer.weight") for s in base))


def _targeted(shape: Shape, lora: Lora) -> bool:
    if shape.kind == "other":
        return False
    linear = shape.kind in ("linear", "experts")
    return (ALL_LINEAR in lora.targets and linear) or any(_called(shape, t) for t in lora.targets)


def _pair(shape: Shape, rank: int) -> tuple[Shape, Shape]:
    """Two thin matrices beside a weight; which of its sides is the input does not change their bytes.

    Experts in one tensor: the rank counts for each of the matrices that are fused in it.
    """
    rows, columns = shape.size[-2:]
    rank *= shape.parts
    kind = "lora_embedding" if shape.kind == "embedding" else "lora"
    leaf = "" if shape.kind == "embedding" else ".weight"
    at = PREFIX + shape.module
    return Shape(f"{at}.{kind}_A{leaf}", (rank, columns)), Shape(f"{at}.{kind}_B{leaf}", (rows, rank))


def _called(shape: Shape, name: str) -> bool:
    return shape.module == name or shape.module.endswith("." + name)


def _last(shape: Shape) -> str:
    return shape.module.rpartition(".")[2]
