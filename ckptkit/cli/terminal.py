"""What moves on a terminal while a person waits: a page drawn at each look, a bar, a line. All need rich."""

from __future__ import annotations

import shutil
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ckptkit.units import human, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptkit.model.events import Alert
    from ckptkit.ops.monitor import Tick

    Draw = Callable[[Tick, dict[str, str]], None]  # gets a look, and {mount: its state in a word}


@contextmanager
def live(colour: bool) -> Iterator[Draw | None]:
    """Yield a function that draws a look and {mount: its state in a word}; None without rich. Restores the terminal."""
    from ckptkit.render import monitor

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


@contextmanager
def bar(total_bytes: int) -> Iterator[Callable[[int], None] | None]:
    """Given how many bytes there are to read, yield what to call with each count read. Without rich, None."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
    except ImportError:
        yield None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total_bytes)
        yield lambda count: progress.advance(task, count)


@contextmanager
def spinner() -> Iterator[Callable[[int, str], None] | None]:
    """Yield what to call with the bytes seen so far and where the walk is. Without rich, None."""
    try:
        from rich.console import Console
        from rich.markup import escape
    except ImportError:
        yield None
        return
    with Console(stderr=True).status("walking") as status:
        yield lambda walked_bytes, path: status.update(
            escape(f"walking: {human(walked_bytes)} so far, {printable(path)[-60:]}")
        )
