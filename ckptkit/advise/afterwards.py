"""PURE: a run and its volume as they will be after a plan that was not executed: what a dry run of `recover` judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from ckptkit.advise.preflight import Facts
    from ckptkit.model.decision import PrunePlan
    from ckptkit.model.disk import Volume


def afterwards(facts: Facts, done: PrunePlan, aside: Collection[str] = ()) -> Facts:
    """Given what was measured before a start, return what will be: after a plan, and with checkpoints set aside.

    done: what will be deleted. aside: paths of checkpoints that will have another name.
    """
    gone = {d.checkpoint.path for d in done.deletions} | set(aside)
    return facts._replace(
        volume=volume_after(facts.volume, done),
        plan=facts.plan and plan_after(facts.plan, gone),
    )


def plan_after(plan: PrunePlan, gone: Collection[str]) -> PrunePlan:
    """Given a run's plan and paths that will not be there, return the plan of what stays."""
    stay = tuple(d for d in plan.decisions if d.checkpoint.path not in gone)
    return plan._replace(decisions=stay, leftovers=(), unreached_bytes=0)


def volume_after(volume: Volume, done: PrunePlan) -> Volume:
    """Given a volume, return it with the bytes free that a plan deletes, and an inode for each file."""
    freed = done.expected_freed_bytes
    inodes = sum(len(d.checkpoint.files) + len(d.checkpoint.directories) for d in done.deletions)
    return volume._replace(
        free_bytes=volume.free_bytes + freed,
        available_bytes=volume.available_bytes + freed,
        free_inodes=volume.free_inodes + inodes if volume.total_inodes else 0,
    )
