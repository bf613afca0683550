"""Values → what json.dumps takes, by the contract `ckptkit.<verb>/1`: bytes as integers, times ISO 8601 UTC."""

from collections.abc import Iterable
from typing import Any

from ckptkit.model.advice import Flag
from ckptkit.model.checkpoint import Checkpoint, Judged, Verdict
from ckptkit.model.decision import Decision, Failure, Outcome, PrunePlan
from ckptkit.model.disk import Eaters, Training, Volume
from ckptkit.model.events import Alert
from ckptkit.model.reason import Reason
from ckptkit.model.report import Box, Trail
from ckptkit.render.outlook import of_trail

Document = dict[str, Any]


def iso(moment: float) -> str:
    """Given seconds since the epoch, return ISO 8601 in UTC."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def pruned(plan: PrunePlan, outcome: Outcome | None, stopped: str = "") -> Document:
    """One run of `ckptkit.prune/1`. outcome: None in a dry run. stopped: what waits for a yes, in a sentence, or ""."""
    return {
        "run": plan.run,
        "dry_run": outcome is None,
        "decisions": [decision(d) for d in plan.decisions],
        "leftovers": [{"path": left.path, "allocated_bytes": left.allocated_bytes} for left in plan.leftovers],
        "expected_freed_bytes": plan.expected_freed_bytes,
        "freed_bytes": outcome.freed_bytes if outcome else 0,
        "unreached_bytes": plan.unreached_bytes,
        "failures": [failure(f) for f in outcome.failures] if outcome else [],
        "notes": list(outcome.notes) if outcome else [stopped] if stopped else [],
        "stopped": stopped,
    }


def decision(decision: Decision) -> Document:
    """One checkpoint of a plan."""
    checkpoint, verdict, action, reasons = decision
    return {
        "name": checkpoint.name,
        "path": checkpoint.path,
        "step": checkpoint.step,
        "verdict": verdict.state,
        "action": action,
        "reasons": [reason._asdict() for reason in reasons],
        "allocated_bytes": checkpoint.allocated_bytes,
    }


def considered(checkpoint: Checkpoint, verdict: Verdict, action: str, reasons: Iterable[Reason]) -> Document:
    """What `strip` and `move` say of each checkpoint alike: which one, how it is, what becomes of it, and why."""
    return {
        "name": checkpoint.name,
        "path": checkpoint.path,
        "step": checkpoint.step,
        "verdict": verdict.state,
        "resumable": verdict.resumable,
        "action": action,
        "reasons": [reason._asdict() for reason in reasons],
    }


def failure(failure: Failure) -> Document:
    """One thing that could not be removed."""
    return failure._asdict()


def verified(judged: Judged) -> Document:
    """One checkpoint of `ckptkit.verify/1`."""
    checkpoint, verdict = judged
    place = {"path": checkpoint.path, "name": checkpoint.name, "step": checkpoint.step}
    size_and_age = {"allocated_bytes": checkpoint.allocated_bytes, "modified_at": iso(checkpoint.modified_at)}
    return {**place, **size_and_age, **judgement(verdict)}


def judgement(verdict: Verdict) -> Document:
    """A verdict, without whose."""
    return {
        "verdict": verdict.state,
        "resumable": verdict.resumable,
        "refused": verdict.refused,
        "weights_intact": verdict.weights_intact,
        "level": verdict.level,
        "findings": [{"file": f.file, "code": f.code, "message": f.message} for f in verdict.findings],
        "bytes_read": verdict.bytes_read,
        "files_unread": verdict.files_unread,
        "digests": {name: dict(digest.digests) for name, digest in verdict.digests if digest.digests},
    }


def alert(alert: Alert) -> Document:
    """One alert of `ckptkit.monitor/1`, and what a webhook or a command is given."""
    state = "raised" if alert.rung else "cleared"
    return {"schema": "ckptkit.alert/1", **alert._asdict(), "at": iso(alert.at), "state": state}


def reported(box: Box) -> Document:
    """`ckptkit.diskreport/1`."""
    return {
        "volumes": [volume(v) for v in box.volumes],
        "quotas": [quota._asdict() for quota in box.quotas],
        "runs": [reported_run(plan) for plan in box.plans],
        "forecast": [forecast(trail, box.at) for trail in box.trails if trail.outlook],
        "flags": [flag(raised) for raised in box.flags],
        "errors": [{"run": run, "message": fault} for run, fault in box.errors],
        "eaters": [_eaters(eaters) for eaters in box.eaters],
        "caches": [cache._asdict() for cache in box.caches],
        "open_deleted": [file._asdict() for file in box.open_deleted],
        "processes": [_training(training) for training in box.processes],
    }


def _eaters(eaters: Eaters) -> Document:
    listed = {name: [eater._asdict() for eater in getattr(eaters, name)] for name in ("directories", "files")}
    return eaters._asdict() | listed


def _training(training: Training) -> Document:
    times = {name: getattr(training, name) for name in ("started_at", "log_written_at", "guarded_since")}
    return training._asdict() | {name: None if at is None else iso(at) for name, at in times.items()}


def forecast(trail: Trail, now: float) -> Document:
    """When a run's volume is full, of one run of `ckptkit.diskreport/1`. now: seconds since the epoch."""
    outlook = trail.outlook
    if outlook is None:
        return {}
    full_at = None if outlook.full_at is None else iso(outlook.full_at)
    place = {"run": trail.run, "mount": trail.mount, "message": of_trail(trail, now)}
    return place | outlook._asdict() | {"full_at": full_at}


def reported_run(plan: PrunePlan) -> Document:
    """One run of `ckptkit.diskreport/1`: each checkpoint with its size, age and verdict, and what prune would do."""
    checkpoints = [
        decision(d)
        | {"apparent_bytes": d.checkpoint.apparent_bytes, "modified_at": iso(d.checkpoint.modified_at)}
        | {"resumable": d.verdict.resumable, "findings": judgement(d.verdict)["findings"]}
        for d in plan.decisions
    ]
    return {"run": plan.run, "checkpoints": checkpoints, "expected_freed_bytes": plan.expected_freed_bytes}


def volume(volume: Volume) -> Document:
    """One volume of `ckptkit.diskreport/1`."""
    return volume._asdict() | {
        "reserved_bytes": volume.reserved_bytes,
        "used_fraction": round(volume.used_fraction, 4),
        "inodes_used_fraction": round(volume.inodes_used_fraction, 4),
    }


def flag(flag: Flag) -> Document:
    """One flag of `ckptkit.diskreport/1`."""
    return flag._asdict()
