"""What is written into the history after it happened, and what is read from it."""

import os
import time
from collections.abc import Iterator, Sequence

from ckptkit import layouts
from ckptkit.errors import CkptkitError
from ckptkit.history import records
from ckptkit.history.remembered import who
from ckptkit.model.checkpoint import ASIDE, Judged
from ckptkit.model.decision import Outcome, PrunePlan, Strip, StripPlan
from ckptkit.model.disk import Volume
from ckptkit.model.events import Damage, Deletion, Sample, Save, SaveKind
from ckptkit.model.reason import Reason, reason_words
from ckptkit.runs import discover
from ckptkit.system import volumes

LEFT = Reason("leftover", "left by a prune that was killed")


def of_volume(volume: Volume, now: float) -> Sample:
    """Given a volume, return it as a sample of itself, of no run."""
    used = volume.total_bytes - volume.free_bytes
    return Sample(now, volume.mount, volume.total_bytes, used, volume.available_bytes)


def of_run(plan: PrunePlan, volume: Volume, now: float) -> Sample:
    """Given a run's plan, which names a checkpoint at least, and its volume, return the run as a sample."""
    checkpoints = [d.checkpoint for d in plan.decisions]
    return of_volume(volume, now)._replace(
        run=plan.run,
        step=max(c.step for c in checkpoints),
        checkpoints=len(checkpoints),
        checkpoint_bytes=sum(c.allocated_bytes for c in checkpoints),
    )


def record_deletions(plan: PrunePlan, done: Outcome, by: str, now: float | None = None) -> str:
    """Given an executed plan, keep what is gone because of it. Returns "" or, once a process, why that is lost."""
    at = time.time() if now is None else now
    gone = list(_gone(plan, done, (at, *who(by))))
    return records.record(*gone) if gone else ""


def record_strips(plan: StripPlan, done: Outcome, by: str, now: float | None = None) -> str:
    """Given an executed plan of strips, keep what is gone of which checkpoint. Returns as above."""
    at = time.time() if now is None else now
    signature, stripped = (at, *who(by)), frozenset(done.deleted)
    gone = [
        Deletion(*signature, plan.run, d.checkpoint.name, d.checkpoint.step, (_stripped(d),), d.part.allocated_bytes,
                 done.freed_bytes)
        for d in plan.strips
        if d.part and d.checkpoint.path in stripped
    ]  # fmt: skip
    return records.record(*gone) if gone else ""


def _stripped(decision: Strip) -> Reason:
    return Reason("stripped", f"stripped to its weights: {reason_words(decision.reasons)}")


def _gone(plan: PrunePlan, done: Outcome, signature: tuple[float, str, str, str, int]) -> Iterator[Deletion]:
    deleted = frozenset(done.deleted)
    for checkpoint, _, _, reasons in plan.deletions:
        if checkpoint.path in deleted:
            what = (checkpoint.name, checkpoint.step, reasons, checkpoint.allocated_bytes)
            yield Deletion(*signature, plan.run, *what, done.freed_bytes)
    for left in plan.leftovers:
        # One of a killed strip is a file's, and stands for others beside it.
        top = os.path.dirname(left.path) if "/" in left.name else left.path
        if not any((failure.path + "/").startswith(top + "/") for failure in done.failures):
            name = left.name.removeprefix(ASIDE).split("/")[0]
            what = (name, layouts.named(name)[1], (LEFT,), left.allocated_bytes)
            yield Deletion(*signature, plan.run, *what, done.freed_bytes)


def record_save(path: str, kind: SaveKind, seconds: float) -> str:
    """Given a checkpoint that was just written, keep that. kind: save or weights-only. Returns as above."""
    try:
        checkpoint = discover.checkpoint(path)
    except (CkptkitError, OSError):
        return ""
    run, size = os.path.dirname(checkpoint.path), checkpoint.allocated_bytes
    return records.record(Save(time.time(), run, checkpoint.name, checkpoint.step, size, kind, seconds))


def record_damage(*judged: Judged, now: float | None = None) -> str:
    """Given verdicts, keep those that say incomplete or corrupt. Returns as above."""
    at = time.time() if now is None else now
    damage = [_damage(each, at) for each in judged if each.verdict.damaged]
    return records.record(*damage) if damage else ""


def _damage(judged: Judged, at: float) -> Damage:
    checkpoint, verdict = judged
    code, message = (verdict.findings[0].code, verdict.findings[0].message) if verdict.findings else ("", "")
    run = os.path.dirname(checkpoint.path)
    return Damage(at, run, checkpoint.name, checkpoint.step, verdict.state, verdict.level, code, message)


def samples(paths: Sequence[str], since: float) -> tuple[list[Sample], str]:
    """Given directories, return samples of their volumes and the runs at or below them, oldest first; and the fault."""
    tops = [os.path.realpath(path) for path in paths]
    mounts = {volumes.volume(top).mount for top in tops if os.path.exists(top)}
    recorded, fault = records.recall(Sample, since)
    return [s for s in recorded if (s.mount in mounts if not s.run else _below(s.run, tops))], fault


def deletions(paths: Sequence[str], since: float) -> tuple[list[Deletion], str]:
    """Given directories that may be gone by now, return what was deleted at or below them; and the fault."""
    recorded, fault = records.recall(Deletion, since)
    tops = [os.path.realpath(path) for path in paths]
    return [gone for gone in recorded if _below(gone.run, tops)], fault


def _below(path: str, tops: Sequence[str]) -> bool:
    return any((path + "/").startswith(top.rstrip("/") + "/") for top in tops)
