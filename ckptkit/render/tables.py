"""Sentences and tables for a terminal of any width, and what diskreport shows in them."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ckptkit.model.disk import Cache, Eater, Eaters, Training
from ckptkit.model.report import Box
from ckptkit.units import age, human, percent, printable

NARROW = 60  # columns; on fewer, a row of a table becomes lines

ROOM = 20  # columns that a table's last cell wants for itself

GAP = "  "

UNITS = re.compile(r"(?<=\d) (?=(?:[kMGTP]?B|%|s|min|h|d)(?![A-Za-z]))")  # a number and its unit are one word

NAMED_BY_ITSELF = {"size", "share", "file", "directory", "checkpoint", "volume", "run", "process", "kind", "what"}

Paint = Callable[[str, str], str]  # (name of the column, what stands there) → the same with colour


def wrapped(text: str, width: int | None, first: str = "", rest: str | None = None) -> list[str]:
    """Given a sentence, return its lines. first: what the first begins with. rest: the others, default as many blanks.

    What can't be broken (a name without a slash that is longer than a line) stays whole.
    """
    rest = " " * len(first) if rest is None else rest
    if width is None:
        return [first + text]
    lines, line = [], first
    for piece, space in _pieces(text, width - len(rest)):
        begun = line not in (first, rest)
        if begun and len(line) + len(space) + len(piece) > width:
            lines.append(line)
            line = rest + piece
        else:
            line += (space if begun else "") + piece
    return [*lines, line]


def _pieces(text: str, room: int) -> Iterator[tuple[str, str]]:
    """(what stays whole, what stands before it on the same line)."""
    for joined in UNITS.sub("\0", text).split(" "):
        word = joined.replace("\0", " ")
        parts = re.findall(r"/*[^/]+/*|/+", word) if len(word) > room else [word]
        yield from ((part, "" if index else " ") for index, part in enumerate(parts))


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, paint: Paint = lambda _, cell: cell
) -> list[list[str]]:
    """Given names of columns and rows of cells, return the head's lines, then each row's; no head where rows are lines.

    Any name may stand in a cell. paint: what colours a cell; it must not change how wide it is on the terminal.
    """
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *clean, strict=True)]
    before = sum(widths[:-1]) + len(GAP) * len(widths)
    if width is not None and before + widths[-1] > width and (width < NARROW or width - before < ROOM):
        return [[], *(_stacked(columns, row, width, paint) for row in clean)]
    return [_aligned(columns, columns, widths, width, lambda _, cell: cell)] + [
        _aligned(columns, row, widths, width, paint) for row in clean
    ]


def _aligned(
    columns: Sequence[str], row: Sequence[str], widths: Sequence[int], width: int | None, paint: Paint
) -> list[str]:
    """The last cell is broken into several lines below one another."""
    *others, (_, last) = zip(columns, row, strict=True)
    padded = (
        paint(name, cell) + " " * (columns - len(cell)) for (name, cell), columns in zip(others, widths, strict=False)
    )
    indent = sum(widths[:-1]) + len(GAP) * len(widths)
    first, *more = wrapped(last, None if width is None else width - indent)
    begun = GAP + "".join(f"{cell}{GAP}" for cell in padded) + paint(columns[-1], first)
    return [begun.rstrip(), *(" " * indent + paint(columns[-1], line) for line in more)]


def _stacked(columns: Sequence[str], row: Sequence[str], width: int, paint: Paint) -> list[str]:
    labelled = [
        cell if column in NAMED_BY_ITSELF or cell.startswith(column) else f"{column} {cell}"
        for column, cell in zip(columns, row, strict=True)
        if cell
    ]
    lines = wrapped(labelled[0], width, GAP, GAP * 2)
    rest = wrapped(", ".join(labelled[1:]), width, GAP * 2) if labelled[1:] else []
    head = paint(columns[0], lines[0].lstrip())
    return [GAP + head, *lines[1:], *rest]


TOP = 10  # rows of caches and open files; the rest is in --json

NAMED = 3  # other trainings

MENTIONED_BYTES = 10**6  # an open deleted file below that is not why a disk is full


class Section(NamedTuple):
    """A table: its title, the names of its columns, its rows, what is to be said below, and a command for each row.

    commands: what fixes what the row shows, or (); none is broken into lines, so that it can be pasted.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    commands: tuple[str, ...] = ()


