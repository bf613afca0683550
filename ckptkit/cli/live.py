"""A page on the terminal that is drawn again at each look."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ckptkit.model.events import Alert
from ckptkit.ops.monitor import Tick
from ckptkit.render import monitor

Draw = Callable[[Tick, dict[str, str]], None]


@contextmanager
def live(colour: bool) -> Iterator[Draw | None]:
    """Yield a function that draws a look and {mount: its state in a word}; None without rich. Restores the terminal."""
    try:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        yield None
        return
    alerts: deque[Alert] = deque(maxlen=monitor.LAST_ALERTS)
    with Live(console=Console(no_color=not colour), auto_refresh=False) as shown:

        def draw(tick: Tick, conditions: dict[str, str]) -> None:
            alerts.extend(tick.alerts)
            width = shutil.get_terminal_size((120, 40)).columns
            page = monitor.page(tick.sight, conditions, tick.trail, list(alerts), colour, width)
            shown.update(Text.from_ansi(page), refresh=True)

        yield draw
