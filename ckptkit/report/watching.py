"""What the monitor sees, in lines for a log and as a page for a terminal that is drawn anew at each look."""

import io
from collections.abc import Iterator, Mapping, Sequence

from ckptkit.events import Alert, RunSight, Sample, Sight, VolumeSight
from ckptkit.report.board import COLOURS, plain, ruled
from ckptkit.report.documents import Document, alert, iso
from ckptkit.report.over_time import sample, sparkline, used_fraction
from ckptkit.report.reported import volume
from ckptkit.report.text import age, human, printable

LAST_ALERTS = 8  # on the page


def warning(told: Alert) -> str:
    """Given an alert, return its line, with the command that mends it."""
    command = f"; fix: {told.command}" if told.command else ""
    return printable(f"{told.level.upper()} {told.message}{command}")


def lines(sight: Sight, conditions: Mapping[str, str]) -> str:
    """Given a look and {mount: its state in a word}, return a line for each volume, each run, and who trains there."""
    found = [f"{iso(sight.at)} {_volume(seen, conditions)}" for seen in sight.volumes]
    for seen in sight.runs:
        found += [f"{iso(sight.at)} {line}" for line in (_run(seen, sight.at), *_at_work(seen))]
    return "\n".join(found)


def _at_work(seen: RunSight) -> Iterator[str]:
    """Who trains there."""
    return (printable(f"{seen.sample.run}: {sentence}") for sentence in seen.at_work)


def _volume(seen: VolumeSight, conditions: Mapping[str, str]) -> str:
    mount = seen.volume.mount
    sizes = f"{human(seen.volume.available_bytes)} available"
    return f"{printable(mount)}: {seen.volume.used_fraction:.0%} used, {sizes}, {conditions.get(mount, '')}"


def _run(seen: RunSight, now: float) -> str:
    sample, fit = seen.sample, seen.saves_that_fit
    room = "" if fit is None else f", room for {fit:.1f} saves"
    old = "" if seen.last_save_at is None else f", {age(now - seen.last_save_at)} old"
    what = f"{sample.checkpoints} checkpoints, {human(sample.checkpoint_bytes)}"
    return f"{printable(sample.run)}: step {sample.step} {seen.newest}{old}, {what}{room}"


def page(
    sight: Sight,
    conditions: Mapping[str, str],
    trail: Mapping[str, Sequence[Sample]],
    alerts: Sequence[Alert],
    colour: bool,
    width: int,
) -> str:
    """Given a look, what was seen before of each mount, and the last alerts, return the page. width: columns."""
    from rich.console import Console

    made = io.StringIO()
    console = Console(file=made, force_terminal=colour, no_color=not colour, width=width, highlight=False)
    for seen in sight.volumes:
        mount, used = seen.volume.mount, seen.volume.used_fraction
        drawn = f"{'█' * round(used * 20):░<20} {used:.0%}  {human(seen.volume.available_bytes)} available"
        console.print(f"{plain(mount)}  {drawn}  {conditions.get(mount, '')}")
        console.print(sparkline([used_fraction(s) for s in trail.get(mount, ())], max(10, width - 2)), markup=False)
    table = ruled("run", "step", "newest", "age", "checkpoints", "size", "saves that fit")
    for run in sight.runs:
        table.add_row(*_cells(run, sight.at))
    console.print(table)
    for line in (line for run in sight.runs for line in _at_work(run)):
        console.print(line, markup=False, soft_wrap=True)
    for told in alerts[-LAST_ALERTS:]:
        console.print(f"[{COLOURS[told.level]}]{iso(told.at)}[/] ", end="")
        console.print(warning(told), markup=False, soft_wrap=True)
    console.print(f"looked at {iso(sight.at)}; Ctrl-C ends it", markup=False)
    return made.getvalue().rstrip()


def _cells(seen: RunSight, now: float) -> tuple[str, ...]:
    sample, fit = seen.sample, seen.saves_that_fit
    old = "" if seen.last_save_at is None else age(now - seen.last_save_at)
    room = "" if fit is None else f"{fit:.1f}"
    size = human(sample.checkpoint_bytes)
    return plain(sample.run), str(sample.step), seen.newest, old, str(sample.checkpoints), size, room


def document(sight: Sight, alerts: Sequence[Alert], standing: Mapping[tuple[str, str], int], wait: float) -> Document:
    """Given a look, what changed with it and all that is exceeded, return one document of `ckptkit.monitor/1`."""
    return {
        "at": iso(sight.at),
        "volumes": [{**volume(seen.volume), "growth_bytes_per_hour": seen.growth} for seen in sight.volumes],
        "runs": [_run_document(seen) for seen in sight.runs],
        "alerts": [alert(told) for told in alerts],
        "standing": [{"subject": subject, "code": code, "rung": rung} for (subject, code), rung in standing.items()],
        "errors": [{"path": path, "message": why} for path, why in sight.errors],
        "next_look_seconds": round(wait, 1),
    }


def _run_document(seen: RunSight) -> Document:
    return sample(seen.sample) | {
        "newest": {"path": seen.newest_path, "verdict": seen.newest},
        "last_save_at": None if seen.last_save_at is None else iso(seen.last_save_at),
        "save_interval_seconds": seen.save_interval,
        "next_save_bytes": seen.save_bytes,
        "saves_that_fit": seen.saves_that_fit,
        "checkpoints_over_policy": seen.over_policy,
        "at_work": list(seen.at_work),
    }
