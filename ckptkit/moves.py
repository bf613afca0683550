"""The nouns of `move`: what goes to another volume or another box, in which order, and what came of it."""

from typing import Literal, NamedTuple

from ckptkit.model import Checkpoint, Failure, Outcome, Verdict

Step = Literal["copy", "compare", "wait", "skip"]


class Item(NamedTuple):
    """One checkpoint of the run and what `move` does with it.

    step: `copy`; `compare`, where one of that name is at DEST already; `wait`, where it does not fit; `skip`.
    why: the reasons for it. need_bytes: what a copy takes at DEST beyond what a broken-off one already has there.
    """

    checkpoint: Checkpoint
    verdict: Verdict
    step: Step
    why: str = ""
    need_bytes: int = 0


class MovePlan(NamedTuple):
    """What `move` will do, in the order in which it does it.

    dest: where to, as a person names it. folder: the directory there. host: "" for a directory of this box.
    belongings: entries of the run beside its checkpoints that go along; left: those that stay behind.
    need_bytes, available_bytes: of all that is to be copied, and at DEST now.
    """

    run: str
    dest: str
    folder: str
    host: str
    proof: str
    items: tuple[Item, ...]
    belongings: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    need_bytes: int = 0
    available_bytes: int = 0

    @property
    def copies(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.step in ("copy", "compare"))

    @property
    def waiting(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.step == "wait")

    @property
    def missing_bytes(self) -> int:
        return max(0, self.need_bytes - self.available_bytes) if self.waiting else 0


class Moved(NamedTuple):
    """A plan and what came of it; a dry run has the plan alone, and `done` is False.

    copied, there: names that are proved at DEST, copied just now or before. failures: what is not there, or not
    proved. missing_bytes: what DEST still lacks. deleted: what left the source, if that was asked for.
    stays: {name: why} of those that were to leave the source and did not. blocked: why nothing could leave it at all.
    resume: what goes on from the newest one at DEST, "" if there is none. newer: where nobody here can judge what lies
    at DEST, the name of one that is newer than all that was proved, and resume_newer what goes on from that.
    """

    plan: MovePlan
    done: bool = False
    copied: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    missing_bytes: int = 0
    deleted: Outcome | None = None
    stays: tuple[tuple[str, str], ...] = ()
    blocked: str = ""
    resume: str = ""
    newer: str = ""
    resume_newer: str = ""

    @property
    def proved(self) -> tuple[str, ...]:
        return self.copied + self.there
