"""monitor: look, record, warn once per change, tell whoever wants to know; again until somebody stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from ckptkit import arguments
from ckptkit.errors import UsageError
from ckptkit.model.events import Alert
from ckptkit.notify import prometheus
from ckptkit.notify.sink import Sink
from ckptkit.ops.sampling import OutlookOf
from ckptkit.ops.watching import Tick, Watch
from ckptkit.policy import rules
from ckptkit.render import json
from ckptkit.runs import discover
from ckptkit.units import printable

EVERY = "10m"
STOP_SECONDS = 5.0


def duration(option: str, text: str) -> float:
    """Given a duration as typed and the flag it was typed for, return seconds. Raises UsageError."""
    try:
        return rules.duration(text)
    except ValueError as error:
        raise UsageError(f"--{option} {text!r}: {error}") from None


def interval(every: str | float) -> float:
    """Given a duration as text, or seconds, return seconds. Raises UsageError."""
    if isinstance(every, str):
        return rules.given("every", every, rules.duration)
    return arguments.number("every", every, "must be text such as '10m', or seconds above 0", zero=False)


def sinks(
    command: str | None = None,
    webhook: str | None = None,
    apprise: Sequence[str] = (),
    prom: str | None = None,
    ping: str | None = None,
) -> list[Sink]:
    """Given what was asked for, return the sinks, each loaded only if it was. Raises UsageError for a bad one."""
    made: list[Sink] = []
    if command is not None:
        from ckptkit.notify.command import Command

        made.append(Command(command))
    if webhook is not None or ping is not None:
        from ckptkit.notify.webhook import Ping, Webhook

        made += [Webhook(webhook)] if webhook is not None else []
        made += [Ping(ping)] if ping is not None else []
    if apprise:
        from ckptkit.notify.webhook import Chat

        made.append(Chat(apprise))
    if prom is not None:
        from ckptkit.notify.prometheus import Textfile

        made.append(Textfile(prom, prometheus.page))
    return made


class Telling:
    """Hands alerts and looks to the sinks. One that fails is told once, and again only after it worked meanwhile."""

    def __init__(self, sinks: Iterable[Sink], complain: Callable[[str], None]) -> None:
        """complain: takes a line about a sink that fails."""
        self.sinks, self.complain = list(sinks), complain
        self._failing: set[str] = set()

    def tell(self, tick: Tick) -> bool:
        """Whether every sink took all of it."""
        return sum(self._to(sink, tick) for sink in self.sinks) == len(self.sinks)

    def _to(self, sink: Sink, tick: Tick) -> bool:
        try:
            for alert in tick.alerts:
                sink.alert(alert, json.alert(alert))
            sink.look(tick.sight, tick.standing)
        except Exception as fault:  # noqa: BLE001 - no sink may end the monitor, whatever it raises
            if sink.name not in self._failing:
                self.complain(f"{sink.name}: {fault}; it is tried again each time, and this is said once")
            self._failing.add(sink.name)
            return False
        self._failing.discard(sink.name)
        return True


def require_directory(path: str) -> None:
    """Raises NoSuchRun if there is nothing to watch: later it may come and go, but now it was typed."""
    discover.directory_at(path)


def watch(
    path: str,
    told: Callable[[Tick], object],
    rest: Callable[[float], bool],
    *,
    every: float,
    clock: Callable[[], float] = time.time,
    outlook: OutlookOf | None = None,
) -> None:
    """Look at `path` until `rest`, which is given the seconds to wait, returns True. told: is given each look."""
    watching = Watch(path, every, outlook)
    while True:
        tick = watching.tick(clock())
        told(tick)
        if rest(tick.wait):
            return


class Monitor:
    """A monitor that runs beside what the process does. `.stop()` ends it; the end of the process does too."""

    def __init__(self, work: Callable[[Callable[[float], bool]], None], what: str = "") -> None:
        """work: gets `rest`, see `watch`. what: that it looks at, in words."""
        self.what = what
        self.last: Tick | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._stop.wait,), name="ckptkit-monitor", daemon=True)

    def __repr__(self) -> str:
        """Say what it watches, and when it last looked."""
        looked = f", looked at {json.iso(self.last.sight.at)}" if self.last else ""
        return printable(f"<Monitor {'watching' if self.running else 'stopped, watched'} {self.what}{looked}>")

    @property
    def running(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def start(self) -> Monitor:
        """Begin to look."""
        self._thread.start()
        return self

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End it and wait for that; a look that hangs is waited for no longer than `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def monitor(
    path: str = ".",
    *,
    every: str | float = EVERY,
    command: str | None = None,
    webhook: str | None = None,
    apprise: Sequence[str] = (),
    prom: str | None = None,
    ping: str | None = None,
    alerted: Callable[[Alert], None] | None = None,
    outlook: OutlookOf | None = None,
) -> Monitor:
    """Watch a run, or a directory above runs, in a daemon thread: for a notebook. Returns its handle.

    every: "10m", "30s", ... or seconds, between looks. alerted: called with each alert; default: loguru tells it.
    command, webhook, apprise, prom, ping: as the flags of bin/monitor (command: --exec).
    outlook: from samples of a run, oldest first, to when its volume is full.
    Raises NoSuchRun, UsageError at once for what can't be meant; afterwards nothing reaches the caller.
    """
    require_directory(path)
    seconds = interval(every)
    telling = Telling(sinks(command, webhook, apprise, prom, ping), _warn)

    def told(tick: Tick) -> None:
        made.last = tick
        for fault in tick.faults:
            _warn(fault)
        for alert in tick.alerts:
            (alerted or _tell)(alert)
        telling.tell(tick)

    made = Monitor(
        lambda rest: watch(path, told, rest, every=seconds, outlook=outlook),
        f"{path} every {every if isinstance(every, str) else f'{every:g}s'}",
    )
    return made.start()


def _tell(alert: Alert) -> None:
    _warn(f"{alert.message}" + (f"; fix: {alert.command}" if alert.command else ""))


def _warn(line: str) -> None:
    from loguru import logger

    logger.warning("{}", f"ckptkit: {line}")
