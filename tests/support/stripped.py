"""What a stripped checkpoint has, and has not."""

import os
from pathlib import Path

from ckptkit.ops.read import judge, scan, verify
from ckptkit.ops.verify import write_manifest

CONTINUES = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
MARK = ".ckptkit-stripped-scheduler.pt"  # the smallest of the three


def files(run: str | Path, step: int) -> set[str]:
    return set(os.listdir(f"{run}/checkpoint-{step}"))


def resumable(run: str | Path) -> dict[int, bool]:
    """{step: whether it can be resumed from}, of the intact ones."""
    return {j.checkpoint.step: j.verdict.resumable for j in judge(scan(str(run))) if j.verdict.intact}


def with_manifests(run: str) -> str:
    for one in verify(run, level="full"):
        write_manifest(one)
    return run


def half_strip(run: str, step: int) -> None:
    """As a kill after the first rename leaves it."""
    os.rename(f"{run}/checkpoint-{step}/scheduler.pt", f"{run}/checkpoint-{step}/{MARK}")
