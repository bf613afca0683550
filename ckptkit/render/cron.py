"""What runs by itself, and what its first sweeps would delete, in lines and as JSON."""

import os
from collections.abc import Iterator, Sequence

from ckptkit.model.schedule import Schedule, Scheduled, Sweep
from ckptkit.render.json import Document, iso
from ckptkit.render.text import table
from ckptkit.units import age, count, human, printable

MOST_RUNS = 10  # in a list; those that need a yes come first


def plan(made: Schedule, whole: bool) -> str:
    """Given a schedule, return what is put in, where the logs go, and what each first sweep deletes.

    whole: the very lines, not only what they do.
    """
    state = "goes into" if made.changed else "is in"
    lines = [f"{printable(made.root)}: this {state} {printable(made.place)}", *_put_in(made, whole)]
    beside = " (on the volume of the runs, no other one is at hand)" if made.logs_beside else ""
    return "\n".join([*lines, f"logs: {printable(made.logs)}{beside}", *_sweeps(made)])


def _put_in(made: Schedule, whole: bool) -> Iterator[str]:
    shown = made.text.splitlines() if whole else [job.what for job in made.jobs]
    yield from (f"  {printable(line)}" for line in shown)


def _sweeps(made: Schedule) -> Iterator[str]:
    rules = printable(made.rules)
    if not made.sweeps:
        yield f"no run lies below it yet; rules of those that come: {rules}"
        return
    yield f"what the first sweep deletes (rules: {rules}, or as RUN/ckptkit.toml says):"
    first = sorted(made.sweeps, key=lambda s: not (s.needs_a_yes or s.fault))
    yield from table([(_name(s.run, made.root), _deletes(s)) for s in first[:MOST_RUNS]])
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


def question(made: Schedule, going: Sequence[Sweep]) -> str:
    """What a person is asked once for a directory. going: the sweeps that wait for the yes."""
    later = f"in later runs below {printable(made.root)}"
    if going:
        number = f"{sum(s.going for s in going)} of {sum(s.intact for s in going)}"
        return f"Delete {number} intact checkpoints, and by the same rules as many {later}?"
    return f"May a sweep delete more than half of a run's intact checkpoints by these rules, also {later}?"


def installed(one: Scheduled, now: float) -> str:
    """Given what is put in, return it, who runs it and when each log was last written to. now: seconds."""
    head = f"{printable(one.root)}: by {one.way}"
    lines = [f"  {printable(line)}" for line in one.text.splitlines()]
    runs_it = f"run by {one.runs_it}" if one.runs_it else "nobody runs it"
    last = [f"{verb}: its log was last written to {age(now - at)} ago" for verb, at in one.last]
    yes = "yes" if one.agreed else "no"
    return "\n".join([head, *lines, runs_it, *last, f"may delete more than half of a run's intact checkpoints: {yes}"])


def document(made: Schedule, dry_run: bool, runs_it: str) -> Document:
    """`ckptkit.cron/1` of --install. runs_it: who does, "" if nobody."""
    return {
        "action": "install",
        "dry_run": dry_run,
        "root": made.root,
        "way": made.way,
        "text": made.text,
        "changed": made.changed,
        "run_by": runs_it,
        "logs": made.logs,
        "agreed": made.agreed,
        "runs": [sweep._asdict() for sweep in made.sweeps],
    }


def documents(action: str, found: Sequence[Scheduled], dry_run: bool = False) -> Document:
    """`ckptkit.cron/1` of --show and --remove."""
    roots = [{**one._asdict(), "last": {verb: iso(at) for verb, at in one.last}} for one in found]
    return {"action": action, "dry_run": dry_run, "roots": roots}
