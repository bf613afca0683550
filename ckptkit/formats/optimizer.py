"""optimizer.pt against the weights that it belongs to: what torch.optim saved must fit the tensors that are trained.

The structure is `torch.optim.Optimizer.state_dict`'s: {"state": {parameter id: {name: tensor}}, "param_groups":
[{"params": [ids], ...}]}. Ids count from 0 through all groups. `state` gets an entry at a parameter's first step with
a gradient, so an expert that no token reached has none, and SGD without momentum has none at all.

Which numbers must agree? None, by themselves. An adapter file holds the trained tensors, but more where embeddings or
fixed projections (VeRA, AdaLoRA's ranks) are saved along or half of LoRA is frozen (LoRA-FA), and others where a prompt
encoder is trained and only what it says is saved. A full model's file holds frozen weights and buffers too, tied ones
once, and experts one by one that were trained as one tensor. So a different count is no fault. What holds: where the
counts are the same, the same tensors are meant, so their sizes pair off; one or two that don't may be a frozen weight
and a buffer in its place, but if most don't, the optimizer is that of other weights (another rank, another model).
Sizes are compared by their number of elements, since a file may store a tensor transposed or with other dimensions.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ckptkit.formats import Fault
from ckptkit.formats.inert import Global, InertCall

# States of their parameter's own shape: Adam, AdamW, Lion; SGD, Muon; RMSprop.
FULL = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg"})
PLAIN = FULL | {"step"}  # any other name means a factored, quantised or projected state: passed over
REBUILD = frozenset(
    {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_tensor"}
)

MOST_VALUES = 1_000_000  # parameters, or values of their states
MOST_DIMENSIONS = 64  # torch's own bound

Shape = tuple[int, ...]


class OptimizerFacts(NamedTuple):
    """What an optimizer's state_dict says: how many parameters it has, and each state's shapes by name.

    A shape is None where the value is no plain tensor: a number, a subclass, a quantised one.
    """

    parameters: int
    states: dict[int, dict[str, Shape | None]]


def states(value: Any) -> OptimizerFacts | None:
    """Given the inert value of optimizer.pt's pickle, return what it says; None if it is no torch.optim state_dict."""
    if type(value) is not dict or type(value.get("state")) is not dict or type(value.get("param_groups")) is not list:
        return None
    groups: list[Any] = [group.get("params") if type(group) is dict else None for group in value["param_groups"]]
    if any(type(ids) is not list for ids in groups):
        return None
    if any(type(state) is not dict for state in value["state"].values()):
        return None
    # One list may stand in the pickle a million times: counted before anything is copied.
    if sum(map(len, groups)) > MOST_VALUES or sum(map(len, value["state"].values())) > MOST_VALUES:
        return None
    ids = [id_ for group in groups if group for id_ in group]
    # FSDP and some wrappers name parameters instead of counting them.
    if any(type(id_) is not int for id_ in (*ids, *value["state"])) or len(set(ids)) != len(ids):
        return None
    shapes = {id_: {name: _shape(v) for name, v in state.items()} for id_, state in value["state"].items()}
    return OptimizerFacts(len(ids), shapes)


def _shape(value: Any) -> Shape | None:
    """Given a tensor's inert value, `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, return its size."""
    if type(value) is not InertCall or type(value.function) is not Global or value.function.name not in REBUILD:
        return None
    arguments = value.arguments
    if type(arguments) is not tuple or len(arguments) < 4 or type(arguments[2]) is not tuple:
        return None
    plain = len(arguments[2]) <= MOST_DIMENSIONS and all(type(n) is int and 0 <= n < 1 << 63 for n in arguments[2])
    return arguments[2] if plain else None


def faults(optimizer: OptimizerFacts, trainable_shapes: Sequence[Shape]) -> list[Fault]:
    """Given an optimizer and the shapes of the trained tensors in the weights' file, return what can't be right.

    Says nothing where it is in doubt: see the top of this file.
    """
    beyond = [id_ for id_ in optimizer.states if not 0 <= id_ < optimizer.parameters]
    if beyond:
        return [
            ("optimizer-mismatch", f"holds state of parameter {beyond[0]}, of {optimizer.parameters} in its groups")
        ]
    sizes = _sizes(optimizer.states)
    if not sizes or optimizer.parameters != len(trainable_shapes):
        return []
    alone = sizes - Counter(math.prod(shape) for shape in trainable_shapes)
    if 2 * alone.total() <= sizes.total():
        return []
    return [("optimizer-mismatch", f"{alone.total()} of {sizes.total()} states fit none of the trained tensors' sizes")]


def _sizes(states: Mapping[int, Mapping[str, Shape | None]]) -> Counter[int]:
    """Return how often a state of how many elements is there; empty unless all are plain and of one shape each."""
    sizes: Counter[int] = Counter()
    for state in states.values():
        shapes = {shape for name, shape in state.items() if name in FULL}
        shape = shapes.pop() if len(shapes) == 1 and state.keys() <= PLAIN else None
        if shape is None:
            return Counter()
        sizes[math.prod(shape)] += 1
    return sizes
