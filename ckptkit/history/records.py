"""A bounded SQLite file: samples, saves, deletions, damage, alerts. Any number of processes may write at once.

It has a rollback journal, not WAL: WAL needs memory shared between the writers, which no network disk gives, and home
directories lie on such. Each call opens the file anew, so nothing is held open, locked or cached between two ticks of
a monitor, and a file that was deleted or mended meanwhile is no matter.

No call takes longer than LONGEST_SECONDS, whatever the disk does, and none raises: it returns the fault in words.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ckptkit.history.remembered import state_directory
from ckptkit.model.events import Alert, Damage, Deletion, Sample, Save
from ckptkit.model.reason import Reason, reason_words
from ckptkit.system import small_files
from ckptkit.system.timeout import Timeout

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

Event = Sample | Save | Deletion | Damage | Alert
T = TypeVar("T", Sample, Save, Deletion, Damage, Alert)

FILE = "history.sqlite3"
APPLICATION = 0x636B7074  # "ckpt" in the file's header (PRAGMA application_id), so that no other program's is touched
VERSION = 1  # PRAGMA user_version
BUSY_SECONDS = 4.0  # for which one writer waits for the others
LONGEST_SECONDS = 5.0  # for which a sweep waits for its record
PAGES = 16_384  # of 4 KiB: the file never exceeds 64 MiB
LONGEST_TEXT = 4096  # characters
DAY = 86_400


class Kept(NamedTuple):
    """A table: its name, how many rows it keeps, and how many days."""

    table: str
    rows: int
    days: int


TABLES: dict[type[Event], Kept] = {
    Sample: Kept("samples", 60_000, 90),  # every ten minutes, a volume and three runs: 100 days
    Save: Kept("saves", 20_000, 365),
    Deletion: Kept("deletions", 20_000, 730),
    Damage: Kept("damage", 5_000, 365),
    Alert: Kept("alerts", 10_000, 365),
}
_timeout = Timeout(LONGEST_SECONDS)
_told: set[str] = set()


def record(*events: Event) -> str:
    """Keep what happened. Returns "", or why it is lost: in words, and once a process for each reason."""
    path = _path()
    try:
        _timeout.call(lambda: _mended(path, lambda: _write(path, events)))
    except Exception as fault:  # noqa: BLE001 - a record is never worth the work that it is about
        return _once(f"the history in {path} can't be written: {fault}")
    _told.clear()
    return ""


def recall(noun: type[T], since: float = 0.0, most: int = 100_000, **where: object) -> tuple[list[T], str]:
    """Given a noun, return what is known of it, oldest first, and "" or why nothing is known.

    most: the newest so many. where: {field: value} that must be equal.
    """
    path = _path()
    if not os.path.lexists(path):
        return [], ""
    try:
        return _timeout.call(lambda: _settled(lambda ro: _read(path, ro, noun, since, most, where))), ""
    except Exception as fault:  # noqa: BLE001 - as above
        return [], f"{path} can't be read: {fault}"


def last_rungs() -> tuple[dict[tuple[str, str], int], str]:
    """Return {(subject, code): rung} as the last alert of each told it, and "" or why it is not known."""
    alerts, fault = recall(Alert)
    return {(alert.subject, alert.code): alert.rung for alert in alerts}, fault


def _once(fault: str) -> str:
    if fault in _told:
        return ""
    _told.add(fault)
    return fault


def _path() -> str:
    return os.path.join(state_directory(), FILE)


def _write(path: str, events: Sequence[Event]) -> None:
    small_files.ensure_directory(os.path.dirname(path))
    with _opened(path) as db, db:  # the inner one commits, or rolls back
        db.execute("BEGIN IMMEDIATE")
        _prepare(db)
        if _pages(db) > PAGES * 0.9:
            _halve(db)
        for event in events:
            _insert(db, event)
        for noun in {type(event) for event in events}:
            _forget_old(db, TABLES[noun], events[-1].at)


@contextmanager
def _opened(path: str, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    import sqlite3

    mode = "ro" if read_only else "rwc"
    place = f"file:{_quoted(path)}?mode={mode}"
    db = sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None, uri=True)
    try:
        db.text_factory = os.fsdecode  # a path need not be UTF-8
        if not read_only:
            db.execute("PRAGMA journal_mode=TRUNCATE")  # cheaper than to unlink it each time
            # No fsync: it waits for all that training writes meanwhile, seconds. A killed writer costs nothing all the
            # same; a power cut within the next half minute may cost the file, and that is moved aside then.
            db.execute("PRAGMA synchronous=OFF")
            db.execute(f"PRAGMA max_page_count={PAGES}")
        yield db
    finally:
        db.close()


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(os.path.abspath(path)))


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables of a new file. Raises ValueError if it is another program's, or a later version's."""
    application, version = _header(db)
    if (application, version) == (APPLICATION, VERSION):
        return
    if application or version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise ValueError("it is not ours; move it away, or set CKPTKIT_STATE to another directory")
    for noun, kept in TABLES.items():
        db.execute(f"CREATE TABLE {kept.table} (id INTEGER PRIMARY KEY, {', '.join(noun._fields)})")
        db.execute(f"CREATE INDEX {kept.table}_at ON {kept.table} (at)")
    db.execute(f"PRAGMA application_id={APPLICATION}")
    db.execute(f"PRAGMA user_version={VERSION}")


