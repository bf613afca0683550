"""What lies on the box's volumes and who works there."""

from __future__ import annotations

from typing import Literal, NamedTuple

# What keeps a training when the connection drops; "" is not known, "terminal" is nothing.
KeptBy = Literal["tmux", "screen", "nohup", "detached", "terminal", ""]


class Volume(NamedTuple):
    """A mounted file system as statvfs tells it. `free_bytes` includes root's reserve, `available_bytes` does not."""

    path: str
    mount: str
    device: str
    filesystem: str
    total_bytes: int
    free_bytes: int
    available_bytes: int
    total_inodes: int
    free_inodes: int
    read_only: bool

    @property
    def reserved_bytes(self) -> int:
        """Bytes that only root may use."""
        return self.free_bytes - self.available_bytes

    @property
    def used_fraction(self) -> float:
        """As `df` counts it: of what an ordinary user could ever use."""
        usable = self.total_bytes - self.reserved_bytes
        return 1.0 if usable <= 0 else (self.total_bytes - self.free_bytes) / usable

    @property
    def inodes_used_fraction(self) -> float:
        """From 0 to 1; 0 where the file system counts none."""
        return 0.0 if self.total_inodes == 0 else 1 - self.free_inodes / self.total_inodes


class OpenFile(NamedTuple):
    """A file that a live process holds open; `deleted` ones keep their bytes until it closes them."""

    path: str
    pid: int
    command: str
    deleted: bool = False

    @property
    def holder(self) -> str:
        """The process, for a person."""
        return f"{self.command} (pid {self.pid})"


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
    file. started_at: seconds since the epoch, None if nobody can tell. guard: what its claim on the run shows, for a
    person, "" if it has none.
    """

    pid: int
    process: str
    command_line: str
    started_at: float | None
    run: str = ""
    on_volume: bool = False
    session: KeptBy = "detached"
    session_name: str = ""
    session_lost: bool = False
    log: str = ""
    log_written_at: float | None = None
    log_deleted: bool = False
    guard: str = ""
    guarded_since: float | None = None


class Worker(NamedTuple):
    """A process that is at work on a run, as a sentence. command: what shows it, as it can be pasted."""

    sentence: str
    command: str
