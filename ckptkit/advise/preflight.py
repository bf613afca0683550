"""PURE: go or no-go before a training (re)starts. Each check is one function of what was measured.

Those of the run, and of who is at work on it, stand here; those of the disk and of the settings beside.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ckptkit.advise import preflight_disk, preflight_settings
from ckptkit.advise.preflight_disk import fits_next
from ckptkit.calling import command, pip_install
from ckptkit.model.advice import Check, CheckState
from ckptkit.model.preflight import Facts, Place, Session
from ckptkit.model.thresholds import CLOCK_SECONDS
from ckptkit.units import age, count

if TYPE_CHECKING:
    from collections.abc import Iterator


def checkpoints(facts: Facts) -> Iterator[Check]:
    """More of them than the policy keeps is in the way only where the next save does not fit.

    A damaged one is: a resume may pick it.
    """
    if facts.plan is None:
        return
    going, there = len(facts.plan.deletions), count(len(facts.plan.decisions), "checkpoint")
    damaged = sum(not d.verdict.intact for d in facts.plan.deletions)
    if not going:
        yield Check("go", "checkpoints", f"{there}, none more than the policy keeps")
    elif damaged:
        message = f"{there}, {count(damaged, 'damaged one')} to delete, {going - damaged} more than the policy keeps"
        yield Check("no-go", "checkpoints", message, command("prune", facts.run))
    elif fits_next(facts):
        message = f"{there}, {going} more than the policy keeps; the next save fits"
        yield Check("warn", "checkpoints", message, command("prune", facts.run))
    else:
        message = f"{there}, {going} more than the policy keeps, and the next save does not fit"
        yield Check("no-go", "checkpoints", message, command("prune", facts.run))


def resume(facts: Facts) -> Iterator[Check]:
    """What the training goes on from."""
    newest = (facts.newest or "").rpartition("/")[2]
    if newest and facts.skipped:
        message = f"resumes from {newest}; skipped: {'; '.join(facts.skipped)}"
        yield Check("warn", "resume", message, command("verify", facts.run, "--explain"))
    elif newest:
        yield Check("go", "resume", f"resumes from {newest}")
    elif facts.why_none:
        yield Check("no-go", "resume", facts.why_none, command("verify", facts.run, "--explain"))
    elif facts.meant:
        message = f"{facts.run} is not there yet: starts at step 0 (did you mean {facts.meant}?)"
        yield Check("warn", "resume", message, command("preflight", facts.meant))
    else:
        yield Check("go", "resume", "no checkpoint yet: starts at step 0")


def unknown(facts: Facts) -> Iterator[Check]:
    """It may be the newest save: who goes on from an older one should say so."""
    if not facts.unknown:
        return
    more = f"; and {len(facts.unknown) - 1} more" if len(facts.unknown) > 1 else ""
    message = f"newer than what a resume takes: {facts.unknown[0]}{more}; go on without it: --skip-unknown"
    state: CheckState = "warn" if facts.skip_unknown else "no-go"
    yield Check(state, "unknown", message, command("recover", facts.run, "--set-aside"))


def trackers(facts: Facts) -> Iterator[Check]:
    """A framework that goes by its own tracker starts from nothing, or dies."""
    for name, target in facts.dangling.items():
        path = shlex.quote(f"{facts.run}/{name}")
        yield Check("warn", "tracker", f"{name} names {target[:99]}, which does not exist", f"rm {path}")


def best(facts: Facts) -> Iterator[Check]:
    """A Trainer that is to load the best at its end finds nothing, and goes on with the last weights."""
    intact = [d for d in facts.plan.decisions if d.verdict.intact] if facts.plan else []
    state = intact[-1].verdict.trainer_state if intact else None
    if facts.plan is None or state is None or not state.best_checkpoint:
        return
    if state.best_checkpoint in {d.checkpoint.name for d in facts.plan.decisions}:
        return
    message = f"the best checkpoint, {state.best_checkpoint}, is gone: unless a later one is better, "
    message += "load_best_model_at_end loads nothing; copy it back, or start without that setting"
    yield Check("warn", "best", message)


def clock(facts: Facts) -> Iterator[Check]:
    """Times that lie ahead mislead whoever chooses by them."""
    newest = max((d.checkpoint.modified_at for d in facts.plan.decisions), default=0.0) if facts.plan else 0.0
    if newest - facts.now > CLOCK_SECONDS:
        message = f"the clock is {age(newest - facts.now)} behind the newest checkpoint"
        yield Check("warn", "clock", message, "date")
    else:
        yield Check("go", "clock", "the clock is not behind the checkpoints")


def second(facts: Facts) -> Iterator[Check]:
    """Two trainings in one directory delete each other's checkpoints."""
    for worker in facts.trainings:
        message = f"{worker.sentence}: wait for its end, or use another output_dir"
        yield Check("no-go", "second-training", message, worker.command)
    if facts.perhaps and not facts.trainings:
        yield Check("warn", "second-training", facts.perhaps.sentence, facts.perhaps.command)
    elif not facts.trainings:
        yield Check("go", "second-training", "nobody else is at work on this run")


def watcher(facts: Facts) -> Iterator[Check]:
    """Whether anybody sweeps, or warns, while it runs."""
    if facts.watcher:
        yield Check("go", "watch", f"watched by {facts.watcher}")
        return
    if facts.watcher is None:
        message = "nobody can tell who sweeps or watches: psutil or sh is not installed"
        yield Check("warn", "watch", message, pip_install("psutil", "sh"))
        return
    fix = command("cron", "--install", facts.above) if facts.above else command("monitor", facts.run)
    yield Check("warn", "watch", "nobody sweeps or watches while you sleep", fix)


SESSIONS = {
    "": "dies with your connection: not in tmux, screen or nohup",
    "jupyter": "in a notebook: it ends when the kernel restarts or is culled, not when you close the tab",
}

WORDS = "; start it as: nohup COMMAND >train.log 2>&1 </dev/null &"


def session(facts: Facts) -> Iterator[Check]:
    """Whether a training that is started from here outlives the connection."""
    kind, how = facts.session
    if kind is None:
        return
    if kind in SESSIONS:
        yield Check("warn", "session", SESSIONS[kind] + ("" if how else WORDS), how)
    else:
        yield Check("go", "session", f"runs on in {kind} when the connection drops")


EACH = (
    preflight_disk.volume,
    preflight_disk.inodes,
    preflight_disk.probe,
    preflight_disk.headroom,
    preflight_disk.places,
    checkpoints,
    resume,
    unknown,
    trackers,
    best,
    preflight_settings.misspelt,
    preflight_settings.config,
    preflight_settings.cleanup,
    clock,
    second,
    watcher,
    session,
)


def checks(facts: Facts) -> tuple[Check, ...]:
    """Given what was measured, return every check in the order of reading."""
    return tuple(check for function in EACH for check in function(facts))


def is_go(results: tuple[Check, ...]) -> bool:
    """Whether nothing stands against a start."""
    return all(check.state != "no-go" for check in results)


__all__ = ["Facts", "Place", "Session", "checks", "is_go"]
