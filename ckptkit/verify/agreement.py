"""What the files of a checkpoint say of one another: shards and index, adapter and its configuration, optimizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.model.checkpoint import Checkpoint, Finding
from ckptkit.verify.examine import ROUTER

if TYPE_CHECKING:
    from ckptkit.formats.safetensors import Tensor
    from ckptkit.layouts import Layout, Weights
    from ckptkit.verify.facts import CheckpointParts, FileFacts

INDEXES = (".safetensors.index.json", ".bin.index.json")
MOST_TOLD = 20  # shards that an index names and that are not there
WITH_WEIGHTS = ("Transformer", "StaticEmbedding", "Dense", "LSTM")
LORA = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")


def across_findings(checkpoint: Checkpoint, layout: Layout, parts: CheckpointParts) -> Iterator[Finding]:
    """Given a checkpoint and what each file tells, yield where they contradict one another."""
    facts = parts.facts
    for weights in parts.weights:
        if weights.file.endswith(INDEXES) and weights.file in facts and not facts[weights.file].faults:
            yield from _index(weights.file, facts[weights.file].table, facts, {f.name for f in checkpoint.files})
        yield from _adapter_files(weights, facts)
    yield from _config({name: facts[name] for name in facts if name in parts.needed or name == "config.json"})
    yield from _modules(layout, parts)
    yield from _optimizer(layout, parts)
    state = next((s.state for s in facts.values() if s.state), None)
    best = state.best_checkpoint if state else None
    if best and not os.path.lexists(os.path.join(os.path.dirname(checkpoint.path), best)):
        names_best = next(n for n, s in facts.items() if s.state is state)
        yield Finding(names_best, "best-missing", f"names {best} as the best one, which does not exist")


def _adapter_files(weights: Weights, facts: dict[str, FileFacts]) -> Iterator[Finding]:
    for name in weights.needed:
        config = facts.get(name)
        if os.path.basename(name) == "adapter_config.json" and config and not config.faults:
            if not isinstance(config.table, Mapping) or not config.table.get("peft_type"):
                yield Finding(name, "bad-config", "names no peft_type, so nothing can load the adapter")
            if weights.file in facts and (header := facts[weights.file].header):
                yield from _adapter(weights.file, config.table, header.tensors)


def _index(name: str, table: Any, facts: dict[str, FileFacts], names: set[str]) -> Iterator[Finding]:
    """Each tensor in the shard that the index names, and in no other. Shards that hold no header name no tensor."""
    try:
        where = {str(tensor): str(shard) for tensor, shard in table["weight_map"].items()}
    except (KeyError, TypeError, AttributeError):
        yield Finding(name, "truncated", "is not a complete index of shards")
        return
    for shard in sorted(set(where.values()) - names)[:MOST_TOLD]:
        yield Finding(name, "missing", f"names {shard}, which does not exist")
    holders: dict[str, list[str]] = {}
    for shard in sorted(set(where.values()) & facts.keys()):
        header = facts[shard].header
        for tensor in header.tensors if header else ():
            holders.setdefault(tensor.name, []).append(shard)
    yield from _displaced(holders, where)
    headed = {shard for shard in where.values() if shard in facts and facts[shard].header}
    lost = [t for t, shard in where.items() if shard in headed and t not in holders]
    if lost:
        yield Finding(where[lost[0]], "lost-tensor", f"should hold {lost[0]}" + _more(lost))
    stem = name.split(".")[0] + "-"
    for extra in sorted(n for n in names if n.startswith(stem) and n.endswith((".safetensors", ".bin"))):
        if extra not in where.values():
            yield Finding(extra, "extra-shard", "is not named by the index: from an earlier save, never loaded")


def _displaced(holders: Mapping[str, list[str]], where: Mapping[str, str]) -> Iterator[Finding]:
    """One line a shard: a shard that took another's place holds a thousand tensors that are not its own."""
    told_shards: set[str] = set()
    for tensor, shards in holders.items():
        if len(shards) > 1 and shards[1] not in told_shards:
            told_shards.add(shards[1])
            yield Finding(shards[1], "doubled-tensor", f"holds {tensor}, which is also in {shards[0]}")
        elif where.get(tensor) != shards[0] and shards[0] not in told_shards:
            told_shards.add(shards[0])
            yield Finding(shards[0], "misplaced-tensor", f"holds {tensor}, which belongs in {where.get(tensor)}")


