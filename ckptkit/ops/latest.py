"""latest: the newest intact checkpoint that a training can go on from, and why each newer one was not taken."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.calling import command, place
from ckptkit.errors import NoIntactCheckpoint, NoSuchRun
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, Level, Verdict
from ckptkit.model.reason import Reason, code_of
from ckptkit.ops.read import diverged_of, judge, judge_again, scan
from ckptkit.policy import keep
from ckptkit.policy.lineage import in_line, newest_by_time, stale_names
from ckptkit.units import printable
from ckptkit.verify.verdict import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_NAMED = 3  # weights, in a reason
WEIGHTS = "--weights-only-ok"


class PassedOver(NamedTuple):
    """A checkpoint that looks newer than the one chosen, and why it was not."""

    checkpoint: Checkpoint
    verdict: Verdict
    reason: Reason


class Latest(NamedTuple):
    """The newest intact checkpoint's path, each that looks newer and was skipped, newest first, its verdict, and it.

    Where weights alone are enough, the verdict may be of one whose weights are intact and the rest is not.
    """

    path: str
    passed_over: tuple[PassedOver, ...]
    verdict: Verdict
    checkpoint: Checkpoint

    def __repr__(self) -> str:
        kind = "resumable" if self.verdict.resumable else "weights only"
        skipped = f", {len(self.passed_over)} newer skipped" if self.passed_over else ""
        return printable(f"<Latest {self.path}: {self.verdict.state}, {kind}{skipped}>")


def latest(
    path: str,
    *,
    weights_only_ok: bool = False,
    level: Level = "quick",
    now: float | None = None,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
) -> Latest:
    """Given a run, return the newest intact checkpoint that a training can go on from.

    weights_only_ok: also one whose weights alone are there or intact. level: how the one that is chosen is read.
    now: seconds since the epoch, default the clock's. trust: patterns (`pkg.*`) of what its pickles may name.
    allow_nonfinite: also one whose weights became NaN or Inf. Raises NoIntactCheckpoint, NoSuchRun.
    """
    verdicts = {j.checkpoint.name: j for j in judge(scan(path), now)}
    candidates = in_line([j for j in verdicts.values() if _is_usable(j.verdict, weights_only_ok)])
    diverged = frozenset() if allow_nonfinite else diverged_of(verdicts.values())
    while candidates:
        chosen = candidates.pop()
        if chosen.checkpoint.name in diverged:
            continue
        chosen = verdicts[chosen.checkpoint.name] = _followed(chosen, level, now, trust)
        if chosen.verdict.nonfinite and not allow_nonfinite and level != "quick":
            verdicts |= _values_before(chosen, candidates, partial(_followed, level=level, now=now, trust=trust))
        diverged = frozenset() if allow_nonfinite else diverged_of(verdicts.values())
        takes = _is_usable(chosen.verdict, weights_only_ok) and not chosen.verdict.refused
        if takes and chosen.checkpoint.name not in diverged:
            skipped = _skipped_for(chosen, candidates, verdicts.values(), diverged, weights_only_ok)
            return Latest(chosen.checkpoint.path, skipped, chosen.verdict, chosen.checkpoint)
    why, *fixes = _why_none(path, verdicts.values(), diverged, weights_only_ok)
    raise NoIntactCheckpoint("; ".join([why, *fixes]), why)


def _values_before(chosen: Judged, candidates: Sequence[Judged], look: Callable[[Judged], Judged]) -> dict[str, Judged]:
    """Those before one with NaN or Inf, read back to the one that shows that its weights were finite once."""
    verdicts = {}
    for earlier in map(look, reversed(candidates)):
        verdicts[earlier.checkpoint.name] = earlier
        values = earlier.verdict.nonfinite if earlier.verdict.intact else None
        if values is not None and set(chosen.verdict.nonfinite or ()) - set(values):
            break
    return verdicts


def _followed(judged: Judged, level: Level, now: float | None, trust: Sequence[str]) -> Judged:
    """Judged as it is now, the pickles followed that a resume would load from it; values looked at as bytes pass."""
    reading = Reading(pickles=True, trust=tuple(trust), values=level != "quick")
    try:
        verdict = judge_again(judged.checkpoint, level, now, reading)
    except NoSuchRun:
        gone = Finding("", "missing", "was removed while it was looked at")
        verdict = Verdict("incomplete", resumable=False, level=level, findings=(gone,))
    return judged._replace(verdict=verdict)


def _is_usable(verdict: Verdict, weights_only_ok: bool) -> bool:
    return verdict.weights_intact if weights_only_ok else verdict.resumable


def _skipped_for(
    chosen: Judged, below: Sequence[Judged], judged: Iterable[Judged], diverged: frozenset[str], weights_only_ok: bool
) -> tuple[PassedOver, ...]:
    """Each that looks newer than the one chosen, by its step or by its time, and why it was not taken."""
    higher = [j for j in judged if j.checkpoint.step > chosen.checkpoint.step]
    skipped = [_passed_over(j, diverged, weights_only_ok) for j in reversed(higher)]
    line = [*below, chosen]
    if later := newest_by_time(line, stale_names(line)):
        skipped.append(PassedOver(later.checkpoint, later.verdict, keep.NEWEST_BY_TIME))
    return tuple(skipped)


def _why_none(path: str, judged: Iterable[Judged], diverged: frozenset[str], weights_only_ok: bool) -> list[str]:
    """Each checkpoint and what is wrong with it; then what takes one all the same."""
    reasons = [_passed_over(j, diverged, weights_only_ok) for j in judged]
    each = "; ".join(f"{p.checkpoint.name}: {p.reason.message}" for p in reasons)
    fixes = ["to take one with such values: --allow-nonfinite"] if diverged else []
    fixes += ["if you trust what it names: --trust 'pkg.*'"] if any(p.verdict.refused for p in reasons) else []
    weights = not weights_only_ok and any(p.verdict.weights_intact and not p.verdict.resumable for p in reasons)
    fixes += [f"to train on from weights alone: {command('latest', place(path), WEIGHTS)}"] if weights else []
    kind = "" if weights_only_ok else "resumable "
    return [f"no intact {kind}checkpoint in {path!r}: {each}", *fixes]


def _passed_over(judged: Judged, diverged: frozenset[str], weights_only_ok: bool) -> PassedOver:
    checkpoint, verdict = judged
    if not verdict.intact:
        reason = Reason(code_of(verdict.state), f"{verdict.state}: {keep.first_finding(judged)}")
    elif not verdict.resumable and not weights_only_ok:
        reason = Reason("weights-only", "weights only, not resumable")
    elif verdict.refused:
        finding = next(f for f in verdict.findings if f.code == "refused-pickle")
        reason = Reason("refused-pickle", f"refused: {finding.file} {finding.message}")
    elif checkpoint.name in diverged:
        weights = ", ".join((verdict.nonfinite or ())[:MOST_NAMED])
        reason = Reason("nonfinite", f"NaN or Inf in weights that were finite before: {weights}")
    else:
        reason = Reason("earlier-run", "from an earlier run in this directory")
    return PassedOver(checkpoint, verdict, reason)
