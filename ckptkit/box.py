"""The nouns of diskreport: what else lies on a box beside checkpoints. `bin/prune` never loads them.

As in `model`: frozen, paths absolute, bytes integers and allocated (hard links once), times seconds since the epoch.
"""

from typing import NamedTuple

from ckptkit.advice import Flag
from ckptkit.events import Outlook, Sample
from ckptkit.model import Plan, Volume


class Eater(NamedTuple):
    """A file, or a directory with all below it on the same file system."""

    path: str
    allocated_bytes: int


class Eaters(NamedTuple):
    """The largest directories and files below `root`, largest first.

    unreadable: how many directories could not be listed, the first of them with the reason. unfinished: the time was
    over before all was seen, so there is more than `allocated_bytes`.
    """

    root: str
    allocated_bytes: int = 0
    directories: tuple[Eater, ...] = ()
    files: tuple[Eater, ...] = ()
    unreadable: int = 0
    first_unreadable: str = ""
    unfinished: bool = False


class Quota(NamedTuple):
    """What somebody uses of a volume, or of a part of it, and may use; a limit of 0 is none."""

    mount: str
    used_bytes: int
    limit_bytes: int
    used_inodes: int
    limit_inodes: int
    whose: str = "this user"


class Cache(NamedTuple):
    """What a library left behind and can make or fetch again, or what a torn save left, and what clears it."""

    kind: str
    path: str
    mount: str
    allocated_bytes: int
    command: str
    note: str = ""


class OpenDeleted(NamedTuple):
    """A file without a name whose bytes come back when the process closes it. `command` frees them sooner."""

    path: str
    mount: str
    pid: int
    process: str
    allocated_bytes: int
    command: str


class Training(NamedTuple):
    """A live process that trains. `run`: the run it holds or names, or "". `on_volume`: it has files on the volume.

    session: what keeps it when the connection drops: "tmux", "screen", "nohup", "detached"; "terminal" is nothing.
    "" is not known. session_lost: it began in a tmux or screen that is gone. log: where its output goes, "" if into no
    file. guard: what its claim on the run shows, for a person, "" if it has none.
    """

    pid: int
    process: str
    command_line: str
    started_at: float
    run: str = ""
    on_volume: bool = False
    session: str = "detached"
    session_name: str = ""
    session_lost: bool = False
    log: str = ""
    log_written_at: float | None = None
    log_deleted: bool = False
    guard: str = ""
    guarded_since: float | None = None


class Trail(NamedTuple):
    """A volume's last day, or a run's on it, oldest first, one sample at least; when it is full, if that is known."""

    samples: tuple[Sample, ...]
    outlook: Outlook | None = None

    @property
    def run(self) -> str:
        return self.samples[-1].run

    @property
    def mount(self) -> str:
        return self.samples[-1].mount


class Box(NamedTuple):
    """All that diskreport found at `at`. `errors` are the runs that could not be planned, with the reason."""

    volumes: tuple[Volume, ...]
    plans: tuple[Plan, ...]
    flags: tuple[Flag, ...]
    errors: tuple[tuple[str, str], ...] = ()
    eaters: tuple[Eaters, ...] = ()
    caches: tuple[Cache, ...] = ()
    open_deleted: tuple[OpenDeleted, ...] = ()
    processes: tuple[Training, ...] = ()
    trails: tuple[Trail, ...] = ()
    quotas: tuple[Quota, ...] = ()
    at: float = 0.0


class Worker(NamedTuple):
    """A process that is at work on a run, as a sentence. command: what shows it, as it can be pasted."""

    sentence: str
    command: str
