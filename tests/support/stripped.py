"""What a stripped checkpoint has, and has not."""

import os

from ckptkit import ops

CONTINUES = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
MARK = ".ckptkit-stripped-scheduler.pt"  # the smallest of the three


def files(run, step):
    return set(os.listdir(f"{run}/checkpoint-{step}"))


def resumable(run):
    """{step: whether it can be resumed from}, of the intact ones."""
    return {j.checkpoint.step: j.verdict.resumable for j in ops.judge(ops.scan(run)) if j.verdict.intact}


def with_manifests(run):
    for one in ops.verify(run, level="full"):
        ops.write_manifest(one)
    return run


def half_strip(run, step):
    """As a kill after the first rename leaves it."""
    os.rename(f"{run}/checkpoint-{step}/scheduler.pt", f"{run}/checkpoint-{step}/{MARK}")
