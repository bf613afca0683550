"""The log of a training that ended: found where that is certain, and read for what ended it."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.advise.log import causes, last_error, runs_in
from ckptkit.errors import CkptkitError, NoSuchRun
from ckptkit.ops.start import start_of
from ckptkit.runs import discover
from ckptkit.system import small_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptkit.model.advice import Cause
    from ckptkit.model.checkpoint import Checkpoint

HEAD_BYTES = 1 << 16  # where a log shows the command
TAIL_BYTES = 1 << 20  # of a log: a day of losses, and every traceback that matters
NAMES = ("*.log", "*.out", "*.err", "nohup.out")
MOST = 50  # files beside a run that are looked at
# A training writes its last words at once after the save that failed; before that save it logged every few minutes.
AFTER_SECONDS, BEFORE_SECONDS = 600, 3600


class Diagnosis(NamedTuple):
    """log: the file that was read, "" for none. causes: what ended the training. last_error: its last error, or "".

    head: the beginning of the log. run: the run that its lines name, "" if they name none that is there, or several.
    """

    log: str = ""
    causes: tuple[Cause, ...] = ()
    last_error: str = ""
    head: str = ""
    run: str = ""


def diagnosed(log: str, run: str = "") -> Diagnosis:
    """Given a log's path, and the run if it is known, return what the log tells. Raises NoSuchRun."""
    try:
        head, tail = _read(log)
    except OSError as error:
        raise NoSuchRun(f"--log {log!r}: {error.strerror}") from None
    run = run or _run_in(tail, os.path.dirname(os.path.abspath(log)))
    return Diagnosis(log, causes(tail, run), last_error(tail), head, run)


def log_of(run: str, checkpoints: Sequence[Checkpoint]) -> str:
    """Given a run and its checkpoints, return its training's log; "" unless it is certain which that is.

    It is where the training's output went, as its guard noted it. Else it is the one log in the run, or beside it,
    that names an error or a cause, speaks of this run, and was last written to around the last write to a checkpoint.
    """
    start, written_at = start_of(run), max((c.modified_at for c in checkpoints), default=0.0)
    if start and os.path.isfile(start.log) and os.stat(start.log).st_mtime >= written_at - BEFORE_SECONDS:
        return start.log
    fitting = [log for log in _beside(run) if _fits(log, run, written_at)]
    return fitting[0] if len(fitting) == 1 else ""


def _beside(run: str) -> Iterator[str]:
    run = os.path.realpath(run)
    logs = (log for place in (run, os.path.dirname(run)) for name in NAMES for log in _globbed(place, name))
    yield from list(dict.fromkeys(logs))[:MOST]


def _globbed(place: str, name: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(place), name)))


def _fits(log: str, run: str, written_at: float) -> bool:
    try:
        if not -BEFORE_SECONDS <= os.stat(log).st_mtime - written_at <= AFTER_SECONDS:
            return False
        head, tail = _read(log)
    except OSError:
        return False
    tells = causes(tail, run) or last_error(tail)
    return bool(tells) and _speaks_of(head + tail, log, run)


def _speaks_of(text: str, log: str, run: str) -> bool:
    """It lies in the run, names it, or lies beside it where there is no other."""
    run = os.path.realpath(run)
    place = os.path.dirname(os.path.realpath(log))
    if place == run or re.search(rf"(?<![\w./-]){re.escape(run)}(?![\w.-])", text):  # run-1 is not run-10
        return True
    return any(_is_run(mentioned, run) for mentioned in runs_in(text)) or _runs_below(place) == [run]


def _is_run(path: str, run: str) -> bool:
    """Whether a path that a log gives checkpoints in may be the run: relative to any place, or where it lay before."""
    if os.path.isabs(path):
        same = os.path.basename(os.path.normpath(path)) == os.path.basename(run)
        return os.path.realpath(path) == run or (same and not os.path.isdir(path))
    while path.startswith(("./", "../")):
        path = path.partition("/")[2]
    return bool(path) and run.endswith(f"/{path.rstrip('/')}")


def _read(log: str) -> tuple[str, str]:
    """The log's beginning and its end, as text. Raises OSError."""
    with small_files.opened(log, follow=True) as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return head.decode("utf-8", "replace"), file.read(TAIL_BYTES).decode("utf-8", "replace")


def _run_in(tail: str, place: str) -> str:
    """The one run that the log's lines name, as it lies from here, or from where the log lies; else the one there."""
    for base in dict.fromkeys((os.getcwd(), place)):
        paths = [os.path.normpath(os.path.join(base, mentioned)) for mentioned in runs_in(tail) if mentioned]
        there = list(dict.fromkeys(path for path in paths if os.path.isdir(path)))
        if there:
            return there[0] if len(there) == 1 else ""
    below = [] if any(runs_in(tail)) else _runs_below(place)
    return below[0] if len(below) == 1 else ""


def _runs_below(place: str) -> list[str]:
    with suppress(CkptkitError):
        return discover.find_runs(place, deepest=1)
    return []
