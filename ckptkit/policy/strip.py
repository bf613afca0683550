"""PURE: which checkpoints become weights-only. No clock, no disk, no log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.model.decision import Strip, StripPart, StripPlan
from ckptkit.model.reason import Reason
from ckptkit.policy.keep import why_not_intact
from ckptkit.policy.lineage import in_line, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptkit.model.checkpoint import Judged

ALREADY = Reason("weights-only", "weights-only already")
FLOOR = Reason("floor", "newest intact resumable")
ONE_PIECE = Reason("one-piece", "its weights lie in the same files as what continues training")
NOT_NAMED = Reason("not-named", "not named")
BROKE_OFF = Reason("half-stripped", "a killed strip did not finish it")
NEWER = Reason("newer-resumable", "newer ones can be resumed from")


def plan(
    run: str,
    judged: Sequence[Judged],
    parts: Mapping[str, StripPart],
    keep: int,
    protected: Mapping[str, Reason],
    only: str | None = None,
    unsafe: Mapping[str, Reason] = {},
) -> StripPlan:
    """Given every checkpoint of a run with its verdict, return what to do with each and why.

    parts: {name: what of it would go}. keep: how many intact resumable ones of each kind stay so, the newest.
    protected: {name: reason} from outside (pins, open files). only: the name of the one that a person asked for.
    unsafe: {name: why no resume takes it}: such a one stays whole, and is no reason to strip another.
    """
    resumable = [j for j in in_line([j for j in judged if j.verdict.intact]) if j.verdict.resumable]
    resumable = [j for j in resumable if j.checkpoint.name not in unsafe]
    kept, among = dict(unsafe), Reason("keep-resumable", f"keep-resumable {keep}")
    for kind in {kind_of(j.checkpoint) for j in resumable}:
        alike = [j.checkpoint.name for j in resumable if kind_of(j.checkpoint) == kind]
        kept |= dict.fromkeys(alike[-keep:], among) | dict.fromkeys(alike[-1:], FLOOR)
    ordered = sorted(judged, key=lambda j: j.checkpoint.step)
    decisions = tuple(_decide(j, parts.get(j.checkpoint.name), kept, protected, only) for j in ordered)
    floor = next((d for d in reversed(decisions) if FLOOR.code in d.codes), None)
    return StripPlan(run, decisions, floor)


def _decide(
    judged: Judged,
    part: StripPart | None,
    kept: Mapping[str, Reason],
    protected: Mapping[str, Reason],
    only: str | None,
) -> Strip:
    name, verdict = judged.checkpoint.name, judged.verdict
    if not verdict.intact:
        return Strip(*judged, "leave", (why_not_intact(judged),))
    if name in kept:
        return Strip(*judged, "keep", (kept[name],))
    if part is None and verdict.resumable:
        return Strip(*judged, "leave", (ONE_PIECE,))
    if part is None or not (verdict.resumable or part.begun):
        return Strip(*judged, "leave", (ALREADY,))
    if name in protected:
        return Strip(*judged, "keep", (protected[name],))
    if only not in (None, name):
        return Strip(*judged, "keep", (NOT_NAMED,))
    return Strip(*judged, "strip", (BROKE_OFF if part.begun else NEWER,), part)


def limit(plan: StripPlan) -> int:
    """The most of them that a plan may strip unasked: half of what could be resumed from."""
    return len(plan.resumable) // 2
