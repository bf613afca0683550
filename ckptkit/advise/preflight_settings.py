"""What the training was told: its own settings against the volume, and what its own script deletes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.forecast import budget, next_save_bytes
from ckptkit.forecast.name_order import first_swap
from ckptkit.model.advice import Check, CheckState, Cleanup, ScriptReport
from ckptkit.model.events import Outlook
from ckptkit.model.preflight import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptkit.model.events import Outlook
    from ckptkit.model.preflight import Facts

LIMIT = "use ckptkit.guard(trainer, keep_last=2), or set save_total_limit to 2"
MOST_PLACES = 10  # of one script
CHOOSES = {
    "listing": "in the order in which the disk lists them, which is any: it may delete the newest",
    "times": "by the time of their last change",
    "numbers": "by their steps",
    "other": "by an order of its own",
    "all": "whatever their order",
}
BESIDE = "beside the guard it is a second rotation, which does not know which ones are intact, pinned or the best"


def misspelt(facts: Facts) -> Iterator[Check]:
    """A setting that the trainer does not know ends it at its start, or is ignored."""
    for key, meant in facts.misspelt.items():
        pattern = key.replace("_", "[-_]")
        fix = f"sed -i -E 's/\\b{pattern}\\b/{meant}/' {shlex.quote(facts.config)}" if facts.config else ""
        yield Check("no-go", "setting", f"unknown setting {key} ({facts.origin}): did you mean {meant}?", fix)


def config(facts: Facts) -> Iterator[Check]:
    """The Trainer's own limit and interval against the volume: with the Trainer alone, and with the guard."""
    if facts.settings is None:
        return
    schedule = budget.saving(facts.settings)
    message = ", ".join(f"{name} {facts.settings.get(name)}" for name in ("save_total_limit", "save_steps"))
    message = f"{message} ({facts.origin})"
    if not schedule.saves:
        yield Check("warn", "config", f"{message}: nothing is saved, a crash loses all; set save_strategy to steps")
    elif not facts.sizes and schedule.limit:
        yield Check("go", "config", f"{message}: the size of a checkpoint is not known yet")
    elif not facts.sizes:
        message = f"{message}: nothing is ever deleted; {LIMIT}"
        yield Check("warn", "config", message, command("plan", "--help"))
    else:
        yield _against_the_volume(facts, schedule, facts.sizes, message)


def _against_the_volume(facts: Facts, schedule: budget.SaveSchedule, sizes: list[int], message: str) -> Check:
    state_now = budget.Standing(facts.plan.decisions[-1].checkpoint.step if facts.plan else 0, tuple(sizes))
    guarded, alone = (
        budget.ahead(facts.volume, state_now, schedule, next_save_bytes(max(sizes)), guard) for guard in (True, False)
    )
    if guarded.full_at is not None:
        fix = command("plan", "--from", facts.run, "--max-steps", str(schedule.max_steps or 10_000))
        return Check("no-go", "config", f"{message}: {_full(guarded, schedule)}, even with the guard", fix)
    if alone.full_at is not None:
        return Check("warn", "config", f"{message}: {_full(alone, schedule)} with the Trainer alone; {LIMIT}")
    if schedule.limit is None and not schedule.max_steps:
        return Check("warn", "config", f"{message}: nothing is ever deleted; {LIMIT}")
    usable = facts.volume.total_bytes - facts.volume.reserved_bytes  # as df counts
    most = f"{alone.peak_used_bytes / max(1, usable) * 100:.0f} %"
    return Check("go", "config", f"{message}: the volume peaks at {most}")


def _full(outlook: Outlook, schedule: budget.SaveSchedule) -> str:
    return f"the volume is full at step {outlook.full_step}" if schedule.every else "the volume will be full"


def cleanup(facts: Facts) -> Iterator[Check]:
    """Whether the training's own script deletes checkpoints, and whether that will be the newest."""
    for script in facts.scripts:
        if script.fault:
            message = f"{script.path} could not be looked at: {script.fault}"
            yield Check("warn", "cleanup", message, f"ls -l {shlex.quote(script.path)}")
        deletions = [_deleting(facts, script, place) for place in script.cleanups]
        if len(deletions) > MOST_PLACES:
            deletions.sort(key=lambda check: check.state != "no-go")  # those are not among the "more"
        yield from deletions[:MOST_PLACES]
        if more := deletions[MOST_PLACES:]:
            message = f"{script.path} deletes checkpoints in {len(more)} more places"
            yield Check("no-go" if more[0].state == "no-go" else "warn", "cleanup", message, more[0].command)
    clean = [script.path for script in facts.scripts if not script.fault and not script.cleanups]
    if clean:
        message = f"no checkpoint is deleted in {', '.join(clean)}; what is imported there was not read"
        yield Check("go", "cleanup", message)


def _deleting(facts: Facts, script: ScriptReport, place: Cleanup) -> Check:
    message = f"{script.path}:{place.line} deletes checkpoints"
    mend = f"remove that {'callback' if place.in_class else 'code'}: {_guard(facts)} does it"
    fix = f"sed -n {max(1, place.line - 5)},{place.line + 5}p {shlex.quote(script.path)}"
    if place.order != "names":
        state: CheckState = "no-go" if place.order == "listing" else "warn"
        return Check(state, "cleanup", f"{message} {CHOOSES[place.order]}; {BESIDE}; {mend}", fix)
    message = f"{message} in the order of their names"
    swap = _swap(facts)
    if swap is None:
        message = f"{message}; from checkpoint-10000 on that deletes the newest; {BESIDE}; {mend}"
        return Check("warn", "cleanup", message, fix)
    before, after = swap
    message = f"{message}: checkpoint-{after} sorts before checkpoint-{before}, so it deletes the newest; {mend}"
    return Check("no-go", "cleanup", message, fix)


def _guard(facts: Facts) -> str:
    return f"ckptkit.guard(trainer, keep_last={facts.keep_last})"


def _swap(facts: Facts) -> tuple[int, int] | None:
    """The steps of two saves that this run will have and of which the later one's name comes first."""
    schedule = budget.saving(facts.settings or {})
    if not schedule.saves:
        return None
    steps = [d.checkpoint.step for d in facts.plan.decisions] if facts.plan else []
    set_in_settings = (facts.settings or {}).get("save_steps") is not None
    return first_swap(steps, schedule.every if set_in_settings else 0, schedule.max_steps)
