"""What a disk is asked, bounded: one that hangs, and a fault of our own, cost saves and not the training."""

from collections.abc import Callable

from ckptkit.errors import CkptkitError
from ckptkit.guard.messages import warn
from ckptkit.guard.room import Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.guard.slots import Slot
from ckptkit.system.timeout import Timeout

# For which one save may hold up training while its disk does nothing at all: beyond that it hangs, and the save is
# skipped. Below the ten minutes after which NCCL ends a training of which a rank waits.
LONGEST_SECONDS = 480.0
STILL_HANGING_SECONDS = 5.0  # for each save after that, until the disk answers again


class Bounded:
    """Of one run's disk. longest: seconds that anything may take. hangs: since it did not answer, in this save."""

    def __init__(self, room: Room) -> None:
        self.room, self.hangs = room, False
        self.set(room.settings)
        self.timeout = Timeout(self.longest)

    def set(self, settings: GuardSettings) -> None:
        """Go on with these."""
        self.longest = LONGEST_SECONDS + (settings.on_full_timeout if settings.on_full == "wait" else 0)

    def save_begins(self) -> None:
        """Another one: if it hung before, it is waited for less long."""
        self.timeout.seconds = STILL_HANGING_SECONDS if self.hangs else self.longest
        self.hangs = False

    def slot(self, question: Callable[[], Slot], otherwise: Slot | None = None) -> Slot:
        """The answer, or a save that is skipped for what the disk says. otherwise: for a fault of ours."""
        try:
            return self.timeout.call(question)
        except TimeoutError as error:
            return Slot("skip", self.hung(str(error)))
        except (CkptkitError, OSError) as error:
            return Slot("skip", str(error))
        except Exception as error:  # noqa: BLE001
            warn(_own_fault(error))
            return otherwise or Slot("skip", repr(error))

    def quietly(self, work: Callable[[], object]) -> None:
        """Do what no save depends on; a disk that can't or hangs is known by what comes next."""
        try:
            self.timeout.call(work)
        except TimeoutError as error:
            self.hung(str(error))
        except (CkptkitError, OSError):
            pass
        except Exception as error:  # noqa: BLE001
            warn(_own_fault(error))

    def hung(self, why: str) -> str:
        """It did not answer: the reason, for a person."""
        self.hangs = True
        self.timeout.seconds = STILL_HANGING_SECONDS
        return f"{self.room.run} does not answer: {why}"


def _own_fault(error: Exception) -> str:
    return f"an error in ckptkit itself; training goes on: {error!r}"
