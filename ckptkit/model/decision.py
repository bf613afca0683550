"""What is to happen to a run's checkpoints, and what came of it: to prune, to strip, to move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ckptkit.model.reason import Reason, ReasonCode, codes_of, reason_words
from ckptkit.units import count, human, printable

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Action, Checkpoint, File, Leftover, Verdict


class Decision(NamedTuple):
    """What happens to one checkpoint, and every reason for it."""

    checkpoint: Checkpoint
    verdict: Verdict
    action: Action
    reasons: tuple[Reason, ...]

    def __repr__(self) -> str:
        return printable(f"<Decision {self.checkpoint.name}: {self.action} ({reason_words(self.reasons)})>")

    @property
    def codes(self) -> frozenset[ReasonCode]:
        """Of the reasons: what decides looks at these, and never at a sentence."""
        return codes_of(self.reasons)


class PrunePlan(NamedTuple):
    """Decisions for one run, made once and executed at most once: identity is checked again before each removal.

    `unreached_bytes` is what the free target still lacks after all that the rules allow (0: it holds or none was set).
    """

    run: str
    decisions: tuple[Decision, ...]
    leftovers: tuple[Leftover, ...] = ()
    unreached_bytes: int = 0

    def __repr__(self) -> str:
        gone = f"delete {len(self.deletions)} of {count(len(self.decisions), 'checkpoint')}"
        return printable(f"<PrunePlan {self.run}: {gone}, {human(self.expected_freed_bytes)}>")

    @property
    def deletions(self) -> tuple[Decision, ...]:
        """What the plan deletes."""
        return tuple(d for d in self.decisions if d.action == "delete")

    @property
    def intact(self) -> tuple[Decision, ...]:
        """The intact ones, whether they stay or go."""
        return tuple(d for d in self.decisions if d.verdict.intact)

    @property
    def expected_freed_bytes(self) -> int:
        """Bytes that the deletions and the leftovers take now."""
        set_aside = sum(leftover.allocated_bytes for leftover in self.leftovers)
        return set_aside + sum(d.checkpoint.allocated_bytes for d in self.deletions)


class Writer(NamedTuple):
    """A training, not the caller's own, that may write in a run.

    pid: its process. who: it, for a person. certain: it shows that it works there; else nothing shows that it works
    elsewhere.
    """

    pid: int
    who: str
    certain: bool


class Failure(NamedTuple):
    """Something that was to be removed and was not. `held_by` names the process in the way, where one was found.

    command: what mends it, "" where that is not known.
    """

    path: str
    error: str
    held_by: str | None = None
    command: str = ""


class Outcome(NamedTuple):
    """What an executed plan did. `freed_bytes` is measured on the volume; `notes` explain a difference."""

    deleted: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    freed_bytes: int = 0
    notes: tuple[str, ...] = ()


StripAction = Literal["strip", "keep", "leave"]


class StripPart(NamedTuple):
    """What of one checkpoint only continues training. `files`: first the one that takes the mark's name, or has it.

    allocated_bytes: what removing them gives back. begun: a strip began already, so it is weights-only.
    """

    files: tuple[File, ...]
    mark: str
    allocated_bytes: int
    begun: bool


class Strip(NamedTuple):
    """What happens to one checkpoint, every reason for it, and the part that goes."""

    checkpoint: Checkpoint
    verdict: Verdict
    action: StripAction
    reasons: tuple[Reason, ...]
    part: StripPart | None = None

    def __repr__(self) -> str:
        return printable(f"<Strip {self.checkpoint.name}: {self.action} ({reason_words(self.reasons)})>")

    @property
    def codes(self) -> frozenset[ReasonCode]:
        """Of the reasons, as a decision's."""
        return codes_of(self.reasons)


class StripPlan(NamedTuple):
    """One for each checkpoint of a run, in the order of steps; executed at most once.

    floor: the newest intact resumable checkpoint, which stays so; None if there is none.
    """

    run: str
    decisions: tuple[Strip, ...]
    floor: Strip | None = None

    def __repr__(self) -> str:
        gone = f"strip {len(self.strips)} of {count(len(self.decisions), 'checkpoint')}"
        return printable(f"<StripPlan {self.run}: {gone}, {human(self.expected_freed_bytes)}>")

    @property
    def floors(self) -> tuple[Strip, ...]:
        """The newest intact resumable one of each kind."""
        return tuple(d for d in self.decisions if "floor" in d.codes)

    @property
    def strips(self) -> tuple[Strip, ...]:
        """The ones that become weights-only."""
        return tuple(d for d in self.decisions if d.action == "strip")

    @property
    def resumable(self) -> tuple[Strip, ...]:
        """The ones that can be resumed from now."""
        return tuple(d for d in self.decisions if d.verdict.resumable)

    @property
    def expected_freed_bytes(self) -> int:
        """Bytes that the parts that go take now."""
        return sum(d.part.allocated_bytes for d in self.strips if d.part)


Step = Literal["copy", "compare", "wait", "skip"]


class MoveItem(NamedTuple):
    """One checkpoint of the run and what `move` does with it.

    step: `copy`; `compare`, where one of that name is at DEST already; `wait`, where it does not fit; `skip`.
    need_bytes: what a copy takes at DEST beyond what a broken-off one already has there.
    """

    checkpoint: Checkpoint
    verdict: Verdict
    step: Step
    reasons: tuple[Reason, ...] = ()
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
    items: tuple[MoveItem, ...]
    belongings: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    need_bytes: int = 0
    available_bytes: int = 0

    @property
    def copies(self) -> tuple[MoveItem, ...]:
        """Those that are copied, or compared with what is at DEST."""
        return tuple(item for item in self.items if item.step in ("copy", "compare"))

    @property
    def waiting(self) -> tuple[MoveItem, ...]:
        """Those for which DEST has no room."""
        return tuple(item for item in self.items if item.step == "wait")

    @property
    def missing_bytes(self) -> int:
        """Bytes that DEST lacks for those that wait, 0 if none waits."""
        return max(0, self.need_bytes - self.available_bytes) if self.waiting else 0


class Moved(NamedTuple):
    """A plan and what came of it; a dry run has the plan alone, and `done` is False.

    copied, there: names that are proved at DEST, copied just now or before. failures: what is not there, or not
    proved. missing_bytes: what DEST still lacks. deleted: what left the source, if that was asked for.
    stays: (name, why) of those that were to leave the source and did not. blocked: why nothing could leave it at all.
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
    stays: tuple[tuple[str, Reason], ...] = ()
    blocked: str = ""
    resume: str = ""
    newer: str = ""
    resume_newer: str = ""

    @property
    def proved(self) -> tuple[str, ...]:
        """Names of all that are proved at DEST."""
        return self.copied + self.there
