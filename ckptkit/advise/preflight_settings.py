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
    how = budget.saving(facts.settings)
    told = ", ".join(f"{name} {facts.settings.get(name)}" for name in ("save_total_limit", "save_steps"))
    told = f"{told} ({facts.origin})"
    if not how.saves:
        yield Check("warn", "config", f"{told}: nothing is saved, a crash loses all; set save_strategy to steps")
    elif not facts.sizes and how.limit:
        yield Check("go", "config", f"{told}: the size of a checkpoint is not known yet")
    elif not facts.sizes:
        told = f"{told}: nothing is ever deleted; {LIMIT}"
        yield Check("warn", "config", told, command("plan", "--help"))
    else:
        yield _against_the_volume(facts, how, facts.sizes, told)


def _against_the_volume(facts: Facts, how: budget.SaveSchedule, sizes: list[int], told: str) -> Check:
    standing = budget.Standing(facts.plan.decisions[-1].checkpoint.step if facts.plan else 0, tuple(sizes))
    guarded, alone = (
        budget.ahead(facts.volume, standing, how, next_save_bytes(max(sizes)), guard) for guard in (True, False)
    )
    if guarded.full_at is not None:
        fix = command("plan", "--from", facts.run, "--max-steps", str(how.max_steps or 10_000))
        return Check("no-go", "config", f"{told}: {_full(guarded, how)}, even with the guard", fix)
    if alone.full_at is not None:
        return Check("warn", "config", f"{told}: {_full(alone, how)} with the Trainer alone; {LIMIT}")
    if how.limit is None and not how.max_steps:
        return Check("warn", "config", f"{told}: nothing is ever deleted; {LIMIT}")
    usable = facts.volume.total_bytes - facts.volume.reserved_bytes  # as df counts
    most = f"{alone.peak_used_bytes / max(1, usable) * 100:.0f} %"
    return Check("go", "config", f"{told}: the volume peaks at {most}")


def _full(seen: Outlook, how: budget.SaveSchedule) -> str:
    return f"the volume is full at step {seen.full_step}" if how.every else "the volume will be full"


def cleanup(facts: Facts) -> Iterator[Check]:
    """Whether the training's own script deletes checkpoints, and whether that will be the newest."""
    for script in facts.scripts:
        if script.fault:
            told = f"{script.path} could not be looked at: {script.fault}"
            yield Check("warn", "cleanup", told, f"ls -l {shlex.quote(script.path)}")
        each = [_deleting(facts, script, place) for place in script.cleanups]
        if len(each) > MOST_PLACES:
            each.sort(key=lambda check: check.state != "no-go")  # those are not among the "more"
        yield from each[:MOST_PLACES]
        if more := each[MOST_PLACES:]:
            told = f"{script.path} deletes checkpoints in {len(more)} more places"
            yield Check("no-go" if more[0].state == "no-go" else "warn", "cleanup", told, more[0].command)
    clean = [script.path for script in facts.scripts if not script.fault and not script.cleanups]
    if clean:
        told = f"no checkpoint is deleted in {', '.join(clean)}; what is imported there was not read"
        yield Check("go", "cleanup", told)


def _deleting(facts: Facts, script: ScriptReport, place: Cleanup) -> Check:
    told = f"{script.path}:{place.line} deletes checkpoints"
    mend = f"remove that {'callback' if place.in_class else 'code'}: {_guard(facts)} does it"
    fix = f"sed -n {max(1, place.line - 5)},{place.line + 5}p {shlex.quote(script.path)}"
    if place.order != "names":
        state: CheckState = "no-go" if place.order == "listing" else "warn"
        return Check(state, "cleanup", f"{told} {CHOOSES[place.order]}; {BESIDE}; {mend}", fix)
    told = f"{told} in the order of their names"
    swap = _swap(facts)
    if swap is None:
        told = f"{told}; from checkpoint-10000 on that deletes the newest; {BESIDE}; {mend}"
        return Check("warn", "cleanup", told, fix)
    before, after = swap
    told = f"{told}: checkpoint-{after} sorts before checkpoint-{before}, so it deletes the newest; {mend}"
    return Check("no-go", "cleanup", told, fix)


def _guard(facts: Facts) -> str:
    return f"ckptkit.guard(trainer, keep_last={facts.keep_last})"


def _swap(facts: Facts) -> tuple[int, int] | None:
    """The steps of two saves that this run will have and of which the later one's name comes first."""
    how = budget.saving(facts.settings or {})
    if not how.saves:
        return None
    standing = [d.checkpoint.step for d in facts.plan.decisions] if facts.plan else []
    named = (facts.settings or {}).get("save_steps") is not None
    return first_swap(standing, how.every if named else 0, how.max_steps)
