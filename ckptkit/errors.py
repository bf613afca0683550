"""Everything that ckptkit raises on purpose. Each error knows the exit code that the command line gives it."""

from __future__ import annotations

from typing import Any


class CkptkitError(Exception):
    """One clear line for a person; `exit_code` is the contract of the command line (README, "Exit codes")."""

    exit_code = 1


class DiskError(CkptkitError):
    """The system refused something that can't be done without, as a volume does that went away or goes bad."""

    def __init__(self, error: OSError) -> None:
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        super().__init__(f"{place}{error.strerror or error}; what was done until then stands: try again")


class UsageError(CkptkitError):
    """A flag, setting or argument that can't be meant: nothing was changed."""

    exit_code = 2


class NotInstalled(UsageError):
    """A Python package that this needs is not there: nothing was changed. fix: the command that installs it."""

    def __init__(self, package: str, fix: str) -> None:
        super().__init__(f"this needs the Python package {package}, which is not installed; fix: {fix}")


class NoIntactCheckpoint(CkptkitError):
    """Nothing here that a training could go on from, so nothing was deleted either.

    why: the same without what to type, for a page that has a line of its own for that.
    """

    exit_code = 4

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why or message


class NoSuchRun(CkptkitError):
    """The path is not there, not a directory, or holds no checkpoint."""

    exit_code = 10


class UnreadableRun(NoSuchRun):
    """The disk does not let it be looked at, so nobody knows what is there."""


class SchedulerError(CkptkitError):
    """cron, systemd or tmux did not do what it was asked for."""

    exit_code = 3


class LockHeld(CkptkitError):
    """Another process works on this run.

    saving: that is a training under a guard in the middle of a save, which takes seconds: no reason for a mail.
    """

    exit_code = 11

    def __init__(self, message: str, saving: bool = False) -> None:
        super().__init__(message)
        self.saving = saving


class RemoteFailed(CkptkitError):
    """Another box could not be reached, or was lost on the way: what was done until then stands, try again."""

    exit_code = 75


class MassDelete(CkptkitError):
    """A plan deletes more intact checkpoints than the guard against mistyped policies lets through without a yes.

    pruned: what was done all the same (`ops.Pruned`), where something was.
    """

    exit_code = 25

    def __init__(self, message: str, pruned: Any = None) -> None:
        super().__init__(message)
        self.pruned = pruned