def sections(box: Box) -> list[Section]:
    """Given what was found, return the tables beside volumes and checkpoints that have something to show."""
    eaten = [section for eaters in box.eaters for section in (directories(eaters), files(eaters))]
    tables = [*eaten, caches(box), open_deleted(box), processes(box)]
    return [section for section in tables if section.rows or section.note]


def directories(eaters: Eaters) -> Section:
    """The largest directories below a root."""
    rows = tuple(_eater(e, eaters) for e in eaters.directories)
    return Section(f"largest directories of {eaters.root}", ("size", "share", "directory"), rows, _unseen(eaters))


def files(eaters: Eaters) -> Section:
    """The largest files below a root."""
    rows = tuple(_eater(e, eaters) for e in eaters.files)
    return Section(f"largest files of {eaters.root}", ("size", "share", "file"), rows)


def _eater(eater: Eater, eaters: Eaters) -> tuple[str, str, str]:
    share = eater.allocated_bytes / max(1, eaters.allocated_bytes)
    return human(eater.allocated_bytes), percent(share), eater.path


def _unseen(eaters: Eaters) -> str:
    unread = [f"{eaters.unreadable} directories could not be read"] if eaters.unreadable else []
    return "; ".join([*unread, "the time ran out before all was counted"] if eaters.unfinished else unread)


def caches(box: Box) -> Section:
    """What libraries and torn saves left, with what clears it."""
    shown = box.caches[:TOP]
    rows = tuple((human(c.allocated_bytes), c.kind, what(c)) for c in shown)
    note = _more(len(box.caches))
    return Section("caches and leftovers", ("size", "kind", "what"), rows, note, tuple(c.command for c in shown))


def what(cache: Cache) -> str:
    """Given a cache, return what a person calls it."""
    return f"{cache.path} ({cache.note})" if cache.note else cache.path


def open_deleted(box: Box) -> Section:
    """Deleted files that processes hold open."""
    large = [file for file in box.open_deleted if file.allocated_bytes >= MENTIONED_BYTES]
    shown = large[:TOP]
    rows = tuple((human(f.allocated_bytes), f"{f.process} (pid {f.pid})", f.path) for f in shown)
    commands = tuple(f.command for f in shown)
    return Section("deleted, but still open", ("size", "held by", "file"), rows, _more(len(large)), commands)


def _more(count: int) -> str:
    return f"and {count - TOP} more: --json lists all" if count > TOP else ""


def processes(box: Box) -> Section:
    """Whether training is alive on these runs, under a guard, what keeps it, and where it writes; others in a line."""
    own = [training for training in box.processes if training.run]
    rows = tuple((f"{t.process} (pid {t.pid})", t.run, guard(t), kept(t), log(t, box.at)) for t in own)
    notes = ["" if own or not box.plans else "no training process is alive on these runs", others(box)]
    return Section("training", ("process", "run", "guard", "kept by", "log"), rows, "; ".join(filter(None, notes)))


def others(box: Box) -> str:
    """Given what was found, return in a line who trains on the same volumes and on none of these runs; "" if nobody."""
    names = [f"{t.process} (pid {t.pid})" for t in box.processes if not t.run]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    there = "process on this volume trains" if len(names) == 1 else "processes on this volume train"
    return f"{len(names)} other {there} elsewhere: {', '.join(names[:NAMED])}{more}" if names else ""


def guard(training: Training) -> str:
    """Given a training, return whether it runs under a guard, and since when."""
    return training.guard or "none"


def kept(training: Training) -> str:
    """Given a training, return what keeps it when the connection drops."""
    if training.session_lost:
        return f"{training.session}; its session is gone"
    words = {"terminal": "nothing: it ends with its terminal", "detached": "no terminal (detached)", "": "not known"}
    return words.get(training.session, f"{training.session} {training.session_name}".strip())


def log(training: Training, now: float) -> str:
    """Given a training, return where its output goes and how long ago something came. now: seconds since the epoch."""
    if not training.log:
        return "none" if training.session else "not known"
    silent = age(now - (training.log_written_at or now))
    return f"{training.log}, {'deleted' if training.log_deleted else f'written {silent} ago'}"
