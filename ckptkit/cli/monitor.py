"""ckptkit monitor."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.ops.monitor import Telling, Tick, Watch, duration, require_directory, sinks, watch
from ckptkit.ops.monitor import conditions as ops_conditions
from ckptkit.render import monitor
from ckptkit.units import printable

if TYPE_CHECKING:
    from types import FrameType

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


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(verb, WORDS, EXAMPLES, (0, 1, 2, 3, 10, 130, 143))
    made.add_argument("path", nargs="?", default=".", metavar="PATH", help="a run, or a directory above runs")
    made.add_argument("--once", action="store_true", help="look once; warns only of what changed since the last look")
    made.add_argument(
        "--every", default="10m", metavar="DURATION", help="time between two looks while there is room (default 10m)"
    )
    to = made.add_argument_group("where warnings go, beside the terminal and --log-to (a failure is reported once)")
    to.add_argument(
        "--exec",
        dest="command",
        metavar="CMD",
        help="run this for each warning, without a shell; it gets JSON on stdin",
    )
    to.add_argument("--webhook", metavar="URL", help="post each warning to this address as JSON")
    to.add_argument(
        "--apprise",
        action="append",
        default=[],
        metavar="URL",
        help="send each warning through Apprise (may be repeated; needs the extra `alerts`)",
    )
    to.add_argument(
        "--prom",
        metavar="FILE",
        help="write each look to this file, for node_exporter's textfile collector (needs the extra `prometheus`)",
    )
    to.add_argument("--ping", metavar="URL", help="get this address after each look, URL/fail when the look failed")
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Look once, or until Ctrl-C (130) or SIGTERM (143). An alert is no failure; a sink that fails is one (3)."""
    every = duration("every", options.every)
    require_directory(options.path)
    to = sinks(options.command, options.webhook, options.apprise, options.prom, options.ping)
    telling = Telling(to, lambda line: output.message(printable(line)))
    if options.once:
        return _once(options, output, telling, every)
    ending = _Ending()
    with _drawn(output) as draw, suppress(KeyboardInterrupt):
        watch(options.path, lambda tick: _told(tick, output, telling, draw), ending.rest, every=every)
    return ending.code()


def _once(options: argparse.Namespace, output: Output, telling: Telling, every: float) -> int:
    tick = Watch(options.path, every).tick(time.time())
    return 0 if _told(tick, output, telling, None) else 3


def _told(tick: Tick, output: Output, telling: Telling, draw: object) -> bool:
    """Say it here, then to the sinks; whether all of them took it."""
    conditions = ops_conditions(tick)
    for fault in tick.faults:
        output.message(printable(fault))
    if callable(draw):
        draw(tick, conditions)
    for alert in tick.alerts:
        output.warn(monitor.warning(alert), shown=callable(draw))
    if not callable(draw):
        output.routine(monitor.lines(tick.sight, conditions))
    output.document(monitor.document(tick.sight, tick.alerts, tick.standing, tick.wait))
    return telling.tell(tick)


@contextmanager
def _drawn(output: Output) -> Iterator[object]:
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
        self.came: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # in the background of a script, Ctrl-C is not for us
                signal.signal(number, self._end)

    def _end(self, number: int, _: FrameType | None) -> None:
        self.came.append(number)
        raise KeyboardInterrupt

    def rest(self, seconds: float) -> bool:
        """Wait so long; whether to end. In slices: a signal that comes just before the wait does not break that off."""
        until = time.monotonic() + seconds
        while not self.came and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
        return bool(self.came)

    def code(self) -> int:
        """The exit code of what came last."""
        return 128 + self.came[-1]