def _header(db: sqlite3.Connection) -> tuple[int, int]:
    (application,), (version,) = (db.execute(f"PRAGMA {n}").fetchone() for n in ("application_id", "user_version"))
    return application, version


def _pages(db: sqlite3.Connection) -> int:
    """In use; what was deleted leaves free ones behind, which are filled first."""
    (total,), (free,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
    return int(total) - int(free)


def _halve(db: sqlite3.Connection) -> None:
    """Drop the older half of everything: only names of thousands of characters come this far."""
    for kept in TABLES.values():
        middle = f"SELECT (min(id) + max(id)) / 2 FROM {kept.table}"  # noqa: S608 - names of our own, no values
        db.execute(f"DELETE FROM {kept.table} WHERE id <= ({middle})")  # noqa: S608 - names of our own, no values


def _insert(db: sqlite3.Connection, event: Event) -> None:
    table, fields = TABLES[type(event)].table, event._fields
    marks = ", ".join("?" * len(fields))
    db.execute(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks})", [_stored(value) for value in event])  # noqa: S608 - names of our own, no values


def _forget_old(db: sqlite3.Connection, kept: Kept, now: float) -> None:
    table = kept.table
    db.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", [kept.rows])  # noqa: S608 - names of our own, no values
    db.execute(f"DELETE FROM {table} WHERE at < ?", [now - kept.days * DAY])  # noqa: S608 - names of our own, no values


def _stored(value: object) -> object:
    """As SQLite takes it: 64 bits, and bytes where a name is no text."""
    if isinstance(value, tuple):  # reasons; a version that knew no codes takes the keys, which are the messages
        value = json.dumps({reason_words((reason,)): reason.code for reason in value})
    if isinstance(value, int):
        return max(-(1 << 63), min(value, (1 << 63) - 1))
    if not isinstance(value, str):
        return value
    text = value[:LONGEST_TEXT]
    return text if text.isascii() or _is_text(text) else os.fsencode(text)


def _is_text(text: str) -> bool:
    with suppress(UnicodeEncodeError):
        text.encode()
        return True
    return False


def _settled(read: Callable[[bool], list[T]]) -> list[T]:
    """Read; what a killed writer left half written is rolled back first, which takes a right to write."""
    import sqlite3

    try:
        return read(True)
    except sqlite3.OperationalError as fault:
        if "readonly" not in str(fault):  # its error's name comes with Python 3.11
            raise
        return read(False)


def _read(path: str, read_only: bool, noun: type[T], since: float, most: int, where: dict[str, object]) -> list[T]:
    table, fields = TABLES[noun].table, noun._fields
    conditions = " AND ".join(["at >= ?", *(f"{name} = ?" for name in where)])
    query = f"SELECT {', '.join(fields)} FROM {table} WHERE {conditions} ORDER BY id DESC LIMIT ?"  # noqa: S608 - names of our own, no values
    with _opened(path, read_only) as db:
        if _header(db) != (APPLICATION, VERSION):
            return []
        rows = db.execute(query, [since, *map(_stored, where.values()), most]).fetchall()
    return [noun(*map(_recalled, fields, row)) for row in reversed(rows)]


def _recalled(field: str, value: Any) -> Any:
    value = os.fsdecode(value) if isinstance(value, bytes) else value
    return _reasons(value) if field == "reasons" else value


def _reasons(stored: str) -> tuple[Reason, ...]:
    """As `_stored` wrote them; as versions wrote them that knew no codes, they are a list of messages."""
    try:
        known = json.loads(stored)
    except ValueError:
        return (Reason("", stored),)  # it was longer than LONGEST_TEXT
    if isinstance(known, dict):
        return tuple(Reason(code, message) for message, code in known.items())
    return tuple(Reason("", message) for message in known)


def _mended(path: str, write: Callable[[], None]) -> None:
    """Write; a file whose bytes are wrong is moved aside first, for whoever wants to look into it."""
    import sqlite3

    try:
        write()
    except sqlite3.DatabaseError as fault:
        if type(fault) is not sqlite3.DatabaseError:  # its children: full, locked, read-only, can't be opened
            raise
        for suffix in ("-journal", ""):  # a journal left behind would be played into the new file
            with suppress(FileNotFoundError):
                os.replace(path + suffix, f"{path}.broken{suffix}")
        write()
