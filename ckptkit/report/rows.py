"""What diskreport's pages show in tables, whatever draws them: titles, columns and cells as plain text."""

from ckptkit.box import Box, Cache, Eater, Eaters, Training
from ckptkit.report.text import age, human
from ckptkit.tuples import NamedTuple

TOP = 10  # rows of caches and open files; the rest is in --json
MENTIONED_BYTES = 1 << 20  # an open deleted file below that is not why a disk is full


class Section(NamedTuple):
    """A table: its title, the names of its columns, its rows, and what is to be said below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def sections(box: Box) -> list[Section]:
    """Given what was found, return the tables beside volumes and checkpoints that have something to show."""
    eaten = [section for eaters in box.eaters for section in (directories(eaters), files(eaters))]
    made = [*eaten, caches(box), open_deleted(box), processes(box)]
    return [section for section in made if section.rows or section.note]


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
    return human(eater.allocated_bytes), f"{share:.0%}", eater.path


def _unseen(eaters: Eaters) -> str:
    told = [f"{eaters.unreadable} directories could not be read"] if eaters.unreadable else []
    return "; ".join([*told, "not all was walked in time"] if eaters.unfinished else told)


def caches(box: Box) -> Section:
    """What libraries and torn saves left, with what clears it."""
    rows = tuple((human(c.allocated_bytes), c.kind, what(c), c.command) for c in box.caches[:TOP])
    return Section("caches and debris", ("size", "kind", "what", "cleared by"), rows, _more(len(box.caches)))


def what(cache: Cache) -> str:
    """Given a cache, return what a person calls it."""
    return f"{cache.path} ({cache.note})" if cache.note else cache.path


def open_deleted(box: Box) -> Section:
    """Deleted files that processes hold open."""
    large = [file for file in box.open_deleted if file.allocated_bytes >= MENTIONED_BYTES]
    rows = tuple((human(f.allocated_bytes), f"{f.process} (pid {f.pid})", f.path, f.command) for f in large[:TOP])
    return Section("deleted, but still open", ("size", "held by", "file", "freed by"), rows, _more(len(large)))


def _more(count: int) -> str:
    return f"and {count - TOP} more: --json" if count > TOP else ""


def processes(box: Box) -> Section:
    """Whether training is alive, under a guard, what keeps it, and where it writes."""
    rows = tuple((f"{t.process} (pid {t.pid})", t.run or "?", guard(t), kept(t), log(t, box.at)) for t in box.processes)
    note = "" if rows or not box.plans else "no training process is alive on these runs or their volume"
    return Section("training", ("process", "run", "guard", "kept by", "log"), rows, note)


def guard(training: Training) -> str:
    """Given a training, return whether it runs under a guard, and since when; "?" where its run is not one of ours."""
    return training.guard or ("none" if training.run else "?")


def kept(training: Training) -> str:
    """Given a training, return what keeps it when the connection drops."""
    if training.session_lost:
        return f"{training.session}; its session is gone"
    words = {"terminal": "nothing: it hangs on a terminal", "detached": "no terminal (detached)", "": "?"}
    return words.get(training.session, f"{training.session} {training.session_name}".strip())


def log(training: Training, now: float) -> str:
    """Given a training, return where its output goes and how long ago something came."""
    if not training.log:
        return "none" if training.session else "?"
    silent = age(now - (training.log_written_at or now))
    return f"{training.log}, {'deleted' if training.log_deleted else f'written {silent} ago'}"
