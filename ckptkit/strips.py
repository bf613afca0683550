"""The nouns of strip: which checkpoints of a run become weights-only, and what of each goes.

As in `model`: frozen, paths absolute, bytes integers.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ckptkit.model import Checkpoint, File, Verdict
from ckptkit.units import count, human, printable

StripAction = Literal["strip", "keep", "leave"]


class Part(NamedTuple):
    """What of one checkpoint only continues training. `files`: first the one that takes the mark's name, or has it.

    allocated_bytes: what removing them gives back. begun: a strip began already, so it is weights-only.
    """

    files: tuple[File, ...]
    mark: str
    allocated_bytes: int
    begun: bool


class Strip(NamedTuple):
    """What happens to one checkpoint, every reason for it in the user's words, and the part that goes."""

    checkpoint: Checkpoint
    verdict: Verdict
    action: StripAction
    reasons: tuple[str, ...]
    part: Part | None = None

    def __repr__(self) -> str:
        return printable(f"<Strip {self.checkpoint.name}: {self.action} ({'; '.join(self.reasons)})>")


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
        return tuple(d for d in self.decisions if self.floor and d.reasons == self.floor.reasons)

    @property
    def strips(self) -> tuple[Strip, ...]:
        return tuple(d for d in self.decisions if d.action == "strip")

    @property
    def resumable(self) -> tuple[Strip, ...]:
        return tuple(d for d in self.decisions if d.verdict.resumable)

    @property
    def expected_freed_bytes(self) -> int:
        return sum(d.part.allocated_bytes for d in self.strips if d.part)
