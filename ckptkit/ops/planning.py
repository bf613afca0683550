"""plan: a configuration on a volume, sized before it runs, or measured from a run that did."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ckptkit.calling import command
from ckptkit.errors import NoIntactCheckpoint, UsageError
from ckptkit.forecast import budget, checkpoint_size
from ckptkit.forecast.lora import Lora
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.training_plan import Sizing
from ckptkit.ops.describing import Described, by_count, by_path
from ckptkit.ops.looking import judge, scan
from ckptkit.policy import rules
from ckptkit.policy.lineage import in_line
from ckptkit.runs import discover
from ckptkit.system import volumes

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


class Parts(NamedTuple):
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


def predicted(model: str | None, params: str | None, dtype: str | None, how: How, steps: Steps) -> Parts:
    """Given a model's path or its number of parameters, return its last and largest checkpoint. Raises UsageError."""
    found: Described = by_path(model, dtype) if model else by_count(str(params), dtype)
    lines = steps.max_steps // steps.logging_steps
    saved = checkpoint_size.save(
        checkpoint_size.TrainingSetup(found.shapes, how.lora, how.optimizer, lines, found.tokenizer_bytes, 1, how.gpus)
    )
    weights, state = (
        sum(checkpoint_size.rounded(size) for _, size in part) for part in (saved.weights, saved.optimizer)
    )
    return Parts(found.basis, found.approximate, weights, state, saved.allocated_bytes - weights - state)


def measured(run: str) -> Parts:
    """Given a run, return its newest intact checkpoint. Raises NoSuchRun, NoIntactCheckpoint."""
    intact = in_line([j for j in judge(scan(run)) if j.verdict.intact])
    if not intact:
        explain = command("verify", run, "--explain")
        raise NoIntactCheckpoint(f"no intact checkpoint in {run!r} to measure; what is wrong with each: {explain}")
    checkpoint = intact[-1].checkpoint
    weights, state = (_named(checkpoint, stems) for stems in (WEIGHTS, STATE))
    rest = checkpoint.allocated_bytes - weights - state
    return Parts(f"{checkpoint.path}, as it stands", False, weights, state, rest)


def volume_at(path: str, size: int | None, other: int | None, run: str | None = None) -> budget.VolumeSize:
    """Given where it will run, return the volume; size and other stand for what is there. Of `run` nothing counts."""
    if size is not None:
        return budget.VolumeSize(size, other or 0)
    found = volumes.volume(path)
    own = sum(c.allocated_bytes for c in discover.scan(run).checkpoints) if run else 0
    used = found.total_bytes - found.free_bytes - own
    return budget.VolumeSize(found.total_bytes - found.reserved_bytes, used if other is None else other)


def size_up(parts: Parts, volume: budget.VolumeSize, steps: Steps) -> Sizing:
    """Given a checkpoint, a volume and the steps, return what it comes to, and what else would fit."""
    if volume.other_bytes >= volume.total_bytes:
        raise UsageError("the other data alone fill the volume; check --other and --volume")
    size = parts.weights + parts.optimizer + parts.rest
    return Sizing(
        parts.basis, parts.approximate, parts.weights, parts.optimizer, parts.rest,
        volume.total_bytes, volume.other_bytes, -(-steps.max_steps // steps.save_steps),
        budget.setting(volume, size, steps.save_steps, steps.limit, steps.max_steps),
        budget.others(volume, size, steps.save_steps, steps.max_steps),
    )  # fmt: skip


def _named(checkpoint: Checkpoint, stems: tuple[str, ...]) -> int:
    """Bytes of the files whose name begins so: model-00001-of-00002.safetensors is of the stem `model`."""
    named = (f for f in checkpoint.files if re.split(r"[-.]", os.path.basename(f.name))[0] in stems)
    return sum(file.allocated_bytes for file in named)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))
