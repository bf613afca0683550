"""What diskreport found on a box, whole."""

from typing import NamedTuple

from ckptkit.model.advice import Flag
from ckptkit.model.decision import PrunePlan
from ckptkit.model.disk import Cache, Eaters, OpenDeleted, Quota, Training, Volume
from ckptkit.model.events import Outlook, Sample


class Trail(NamedTuple):
    """A volume's last day, or a run's on it, oldest first, one sample at least; when it is full, if that is known."""

    samples: tuple[Sample, ...]
    outlook: Outlook | None = None

    @property
    def run(self) -> str:
        """The run's path, "" for the volume alone."""
        return self.samples[-1].run

    @property
    def mount(self) -> str:
        """Where the volume is mounted."""
        return self.samples[-1].mount


class Box(NamedTuple):
    """All that diskreport found at `at`. `errors` are the runs that could not be planned, with the reason."""

    volumes: tuple[Volume, ...]
    plans: tuple[PrunePlan, ...]
    flags: tuple[Flag, ...]
    errors: tuple[tuple[str, str], ...] = ()
    eaters: tuple[Eaters, ...] = ()
    caches: tuple[Cache, ...] = ()
    open_deleted: tuple[OpenDeleted, ...] = ()
    processes: tuple[Training, ...] = ()
    trails: tuple[Trail, ...] = ()
    quotas: tuple[Quota, ...] = ()
    at: float = 0.0
