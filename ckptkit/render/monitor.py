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


def warning(alert: Alert) -> str:
    """Given an alert, return its line, with the command that fixes it."""
    command = f"; fix: {alert.command}" if alert.command else ""
    return printable(f"{alert.level.upper()} {alert.message}{command}")


def lines(sight: Sight, conditions: Mapping[str, str]) -> str:
    """Given a look and {mount: its state in a word}, return a line for each volume, each run, and who trains there."""
    log = [f"{iso(sight.at)} {_volume(volume_sight, conditions)}" for volume_sight in sight.volumes]
    for run_sight in sight.runs:
        log += [f"{iso(sight.at)} {line}" for line in (_run(run_sight, sight.at), *_at_work(run_sight))]
    return "\n".join(log)


def _at_work(run: RunSight) -> Iterator[str]:
    """Who trains there."""
    return (printable(f"{run.sample.run}: {sentence}") for sentence in run.at_work)


def _volume(sight: VolumeSight, conditions: Mapping[str, str]) -> str:
    mount = sight.volume.mount
    used = f"{percent(sight.volume.used_fraction)} used"
    return f"{printable(mount)}: " + ", ".join(filter(None, [used, _available(sight), conditions.get(mount, "")]))


def _available(sight: VolumeSight) -> str:
    return f"{human(sight.volume.available_bytes)} available"


def _run(run: RunSight, now: float) -> str:
    sample, fit = run.sample, run.saves_that_fit
    room = "" if fit is None else f", room for {saves(fit)}"
    old = "" if run.last_save_at is None else f", {age(now - run.last_save_at)} old"
    what = f"{count(sample.checkpoints, 'checkpoint')}, {human(sample.checkpoint_bytes)}"
    return f"{printable(sample.run)}: step {sample.step:,} {run.newest}{old}, {what}{room}"


def page(
    sight: Sight,
    conditions: Mapping[str, str],
    trail: Mapping[str, Sequence[Sample]],
    alerts: Sequence[Alert],
    colour: bool,
    width: int,
) -> str:
    """Given a look, return the page.

    conditions: {mount: its state in a word}. trail: {mount: its earlier samples, oldest first}. alerts: the last ones.
    colour: with escape codes. width: columns of the terminal.
    """
    lines: list[str] = []
    for volume_sight in sight.volumes:
        mount, used = volume_sight.volume.mount, volume_sight.volume.used_fraction
        state = ", ".join(filter(None, [f"{percent(used)} used", _available(volume_sight), conditions.get(mount, "")]))
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


def _cells(run: RunSight, now: float) -> tuple[str, ...]:
    sample, fit = run.sample, run.saves_that_fit
    old = "" if run.last_save_at is None else age(now - run.last_save_at)
    room = "" if fit is None else saves(fit)
    step = f"{sample.step:,}"
    return sample.run, step, run.newest, old, str(sample.checkpoints), human(sample.checkpoint_bytes), room


def document(
    sight: Sight, alerts: Sequence[Alert], active_alerts: Mapping[tuple[str, str], int], wait: float
) -> Document:
    """Given a look and its alerts, return one document of `ckptkit.monitor/1`.

    active_alerts: {(subject, code): rung} of all that is exceeded now. wait: seconds until the next look.
    """
    return {
        "at": iso(sight.at),
        "volumes": [
            {**volume(volume_sight.volume), "growth_bytes_per_hour": volume_sight.growth}
            for volume_sight in sight.volumes
        ],
        "runs": [_run_document(run_sight) for run_sight in sight.runs],
        "alerts": [alert(raised) for raised in alerts],
        "standing": [
            {"subject": subject, "code": code, "rung": rung} for (subject, code), rung in active_alerts.items()
        ],
        "errors": [{"path": path, "message": why} for path, why in sight.errors],
        "next_look_seconds": round(wait, 1),
    }


def _run_document(run: RunSight) -> Document:
    return sample(run.sample) | {
        "newest": {"path": run.newest_path, "verdict": run.newest},
        "last_save_at": None if run.last_save_at is None else iso(run.last_save_at),
        "save_interval_seconds": run.save_interval,
        "next_save_bytes": run.save_bytes,
        "saves_that_fit": run.saves_that_fit,
        "checkpoints_over_policy": run.over_policy,
        "at_work": list(run.at_work),
    }
