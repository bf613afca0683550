"""What in a run stands for one of its checkpoints: a link, or a file that names it. It never points at a deleted one.

`last-checkpoint` of ms-swift and `last.ckpt` of Lightning with `save_last="link"` are links; DeepSpeed, verl and
Megatron write a name or a number into a file beside the checkpoints (deepspeed `runtime/engine.py`, verl
`utils/checkpoint`, megatron `training/checkpointing.py`).
"""

import os
import re

from ckptkit.model.checkpoint import Run
from ckptkit.model.reason import Reason
from ckptkit.system import small_files

FILES = ("latest", "latest_checkpointed_iteration.txt")
LARGEST_BYTES = 4096


def named(run: Run) -> dict[str, Reason]:
    """Given a run, return {checkpoint's name: why it stays}, of each that something in the run stands for.

    What names nothing that is there, or anything outside of the run, says nothing here (see `dangling`).
    """
    names = {checkpoint.name for checkpoint in run.checkpoints}
    reasons = {target: f"{link} points at it" for link, target in sorted(run.links.items()) if target in names}
    for file, text in _texts(run.path):
        reasons |= {c.name: f"{file} names it" for c in run.checkpoints if _is_meant(text, run.path, c.name, c.step)}
    return {name: Reason("tracked", why) for name, why in reasons.items()}


def dangling(run: Run) -> dict[str, str]:
    """Given a run, return {tracker's name: what it names} of those that name no checkpoint that is there."""
    names = {checkpoint.name for checkpoint in run.checkpoints}
    lost = {
        file: text
        for file, text in _texts(run.path)
        if not any(_is_meant(text, run.path, c.name, c.step) for c in run.checkpoints)
    }
    gone = {
        link: to
        for link, to in run.links.items()
        if to not in names and not os.path.lexists(os.path.join(run.path, to))
    }
    return lost | gone


def _texts(run: str) -> list[tuple[str, str]]:
    texts = []
    for name in FILES:
        try:
            text = (
                small_files.content(os.path.join(run, name), largest=LARGEST_BYTES).decode("utf-8", "replace").strip()
            )
        except OSError:  # not there, a link, a directory: nothing of a framework's
            continue
        texts += [(name, text)] if text else []
    return texts


def _is_meant(text: str, run: str, name: str, step: int) -> bool:
    """Whether a tracker's text is a checkpoint's step, or its path from the run, from above it, or from the root."""
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return int(text) == step
    paths = (os.path.normpath(os.path.join(place, text)) for place in (run, os.path.dirname(run)))
    return os.path.join(run, name) in paths
