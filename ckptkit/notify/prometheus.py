"""A look as a file for Prometheus' textfile collector."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ckptkit.model.events import Sight
from ckptkit.notify.sink import AlertSink
from ckptkit.system import small_files
from ckptkit.units import printable

Rows = list[tuple[tuple[str, ...], float | None]]


class Metric(NamedTuple):
    """A family: its name without the prefix, its help, its label names, and a row of labels and value for each."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], float], ...]


def page(sight: Sight, standing: Mapping[tuple[str, str], int]) -> str:
    """Given a look and {(subject, code): rung}, return the file's content. All are gauges; bytes, seconds, ratios."""
    return "".join(line for metric in metrics(sight, standing) for line in _lines(metric))


def metrics(sight: Sight, standing: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """Given a look and {(subject, code): rung}, yield the metrics that have a value."""
    yield Metric("last_look_timestamp_seconds", "When the monitor last looked.", (), (((), sight.at),))
    volumes = [((seen.volume.mount,), seen.volume) for seen in sight.volumes]
    of_volume: dict[str, tuple[str, Rows]] = {
        "volume_size_bytes": ("Size of the volume.", [(k, v.total_bytes) for k, v in volumes]),
        "volume_available_bytes": (
            "Bytes that an ordinary user can still write.",
            [(k, v.available_bytes) for k, v in volumes],
        ),
        "volume_used_ratio": (
            "Share of the volume that is used, as df counts it.",
            [(k, v.used_fraction) for k, v in volumes],
        ),
        "volume_inodes_used_ratio": (
            "Share of the inodes that is used.",
            [(k, v.inodes_used_fraction) for k, v in volumes],
        ),
    }
    yield from _families(of_volume, ("mount",))
    runs = [((seen.sample.run,), seen) for seen in sight.runs]
    of_run: dict[str, tuple[str, Rows]] = {
        "run_checkpoints": ("Checkpoints of the run.", [(k, r.sample.checkpoints) for k, r in runs]),
        "run_checkpoint_bytes": (
            "Bytes that the checkpoints of the run take.",
            [(k, r.sample.checkpoint_bytes) for k, r in runs],
        ),
        "run_step": ("Step of the newest checkpoint.", [(k, r.sample.step) for k, r in runs]),
        "run_last_save_timestamp_seconds": (
            "When the newest checkpoint was written.",
            [(k, r.last_save_at) for k, r in runs],
        ),
        "run_saves_that_fit": ("Saves that the volume has room for.", [(k, r.saves_that_fit) for k, r in runs]),
        "run_newest_intact": (
            "1 if the newest checkpoint is intact.",
            [(k, float(r.newest == "intact")) for k, r in runs],
        ),
    }
    yield from _families(of_run, ("run",))
    rungs = tuple((key, float(rung)) for key, rung in sorted(standing.items()))
    yield Metric(
        "alert_rung", "How many of the code's thresholds the subject exceeds; 0 is well.", ("subject", "code"), rungs
    )


def _families(of: Mapping[str, tuple[str, Rows]], labels: tuple[str, ...]) -> Iterator[Metric]:
    for name, (words, rows) in of.items():
        known = tuple((key, float(value)) for key, value in rows if value is not None)
        yield Metric(name, words, labels, known)


def _lines(metric: Metric) -> Iterator[str]:
    name = f"ckptkit_{metric.name}"
    yield f"# HELP {name} {metric.help}\n# TYPE {name} gauge\n"
    for values, number in metric.rows:
        pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(metric.labels, values, strict=True))
        yield f"{name}{{{pairs}}} {number!r}\n" if pairs else f"{name} {number!r}\n"


def _escaped(value: str) -> str:
    """Backslash, quote and newline, as the format says; bytes that are no UTF-8 become the replacement character.

    Control codes become escapes, so that the file can be looked at on a terminal.
    """
    decoded = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = "\n".join(map(printable, decoded.split("\n")))
    return re.sub(r'([\\"])', r"\\\1", text).replace("\n", "\\n")


class Textfile(AlertSink):
    """Replaced whole at each look, so that no collector reads half of it; readable by the collector's user."""

    def __init__(self, path: str, render: Callable[[Sight, Mapping[tuple[str, str], int]], str]) -> None:
        """render: makes the text of a look."""
        self.path, self.render = os.path.abspath(path), render
        self.name = f"--prom {path}"

    def look(self, sight: Sight, standing: Mapping[tuple[str, str], int]) -> None:
        """Raises OSError; then the file is the one of the look before."""
        # Its temporary name does not end in .prom, so no collector takes that one.
        small_files.replace_at(self.path, self.render(sight, standing).encode(), durable=False, mode=0o644)
