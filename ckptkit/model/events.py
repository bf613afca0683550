"""More nouns: what happened, as the history keeps it, and what the monitor sees and tells. See `ckptkit.model`.

`at` is always the first item: seconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Level, Severity, State
    from ckptkit.model.disk import Volume
    from ckptkit.model.reason import Reason

SaveKind = Literal["save", "weights-only"]


class Sample(NamedTuple):
    """A volume at one moment, and what of it the checkpoints of one run take; `step` is that of the newest one."""

    at: float
    mount: str
    total_bytes: int
    used_bytes: int
    available_bytes: int
    run: str = ""
    step: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0


class Outlook(NamedTuple):
    """When a volume is full, or that it never is. `full_step` and `full_at` are None if it is not.

    peak_used_bytes: the most that will be used, at `peak_step`, if nothing changes.
    """

    full_at: float | None
    full_step: int | None
    peak_used_bytes: int
    peak_step: int | None


class Save(NamedTuple):
    """A checkpoint that was written. kind: save or weights-only. seconds: for which training stood still for it."""

    at: float
    run: str
    checkpoint: str
    step: int
    allocated_bytes: int
    kind: SaveKind
    seconds: float


class Deletion(NamedTuple):
    """A checkpoint that is gone. who: the user; program: what they ran; via: cron, a terminal, or "".

    expected_bytes: what it took. sweep_freed_bytes: what the volume gained by all that went together with it, which
    are those of the same `at`, `pid` and `run`.
    """

    at: float
    user: str
    program: str
    via: str
    pid: int
    run: str
    checkpoint: str
    step: int
    reasons: tuple[Reason, ...]
    expected_bytes: int
    sweep_freed_bytes: int


class Damage(NamedTuple):
    """A checkpoint that was found incomplete or corrupt, with the first finding about it."""

    at: float
    run: str
    checkpoint: str
    step: int
    state: State
    level: Level
    code: str
    message: str


class Alert(NamedTuple):
    """A threshold was crossed, upward or back. subject: a mount or a run. rung: how many of the code's are exceeded.

    rung 0: all is well again. command: what mends it.
    """

    at: float
    subject: str
    code: str
    rung: int
    level: Severity
    message: str
    command: str = ""


class VolumeSight(NamedTuple):
    """A volume as the monitor sees it. growth: bytes an hour of the last hour, None if that is not known yet."""

    volume: Volume
    growth: float | None = None


class RunSight(NamedTuple):
    """A run as the monitor sees it; what can't be told right now is None.

    save_bytes: what the next save will take. over_policy: how many intact ones stand beyond what the rules keep.
    save_interval: the usual seconds between two saves. newest: the verdict's state of the newest checkpoint.
    at_work: a sentence for each training, or other process, that is at work there.
    """

    sample: Sample
    save_bytes: int = 0
    over_policy: int | None = None
    last_save_at: float | None = None
    save_interval: float | None = None
    newest: State | Literal[""] = ""
    newest_path: str = ""
    finding: str = ""
    outlook: Outlook | None = None
    last_step: int = 0
    at_work: tuple[str, ...] = ()

    @property
    def saves_that_fit(self) -> float | None:
        """How many more saves the volume takes."""
        return self.sample.available_bytes / self.save_bytes if self.save_bytes else None


class Sight(NamedTuple):
    """All that one look saw. errors: (path, why it could not be looked at)."""

    at: float
    volumes: tuple[VolumeSight, ...] = ()
    runs: tuple[RunSight, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
