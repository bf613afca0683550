"""A look as a file for Prometheus' textfile collector. prometheus_client writes the format."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ckptkit.calling import pip_install
from ckptkit.errors import UsageError
from ckptkit.model.disk import Volume
from ckptkit.model.events import RunSight, Sight
from ckptkit.notify.sink import AlertSink
from ckptkit.system import small_files
from ckptkit.units import printable

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

# (name without the prefix, help, value; None where it is not known). All are gauges, in bytes, seconds and ratios.
OF_VOLUME: tuple[tuple[str, str, Callable[[Volume], float]], ...] = (
    ("volume_size_bytes", "Size of the volume.", lambda v: v.total_bytes),
    ("volume_available_bytes", "Bytes that an ordinary user can still write.", lambda v: v.available_bytes),
    ("volume_used_ratio", "Share of the volume that is used, as df counts it.", lambda v: v.used_fraction),
    ("volume_inodes_used_ratio", "Share of the inodes that is used.", lambda v: v.inodes_used_fraction),
)
OF_RUN: tuple[tuple[str, str, Callable[[RunSight], float | None]], ...] = (
    ("run_checkpoints", "Checkpoints of the run.", lambda r: r.sample.checkpoints),
    ("run_checkpoint_bytes", "Bytes that the checkpoints of the run take.", lambda r: r.sample.checkpoint_bytes),
    ("run_step", "Step of the newest checkpoint.", lambda r: r.sample.step),
    ("run_last_save_timestamp_seconds", "When the newest checkpoint was written.", lambda r: r.last_save_at),
    ("run_saves_that_fit", "Saves that the volume has room for.", lambda r: r.saves_that_fit),
    ("run_newest_intact", "1 if the newest checkpoint is intact.", lambda r: r.newest == "intact"),
)
RUNG = "How many of the code's thresholds the subject exceeds; 0 is well."


class LookCollector:
    """What a registry asks for the metrics of one look.

    No Gauge of the library's: where PROMETHEUS_MULTIPROC_DIR is set, as by vLLM, that would keep a file of its own.
    """

    def __init__(self, sight: Sight, active_alerts: Mapping[tuple[str, str], int]) -> None:
        """active_alerts: {(subject, code): rung}."""
        self.sight, self.active_alerts = sight, active_alerts

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """Yield each metric with all its rows."""
        yield _gauge("last_look_timestamp_seconds", "When the monitor last looked.", (), [((), self.sight.at)])
        volumes = [volume_sight.volume for volume_sight in self.sight.volumes]
        for name, words, of_volume in OF_VOLUME:
            yield _gauge(name, words, ("mount",), [((v.mount,), of_volume(v)) for v in volumes])
        for name, words, of_run in OF_RUN:
            yield _gauge(name, words, ("run",), [((r.sample.run,), of_run(r)) for r in self.sight.runs])
        yield _gauge("alert_rung", RUNG, ("subject", "code"), sorted(self.active_alerts.items()))


def _gauge(
    name: str, words: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float | None]]
) -> "GaugeMetricFamily":
    """Given rows of (values of the labels, number), return them as one metric, without those that are not known."""
    from prometheus_client.core import GaugeMetricFamily

    metric = GaugeMetricFamily(f"ckptkit_{name}", words, labels=labels)
    for values, number in rows:
        if number is not None:
            metric.add_metric([*map(_label, values)], number)
    return metric


def _label(value: str) -> str:
    """Bytes that are no UTF-8 become the replacement character, as the format has no other; a newline may stay.

    Control codes become escapes, so that the file can be looked at on a terminal.
    """
    decoded = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "\n".join(map(printable, decoded.split("\n")))


def page(sight: Sight, active_alerts: Mapping[tuple[str, str], int]) -> bytes:
    """Given a look and {(subject, code): rung}, return the file's content. Raises ImportError without the library."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(LookCollector(sight, active_alerts))
    content: bytes = generate_latest(registry)
    return content


class Textfile(AlertSink):
    """Replaced whole at each look, so that no collector reads half of it; readable by the collector's user."""

    def __init__(self, path: str) -> None:
        """Raises UsageError if prometheus_client is not there."""
        try:
            import prometheus_client  # noqa: F401 - told when it is typed, not at the first look
        except ImportError:
            needed = "--prom needs prometheus-client (the extra `prometheus`), which is not installed"
            raise UsageError(f"{needed}; fix: {pip_install('prometheus-client')}") from None
        self.path = os.path.abspath(path)
        self.name = f"--prom {path}"

    def look(self, sight: Sight, active_alerts: Mapping[tuple[str, str], int]) -> None:
        """Raises OSError; then the file is the one of the look before."""
        # Its temporary name does not end in .prom, so no collector takes that one.
        small_files.replace_at(self.path, page(sight, active_alerts), durable=False, mode=0o644)