def _adapter(name: str, config: Any, tensors: tuple[Tensor, ...]) -> Iterator[Finding]:
    """LoRA pairs of the rank that the configuration says. Other kinds of adapters, and stacked experts, differ."""
    if not isinstance(config, Mapping) or config.get("peft_type") != "LORA" or config.get("target_parameters"):
        return
    pairs = [t for t in tensors if t.name.endswith(LORA)]
    ranks = {r for r in (config.get("r"), *_values(config.get("rank_pattern"))) if isinstance(r, int)}
    for tensor in pairs:
        rank = tensor.shape[0 if tensor.name.endswith(("A.weight", "embedding_A")) else -1] if tensor.shape else None
        if len(tensor.shape) == 2 and rank not in ranks and config.get("r"):
            message = (
                f"{tensor.name} has rank {rank}, {name.replace('model.safetensors', 'config.json')} says {config['r']}"
            )
            yield Finding(name, "adapter-mismatch", message)
            return
    names = {t.name for t in pairs}
    lonely = [n for n in sorted(names) if _other_half(n) not in names]
    if lonely:
        yield Finding(
            name, "adapter-mismatch", f"{lonely[0]} is there, and the other half of it is missing" + _more(lonely)
        )
    if not pairs:
        yield Finding(name, "adapter-mismatch", "holds no LoRA tensor, and its configuration says LoRA")


def _other_half(name: str) -> str:
    for half, other in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        if half in name:
            return name.replace(half, other)
        if other in name:
            return name.replace(other, half)
    return name


def _config(facts: dict[str, FileFacts]) -> Iterator[Finding]:
    """A full model against config.json: the embedding's width, and no layer left out."""
    table = facts["config.json"].table if "config.json" in facts else None
    config = table if isinstance(table, Mapping) else {}
    tensors = {t.name: t for n, s in facts.items() if n.startswith("model") and s.header for t in s.header.tensors}
    width = config.get("hidden_size")
    for name, tensor in tensors.items():
        if (
            name.endswith("model.embed_tokens.weight")
            and len(tensor.shape) == 2
            and width not in (None, tensor.shape[1])
        ):
            yield Finding("config.json", "config-mismatch", f"says hidden_size {width}, {name} has {tensor.shape[1]}")
    count = config.get("num_hidden_layers")
    there = {int(part) for n in tensors for before, part in _numbers(n) if before == "model.layers"}
    lost = sorted(set(range(count)) - there) if isinstance(count, int) and there and count < 10_000 else []
    if lost:
        yield Finding("config.json", "config-mismatch", f"says {count} layers, and layer {lost[0]} has no weights")


def _modules(layout: Layout, parts: CheckpointParts) -> Iterator[Finding]:
    """The modules that sentence-transformers' router names, each with the weights that its kind has."""
    table = parts.facts[ROUTER].table if ROUTER in parts.facts else None
    types = table.get("types") if isinstance(table, Mapping) else None
    files = {weights.file for weights in parts.weights}
    for folder, kind in types.items() if isinstance(types, Mapping) else ():
        heavy = isinstance(kind, str) and kind.rpartition(".")[2] in WITH_WEIGHTS
        if heavy and layout.modules and not any(name.startswith(f"{folder}/") for name in files):
            yield Finding(f"{folder}/model.safetensors", "missing", f"is missing, and {ROUTER} names its module")


def _numbers(name: str) -> Iterator[tuple[str, str]]:
    head, _, rest = name.partition(".layers.")
    number = rest.split(".")[0]
    if number.isdecimal() and len(number) < 10:  # a number that nobody wrote costs time, or is refused
        yield f"{head}.layers", number


def _optimizer(layout: Layout, parts: CheckpointParts) -> Iterator[Finding]:
    """The optimizer's state against what is trained, where all of both was read."""
    facts = parts.facts
    # The Trainer's alone: Accelerate's may be of another model than the first, FSDP's is keyed otherwise.
    name = next((n for options in layout.resume[:1] for n in options if n == "optimizer.pt" and n in facts), None)
    weights = parts.weights[0].file if parts.weights else None
    pickled = facts[name].pickled if name else None
    if name is None or pickled is None or weights not in facts or not facts[weights].header:
        return
    from ckptkit.formats import optimizer

    states, header = optimizer.states(pickled.value), facts[weights].header
    if states and header:
        for code, message in optimizer.faults(states, [t.shape for t in header.tensors]):
            yield Finding(name, code, message)


def _values(table: Any) -> list[Any]:
    return list(table.values()) if isinstance(table, Mapping) else []


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
