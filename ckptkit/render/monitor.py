"""What the monitor sees: lines for a log, and a page for a terminal that is drawn again at each look."""

from collections.abc import Iterator, Mapping, Sequence

from ckptkit.model.events import Alert, RunSight, Sample, Sight, VolumeSight
from ckptkit.render.board import coloured, gauge
from ckptkit.render.charts import sample, sparkline, used_fraction
from ckptkit.render.json import Document, alert, iso, volume
from ckptkit.render.tables import table, wrapped
from ckptkit.units import age, count, human, percent, printable, saves

LAST_ALERTS = 8  # on the page
COLUMNS = ("run", "step", "newest", "age", "checkpoints", "size", "room for")


def warning(raised: Alert) -> str:
    """Given an alert, return its line, with the command that fixes it."""
    command = f"; fix: {raised.command}" if raised.command else ""
    return printable(f"{raised.level.upper()} {raised.message}{command}")


def lines(sight: Sight, conditions: Mapping[str, str]) -> str:
    """Given a look and {mount: its state in a word}, return a line for each volume, each run, and who trains there."""
    log = [f"{iso(sight.at)} {_volume(seen, conditions)}" for seen in sight.volumes]
    for seen in sight.runs:
        log += [f"{iso(sight.at)} {line}" for line in (_run(seen, sight.at), *_at_work(seen))]
    return "\n".join(log)


def _at_work(seen: RunSight) -> Iterator[str]:
    """Who trains there."""
    return (printable(f"{seen.sample.run}: {sentence}") for sentence in seen.at_work)


def _volume(seen: VolumeSight, conditions: Mapping[str, str]) -> str:
    mount = seen.volume.mount
    used = f"{percent(seen.volume.used_fraction)} used"
    return f"{printable(mount)}: " + ", ".join(filter(None, [used, _available(seen), conditions.get(mount, "")]))


def _available(seen: VolumeSight) -> str:
    return f"{human(seen.volume.available_bytes)} available"


def _run(seen: RunSight, now: float) -> str:
    sample, fit = seen.sample, seen.saves_that_fit
    room = "" if fit is None else f", room for {saves(fit)}"
    old = "" if seen.last_save_at is None else f", {age(now - seen.last_save_at)} old"
    what = f"{count(sample.checkpoints, 'checkpoint')}, {human(sample.checkpoint_bytes)}"
    return f"{printable(sample.run)}: step {sample.step:,} {seen.newest}{old}, {what}{room}"


def page(
    sight: Sight,
    conditions: Mapping[str, str],
    trail: Mapping[str, Sequence[Sample]],
    alerts: Sequence[Alert],
    colour: bool,
    width: int,
) -> str:
    """Given a look, earlier samples of each mount, and the last alerts, return the page. width: columns."""
    lines: list[str] = []
    for seen in sight.volumes:
        mount, used = seen.volume.mount, seen.volume.used_fraction
        state = ", ".join(filter(None, [f"{percent(used)} used", _available(seen), conditions.get(mount, "")]))
        lines += [*wrapped(printable(mount), width), f"  {gauge(used, width)}", *wrapped(state, width, "  ")]
        blocks = sparkline([used_fraction(s) for s in trail.get(mount, ())], max(10, width - 4))
        lines += [f"  {blocks}"] if blocks else []
    rows = [_cells(run, sight.at) for run in sight.runs]
    lines += [line for row in table(COLUMNS, rows, width) for line in row] if rows else []
    for sentence in (sentence for run in sight.runs for sentence in _at_work(run)):
        lines += wrapped(sentence, width)
    for raised in alerts[-LAST_ALERTS:]:
        lines += [
            coloured(f"{iso(raised.at)} {raised.level.upper()}", raised.level, colour),
            *wrapped(printable(raised.message), width, "  "),
        ]
        lines += [f"  fix: {printable(raised.command)}"] if raised.command else []
    return "\n".join([*lines, *wrapped(f"looked at {iso(sight.at)}; Ctrl-C ends it", width)])


def _cells(seen: RunSight, now: float) -> tuple[str, ...]:
    sample, fit = seen.sample, seen.saves_that_fit
    old = "" if seen.last_save_at is None else age(now - seen.last_save_at)
    room = "" if fit is None else saves(fit)
    step = f"{sample.step:,}"
    return sample.run, step, seen.newest, old, str(sample.checkpoints), human(sample.checkpoint_bytes), room


def document(sight: Sight, alerts: Sequence[Alert], standing: Mapping[tuple[str, str], int], wait: float) -> Document:
    """Given a look, its alerts, and {(subject, code): rung}, return one document of `ckptkit.monitor/1`.

    wait: seconds until the next look.
    """
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
