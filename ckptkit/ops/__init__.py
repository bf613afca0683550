"""The verbs, composed: discover → verify → decide → act. The only room that calls the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptkit.model.plan import Plan
from ckptkit.ops.latest import Latest, PassedOver, latest
from ckptkit.ops.looking import (
    bytes_at,
    diverged,
    find_runs,
    going_on,
    judge,
    plan,
    rules_for,
    rules_where,
    runs_at,
    scan,
    trust_for,
    unnamed,
    unread,
    verify,
)
from ckptkit.ops.pruning import Pruned, discard, is_news, prune
from ckptkit.verify.verdict import QUIET_SECONDS

if TYPE_CHECKING:
    from ckptkit.model.plan import Moved, MovePlan, StripPlan
    from ckptkit.ops.crash_log import Diagnosis, diagnosed
    from ckptkit.ops.discarding import discard_named
    from ckptkit.ops.foreseeing import foreseen
    from ckptkit.ops.monitoring import Monitor, Telling, duration, monitor, require_directory, sinks, watch
    from ckptkit.ops.moving import destination, move
    from ckptkit.ops.pinning import pin, unpin
    from ckptkit.ops.placing import DRAFT, put_in_place, remove_draft, weights_findings
    from ckptkit.ops.preflighting import configured, preflight
    from ckptkit.ops.pruning import in_words, rest
    from ckptkit.ops.recalling import deletions, samples
    from ckptkit.ops.recording import record_damage, record_save
    from ckptkit.ops.recovering import Recovered, StillWritten, Young, recover
    from ckptkit.ops.removing import settled_available_bytes
    from ckptkit.ops.reporting import Report, report
    from ckptkit.ops.scheduling import installed_root, put_in, root_of, runner, schedule, scheduled, unschedule
    from ckptkit.ops.scripting import is_script, scripts
    from ckptkit.ops.setting_aside import set_aside
    from ckptkit.ops.shown import Checks, Verified
    from ckptkit.ops.stripping import Stripped, keep_resumable, strip
    from ckptkit.ops.verifying import Budget, budget, is_sound, reading, standing_still, write_manifest, yield_to_others
    from ckptkit.ops.watching import Tick, Watch, conditions

ROOMS = {
    "settled_available_bytes": "removing",
    "discard_named": "discarding",
    "foreseen": "foreseeing",
    "configured": "preflighting",
    "preflight": "preflighting",
    "Diagnosis": "crash_log",
    "diagnosed": "crash_log",
    "recover": "recovering",
    "Recovered": "recovering",
    "StillWritten": "recovering",
    "Young": "recovering",
    "in_words": "pruning",
    "rest": "pruning",
    "Monitor": "monitoring",
    "Telling": "monitoring",
    "duration": "monitoring",
    "monitor": "monitoring",
    "require_directory": "monitoring",
    "sinks": "monitoring",
    "watch": "monitoring",
    "Tick": "watching",
    "Watch": "watching",
    "conditions": "watching",
    "deletions": "recalling",
    "samples": "recalling",
    "MovePlan": "moving",
    "Moved": "moving",
    "destination": "moving",
    "move": "moving",
    "pin": "pinning",
    "unpin": "pinning",
    "record_damage": "recording",
    "record_save": "recording",
    "Report": "reporting",
    "report": "reporting",
    "installed_root": "scheduling",
    "put_in": "scheduling",
    "root_of": "scheduling",
    "runner": "scheduling",
    "schedule": "scheduling",
    "scheduled": "scheduling",
    "unschedule": "scheduling",
    "is_script": "scripting",
    "scripts": "scripting",
    "set_aside": "setting_aside",
    "Checks": "shown",
    "Verified": "shown",
    "StripPlan": "stripping",
    "Stripped": "stripping",
    "keep_resumable": "stripping",
    "strip": "stripping",
    "DRAFT": "placing",
    "put_in_place": "placing",
    "remove_draft": "placing",
    "weights_findings": "placing",
    "Budget": "verifying",
    "budget": "verifying",
    "is_sound": "verifying",
    "reading": "verifying",
    "yield_to_others": "verifying",
    "standing_still": "verifying",
    "write_manifest": "verifying",
}
__all__ = [
    "DRAFT",
    "QUIET_SECONDS",
    "Budget",
    "Checks",
    "Diagnosis",
    "Latest",
    "Monitor",
    "MovePlan",
    "Moved",
    "PassedOver",
    "Plan",
    "Pruned",
    "Recovered",
    "Report",
    "StillWritten",
    "StripPlan",
    "Stripped",
    "Telling",
    "Tick",
    "Verified",
    "Watch",
    "Young",
    "budget",
    "bytes_at",
    "conditions",
    "configured",
    "deletions",
    "destination",
    "diagnosed",
    "discard",
    "discard_named",
    "duration",
    "diverged",
    "find_runs",
    "foreseen",
    "going_on",
    "in_words",
    "installed_root",
    "is_news",
    "judge",
    "keep_resumable",
    "is_script",
    "is_sound",
    "latest",
    "monitor",
    "move",
    "pin",
    "plan",
    "preflight",
    "prune",
    "put_in",
    "put_in_place",
    "reading",
    "recover",
    "record_damage",
    "record_save",
    "remove_draft",
    "report",
    "require_directory",
    "rest",
    "root_of",
    "rules_for",
    "rules_where",
    "runner",
    "runs_at",
    "samples",
    "scan",
    "schedule",
    "scheduled",
    "scripts",
    "set_aside",
    "settled_available_bytes",
    "sinks",
    "standing_still",
    "strip",
    "trust_for",
    "unpin",
    "unnamed",
    "unread",
    "unschedule",
    "verify",
    "watch",
    "weights_findings",
    "write_manifest",
    "yield_to_others",
]


def __getattr__(name: str) -> Any:
    """What prune has no use for loads when it is asked for: a sweep starts every ten minutes."""
    room = ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'ckptkit.ops' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ckptkit.ops.{room}"), name)
