"""What was measured before a start. Values alone: whoever judges a state that is only planned gives that one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptkit.model.advice import ScriptReport
    from ckptkit.model.decision import PrunePlan
    from ckptkit.model.disk import Volume, Worker

SessionKind = Literal["tmux", "screen", "nohup", "systemd", "setsid", "jupyter", ""]


class Place(NamedTuple):
    """Where a training writes beside its run.

    name: as a person knows it (HOME, TMPDIR, HF_HOME, /dev/shm). path: what it stands for. volume: what that lies on,
    None if it could not be looked at. fault: why nothing can be written there, "" if it can. beside: it is the run's.
    """

    name: str
    path: str
    volume: Volume | None
    fault: str = ""
    beside: bool = False


class Session(NamedTuple):
    """What keeps a training alive after the connection drops.

    kind: tmux, screen, nohup, systemd, setsid; jupyter: its kernel keeps it; "" for nothing; None: nobody is on a line.
    command: what starts one here, "" if nothing that would is installed.
    """

    kind: SessionKind | None
    command: str = ""


class Facts(NamedTuple):
    """What was measured before the start. Bytes, seconds since the epoch, texts for a person.

    newest: path of the checkpoint that a resume takes, or None; why_none: the reason, "" if the run is new.
    skipped: of each newer intact one that a resume does not take, its name and why.
    unknown: of each that can't be judged and is newer, why, how large and how old. skip_unknown: go on without them.
    settings: of the training that will start, None if not known; origin: where from. scripts: of its own, looked at.
    probe: why a file could not be written and deleted, "" if it could (None: not tried).
    trainings: each other process that is at work on the run. perhaps: processes with torch of which nothing shows where
    they write, None if there are none.
    watcher: who looks after it (cron, a monitor), "" if nobody does, None if nobody can tell. above: the directory that
    `cron --install` takes, or "".
    session: what keeps us alive after the line drops.
    dangling: {link or file in the run that names a checkpoint: what it names}, of those that name none that is there.
    places: where else a training writes. processes: how many it has, ranks and data loaders' workers, 1 if not known.
    misspelt: {setting in the training's own file: the name that was probably meant}. config: that file's path, or "".
    meant: a run of a similar name, where this one is not there.
    """

    run: str
    now: float
    volume: Volume
    plan: PrunePlan | None
    newest: str | None
    skipped: tuple[str, ...]
    why_none: str
    unknown: tuple[str, ...]
    skip_unknown: bool
    keep_last: int
    settings: Mapping[str, object] | None
    origin: str
    scripts: tuple[ScriptReport, ...]
    probe: str | None
    trainings: tuple[Worker, ...]
    watcher: str | None
    above: str
    session: Session
    dangling: Mapping[str, str] = {}
    perhaps: Worker | None = None
    places: tuple[Place, ...] = ()
    processes: int = 1
    misspelt: Mapping[str, str] = {}
    config: str = ""
    meant: str = ""

    @property
    def sizes(self) -> list[int]:
        """Bytes of each checkpoint that is there."""
        return [d.checkpoint.allocated_bytes for d in self.plan.decisions] if self.plan else []
