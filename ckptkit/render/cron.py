"""What runs by itself, and what its first sweeps would delete, in lines and as JSON."""

import os
from collections.abc import Iterator, Sequence
from typing import Literal

from ckptkit.model.schedule import Schedule, Scheduled, Sweep
from ckptkit.render.json import Document, iso
from ckptkit.render.text import table
from ckptkit.units import age, count, human, printable

MOST_RUNS = 10  # in a list; those that need a yes come first


def plan(schedule: Schedule, whole: bool) -> str:
    """Given a schedule, return what is put in, where the logs go, and what each first sweep deletes.

    whole: the very lines, not only what they do.
    """
    state = "goes into" if schedule.changed else "is in"
    lines = [f"{printable(schedule.root)}: this {state} {printable(schedule.place)}", *_put_in(schedule, whole)]
    beside = " (on the volume of the runs, no other one is at hand)" if schedule.logs_beside else ""
    return "\n".join([*lines, f"logs: {printable(schedule.logs)}{beside}", *_sweeps(schedule)])


def _put_in(schedule: Schedule, whole: bool) -> Iterator[str]:
    shown = schedule.text.splitlines() if whole else [job.what for job in schedule.jobs]
    yield from (f"  {printable(line)}" for line in shown)


def _sweeps(schedule: Schedule) -> Iterator[str]:
    rules = printable(schedule.rules)
    if not schedule.sweeps:
        yield f"no run lies below it yet; rules of those that come: {rules}"
        return
    yield f"what the first sweep deletes (rules: {rules}, or as RUN/ckptkit.toml says):"
    first = sorted(schedule.sweeps, key=lambda s: not (s.needs_a_yes or s.fault))
    yield from table([(_name(s.run, schedule.root), _deletes(s)) for s in first[:MOST_RUNS]])
    if len(first) > MOST_RUNS:
        yield f"  and {len(first) - MOST_RUNS} more"


def _name(run: str, root: str) -> str:
    return os.path.basename(run) if run == root else os.path.relpath(run, root)


def _deletes(sweep: Sweep) -> str:
    if sweep.fault:
        return f"nothing: {sweep.fault}"
    parts = [f"{sweep.going} of {sweep.intact} intact checkpoints"] if sweep.going else []
    parts += [f"{sweep.damaged} damaged"] if sweep.damaged else []
    if not parts:
        return f"nothing ({count(sweep.intact, 'intact checkpoint')})"
    why = f"more than --max-delete {sweep.limit}" if sweep.limit is not None else "more than half: needs a yes"
    return f"{', '.join(parts)}, frees {human(sweep.freed_bytes)}" + (f"; {why}" if sweep.needs_a_yes else "")


def question(schedule: Schedule, waiting: Sequence[Sweep]) -> str:
    """What a person is asked once for a directory. waiting: the sweeps that wait for the yes."""
    later = f"in later runs below {printable(schedule.root)}"
    if waiting:
        number = f"{sum(s.going for s in waiting)} of {sum(s.intact for s in waiting)}"
        return f"Delete {number} intact checkpoints, and by the same rules as many {later}?"
    return f"May a sweep delete more than half of a run's intact checkpoints by these rules, also {later}?"


def installed(entry: Scheduled, now: float) -> str:
    """Given what is put in, return it, who runs it and when each log was last written to.

    now: seconds since the epoch.
    """
    head = f"{printable(entry.root)}: by {entry.way}"
    lines = [f"  {printable(line)}" for line in entry.text.splitlines()]
    runs_it = f"run by {entry.runs_it}" if entry.runs_it else "nobody runs it"
    last = [f"{verb}: its log was last written to {age(now - at)} ago" for verb, at in entry.last]
    yes = "yes" if entry.agreed else "no"
    return "\n".join([head, *lines, runs_it, *last, f"may delete more than half of a run's intact checkpoints: {yes}"])


def document(schedule: Schedule, dry_run: bool, runs_it: str) -> Document:
    """Given a schedule, return `ckptkit.cron/1` of --install. runs_it: who does, "" if nobody.

    dry_run: nothing was put in.
    """
    return {
        "action": "install",
        "dry_run": dry_run,
        "root": schedule.root,
        "way": schedule.way,
        "text": schedule.text,
        "changed": schedule.changed,
        "run_by": runs_it,
        "logs": schedule.logs,
        "agreed": schedule.agreed,
        "runs": [sweep._asdict() for sweep in schedule.sweeps],
    }


def documents(action: Literal["show", "remove"], entries: Sequence[Scheduled], dry_run: bool = False) -> Document:
    """Given what is put in, return `ckptkit.cron/1` of --show and --remove. dry_run: nothing was taken out."""
    roots = [{**entry._asdict(), "last": {verb: iso(at) for verb, at in entry.last}} for entry in entries]
    return {"action": action, "dry_run": dry_run, "roots": roots}
