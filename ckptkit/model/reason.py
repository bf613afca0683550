"""Why something happens to a checkpoint: a code, by which code of ours decides, and a sentence, which people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptkit.model.checkpoint import State

ReasonCode = Literal[
    "",  # of a deletion on record, by a version that kept the sentence alone
    # A rule keeps it, or none does.
    "keep-last", "keep-best", "keep-every", "keep-within", "keep-resumable", "no-rules", "released", "earlier-run",
    # It always stays.
    "newest-intact", "newest-resumable", "floor", "newest-by-time", "other-history", "last-finite", "best", "pinned",
    "tracked", "held-open", "durable", "resumed-from", "predates-guard", "callback-last",
    # What its verdict says, and what stands against its deletion all the same.
    "incomplete", "corrupt", "in-progress", "unknown", "maybe-written", "none-intact", "none-as-resumable",
    # What a resume does not take.
    "weights-only", "nonfinite", "refused-pickle",
    # Room for a save, and a person's yes.
    "overridden-for-save", "waits-for-yes", "for-room",
    # strip
    "one-piece", "not-named", "half-stripped", "newer-resumable", "stripped",
    # move
    "moved", "changed", "copy-changed", "not-all-copied",
    # What nobody planned for: a person named it, its writer gave it up, a killed sweep had begun it.
    "named", "given-up", "leftover",
]  # fmt: skip


class Reason(NamedTuple):
    """One reason. command: what a person types who wants it otherwise, "" where nothing is to be typed."""

    code: ReasonCode
    message: str
    command: str = ""


def reason_words(reasons: Iterable[Reason]) -> str:
    """Given reasons, return them as a person reads them, each with its command."""
    return "; ".join(f"{r.message}; fix: {r.command}" if r.command else r.message for r in reasons)


def codes_of(reasons: Iterable[Reason]) -> frozenset[ReasonCode]:
    """Given reasons, return their codes."""
    return frozenset(reason.code for reason in reasons)


def code_of(state: State) -> ReasonCode:
    """Given the state of a verdict that is not intact, return the code of the reason that says so."""
    codes: dict[State, ReasonCode] = {
        "incomplete": "incomplete", "corrupt": "corrupt", "in_progress": "in-progress", "unknown": "unknown",
    }  # fmt: skip
    return codes[state]
