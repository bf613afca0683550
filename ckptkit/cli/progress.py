"""A bar on the terminal while gigabytes are read: bytes, rate, time left. A line while a volume is walked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ckptkit.units import human, printable


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
        yield lambda seen, path: status.update(escape(f"walking: {human(seen)} so far, {printable(path)[-60:]}"))
