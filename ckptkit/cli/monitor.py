"""ckptkit monitor."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.ops.monitor import Telling, Watch, duration, require_directory, sinks, watch
from ckptkit.ops.monitor import conditions as ops_conditions
from ckptkit.render import monitor
from ckptkit.units import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

    from ckptkit.cli.output import Output
    from ckptkit.cli.terminal import Draw
    from ckptkit.ops.monitor import Tick

EXAMPLES = """\
  {monitor} /workspace               in a tmux pane: looks every 10 minutes, more often when little room is left
  {monitor} --once -q /workspace     for cron: prints only what changed since the last look
  {monitor} --webhook https://hooks.example.org/T0/B0 RUN
  {monitor} --exec 'mail -s checkpoints me@example.org' RUN      gets the alert as JSON on stdin
  {monitor} --prom /var/lib/node_exporter/ckptkit.prom --ping https://hc-ping.com/UUID /workspace"""
WORDS = """\
Watch a volume and the runs on it: warn, and record how full it is. Deletes nothing. Warns once when something goes
wrong, and once when it is well again: more than 50, 60, 80 or 90 % of the volume, or of its inodes, are used; it grows
by more than 5 GB an hour; it will be full within a week, a day, two hours; there is room for less than two saves, or
one; there are more checkpoints than the rules keep; the newest one is damaged; there was no save for three times the
usual interval."""

SLICE_SECONDS = 1.0  # for so long, at most, it waits on after a signal that came just before


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(verb, WORDS, EXAMPLES, (0, 1, 2, 3, 10, 130, 143))
    parser.add_argument("path", nargs="?", default=".", metavar="PATH", help="a run, or a directory above runs")
    parser.add_argument("--once", action="store_true", help="look once; warns only of what changed since the last look")
    parser.add_argument(
        "--every", default="10m", metavar="DURATION", help="time between two looks while there is room (default 10m)"
    )
    _add_sinks(parser)
    return parser


def _add_sinks(parser: argparse.ArgumentParser) -> None:
    """Where alerts go, and who hears of each look."""
    alerts = parser.add_argument_group(
        "where warnings go, beside the terminal and --log-to (a failure is reported once)"
    )
    alerts.add_argument(
        "--exec",
        dest="command",
        metavar="CMD",
        help="run this for each warning, without a shell; it gets JSON on stdin",
    )
    alerts.add_argument("--webhook", metavar="URL", help="post each warning to this address as JSON")
    alerts.add_argument(
        "--apprise",
        action="append",
        default=[],
        metavar="URL",
        help="send each warning through Apprise (may be repeated; needs the extra `alerts`)",
    )
    alerts.add_argument(
        "--prom",
        metavar="FILE",
        help="write each look to this file, for node_exporter's textfile collector (needs the extra `prometheus`)",
    )
    alerts.add_argument("--ping", metavar="URL", help="get this address after each look, URL/fail when the look failed")


def run(options: argparse.Namespace, output: Output) -> int:
    """Look once, or until Ctrl-C (130) or SIGTERM (143). An alert is no failure; a sink that fails is one (3)."""
    every = duration("every", options.every)
    require_directory(options.path)
    alert_sinks = sinks(options.command, options.webhook, options.apprise, options.prom, options.ping)
    telling = Telling(alert_sinks, lambda line: output.message(printable(line)))
    if options.once:
        return _once(options, output, telling, every)
    ending = _Ending()
    with _live_page(output) as draw, suppress(KeyboardInterrupt):
        watch(options.path, lambda tick: _tell(tick, output, telling, draw), ending.rest, every=every)
    return ending.code()


def _once(options: argparse.Namespace, output: Output, telling: Telling, every: float) -> int:
    tick = Watch(options.path, every).tick(time.time())
    return 0 if _tell(tick, output, telling, None) else 3


def _tell(tick: Tick, output: Output, telling: Telling, draw: Draw | None) -> bool:
    """Say it here, on the page if there is one, then to the sinks; whether all of them took it."""
    conditions = ops_conditions(tick)
    for fault in tick.faults:
        output.message(printable(fault))
    if draw:
        draw(tick, conditions)
    for alert in tick.alerts:
        output.warn(monitor.warning(alert), shown=draw is not None)
    if not draw:
        output.routine(monitor.lines(tick.sight, conditions))
    output.document(monitor.document(tick.sight, tick.alerts, tick.active_alerts, tick.wait))
    return telling.tell(tick)


@contextmanager
def _live_page(output: Output) -> Iterator[Draw | None]:
    """Yield what draws a look on the terminal; None where nobody looks at one, or rich is not there."""
    if not output.shows_progress() or not sys.stdout.isatty():
        yield None
        return
    from ckptkit.cli.terminal import live

    with live(output.use_colour()) as draw:
        yield draw


class _Ending:
    """Ctrl-C and SIGTERM end it wherever it is. Both are also remembered: what is raised while Python runs a finaliser
    goes no further, and the wait that follows must not be an hour."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # in the background of a script, Ctrl-C is not for us
                signal.signal(number, self._end)

    def _end(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)
        raise KeyboardInterrupt

    def rest(self, seconds: float) -> bool:
        """Wait so long; whether to end. In slices: a signal that comes just before the wait does not break that off."""
        until = time.monotonic() + seconds
        while not self.signals and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
        return bool(self.signals)

    def code(self) -> int:
        """The exit code of what came last."""
        return 128 + self.signals[-1]
