"""What diskreport found → what json.dumps takes: `ckptkit.diskreport/1`."""

from ckptkit.model.advice import Flag
from ckptkit.model.disk import Eaters, Training, Volume
from ckptkit.model.plan import Plan
from ckptkit.model.report import Box, Trail
from ckptkit.report import outlook
from ckptkit.report.documents import Document, decision, iso, judgement


def reported(box: Box) -> Document:
    """`ckptkit.diskreport/1`."""
    return {
        "volumes": [volume(v) for v in box.volumes],
        "quotas": [quota._asdict() for quota in box.quotas],
        "runs": [reported_run(made) for made in box.plans],
        "forecast": [forecast(trail, box.at) for trail in box.trails if trail.outlook],
        "flags": [flag(raised) for raised in box.flags],
        "errors": [{"run": run, "message": fault} for run, fault in box.errors],
        "eaters": [_eaters(eaters) for eaters in box.eaters],
        "caches": [cache._asdict() for cache in box.caches],
        "open_deleted": [file._asdict() for file in box.open_deleted],
        "processes": [_training(training) for training in box.processes],
    }


def _eaters(found: Eaters) -> Document:
    listed = {name: [eater._asdict() for eater in getattr(found, name)] for name in ("directories", "files")}
    return found._asdict() | listed


def _training(found: Training) -> Document:
    times = {name: getattr(found, name) for name in ("started_at", "log_written_at", "guarded_since")}
    return found._asdict() | {name: None if at is None else iso(at) for name, at in times.items()}


def forecast(trail: Trail, now: float) -> Document:
    """When a run's volume is full, of one run of `ckptkit.diskreport/1`."""
    seen = trail.outlook
    if seen is None:
        return {}
    full_at = None if seen.full_at is None else iso(seen.full_at)
    place = {"run": trail.run, "mount": trail.mount, "message": outlook.of_trail(trail, now)}
    return place | seen._asdict() | {"full_at": full_at}


def reported_run(made: Plan) -> Document:
    """One run of `ckptkit.diskreport/1`: each checkpoint with its size, age and verdict, and what prune would do."""
    checkpoints = [
        decision(d)
        | {"apparent_bytes": d.checkpoint.apparent_bytes, "modified_at": iso(d.checkpoint.modified_at)}
        | {"resumable": d.verdict.resumable, "findings": judgement(d.verdict)["findings"]}
        for d in made.decisions
    ]
    return {"run": made.run, "checkpoints": checkpoints, "expected_freed_bytes": made.expected_freed_bytes}


def volume(found: Volume) -> Document:
    """One volume of `ckptkit.diskreport/1`."""
    return found._asdict() | {
        "reserved_bytes": found.reserved_bytes,
        "used_fraction": round(found.used_fraction, 4),
        "inodes_used_fraction": round(found.inodes_used_fraction, 4),
    }


def flag(raised: Flag) -> Document:
    """One flag of `ckptkit.diskreport/1`."""
    return raised._asdict()
