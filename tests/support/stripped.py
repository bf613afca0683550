"""What a stripped checkpoint has, and has not."""

import os

from ckptkit.ops.read import judge, scan, verify
from ckptkit.ops.verify import write_manifest

CONTINUES = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
MARK = ".ckptkit-stripped-scheduler.pt"  # the smallest of the three


def files(run, step):
    return set(os.listdir(f"{run}/checkpoint-{step}"))


def resumable(run):
    """{step: whether it can be resumed from}, of the intact ones."""
    return {j.checkpoint.step: j.verdict.resumable for j in judge(scan(run)) if j.verdict.intact}


def with_manifests(run):
    for one in verify(run, level="full"):
        write_manifest(one)
    return run


def half_strip(run, step):
    """As a kill after the first rename leaves it."""
    os.rename(f"{run}/checkpoint-{step}/scheduler.pt", f"{run}/checkpoint-{step}/{MARK}")
