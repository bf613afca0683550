"""PURE: checkpoints + verdicts + rules + now → plan. No clock, no disk, no log.

A checkpoint is deleted only if every rule releases it. Each keep rule is one function, named as the user types it:
given the intact candidates, oldest first, it returns {checkpoint's name: reason} for those that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptkit.errors import UsageError
from ckptkit.lineage import in_line, saved_at, stale_names
from ckptkit.model import Decision, Judged, Leftover, Plan
from ckptkit.rules import DEFAULT_RULES, Best, Range, Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ckptkit.strips import Strip

__all__ = ["DEFAULT_RULES", "Best", "Range", "Rules"]  # where who plans looks for them
Kept = dict[str, str]
UNJUDGED = "could not be judged"


def plan(
    run: str,
    judged: Sequence[Judged],
    rules: Rules,
    protected: Mapping[str, str],
    available_bytes: int = 0,
    leftovers: Sequence[Leftover] = (),
) -> Plan:
    """Given every checkpoint of a run with its verdict, return what to do with each and why.

    protected: {name: reason} from outside of the policy (pins, open files, a running resume).
    available_bytes: what the volume has now; asked for by a free target only.
    With nothing intact, nothing is deleted. Raises UsageError if a rule can't apply.
    """
    ordered = sorted(judged, key=lambda j: j.checkpoint.step)
    line = in_line([j for j in ordered if j.verdict.intact])
    stale = stale_names(line)
    reasons = _reasons_to_keep(line, stale, rules, protected)
    made = Plan(run, tuple(_decide(j, line, stale, reasons, protected) for j in ordered))
    # What a killed sweep left may be whole still: it goes only while something intact stands beside it.
    made = made._replace(leftovers=tuple(leftovers) if line else ())
    if rules.free_target is None:
        return made
    if _release_for_target(line, rules, reasons, rules.free_target - available_bytes - made.expected_freed_bytes):
        made = made._replace(decisions=tuple(_decide(j, line, stale, reasons, protected) for j in ordered))
    return made._replace(unreached_bytes=max(0, rules.free_target - available_bytes - made.expected_freed_bytes))


# --- keep rules -----------------------------------------------------------------------------------------------------


def keep_last(line: Sequence[Judged], count: Range) -> Kept:
    """The newest `count.high`; what a free target then takes from them is decided last."""
    return {j.checkpoint.name: f"keep-last {count}" for j in line[-count.high :]}


def keep_best(line: Sequence[Judged], best: Best, stale: frozenset[str] = frozenset()) -> Kept:
    """The `best.keep` with the best value of a metric at their own step; the live run's first, ties go to the newer."""
    measured = [(j.verdict.trainer_state.metrics, j) for j in line if j.verdict.trainer_state]
    live = [metrics for metrics, j in measured if j.checkpoint.name not in stale]
    every, names = [metrics for metrics, _ in measured], (best.metric, f"eval_{best.metric}")
    name = next((n for of in (live, every) for n in names if any(n in metrics for metrics in of)), None)
    if name is None and line:
        known = sorted({key for metrics in every for key in metrics} - {"step", "epoch"})
        raise UsageError(f"--keep-best {best.metric}: no checkpoint was measured by it; known: {', '.join(known)}")
    if name is None:
        return {}
    sign, told = 1 if best.mode == "max" else -1, [j for metrics, j in measured if name in metrics]
    ranked = sorted(told, key=lambda j: (j.checkpoint.name not in stale, *_rank(j, name, sign)))
    return {j.checkpoint.name: f"keep-best {best}" for j in ranked[-best.keep :]}


def keep_every(line: Sequence[Judged], steps: int) -> Kept:
    """Those whose step is a multiple of `steps`."""
    return {j.checkpoint.name: f"keep-every {steps}" for j in line if j.checkpoint.step % steps == 0}


def keep_within(line: Sequence[Judged], seconds: float) -> Kept:
    """Those saved at most `seconds` before the newest checkpoint: a paused training loses nothing to the clock."""
    newest = saved_at(line[-1]) if line else 0.0
    return {j.checkpoint.name: f"keep-within {seconds:g}s" for j in line if newest - saved_at(j) <= seconds}


def _rank(judged: Judged, metric: str, sign: int) -> tuple[float, int]:
    """NaN is worse than all: were it left out, the next plan might know no such metric, and refuse."""
    value = judged.verdict.trainer_state.metrics[metric] if judged.verdict.trainer_state else float("nan")
    return sign * value if value == value else float("-inf"), judged.checkpoint.step


# --- what is always protected ---------------------------------------------------------------------------------------


def always_kept(line: Sequence[Judged], stale: frozenset[str]) -> Kept:
    """The floor (the newest intact one, and the newest resumable one) and the best that the newest state names."""
    kept: Kept = {}
    live = [j for j in line if j.checkpoint.name not in stale]
    if live:
        kept[live[-1].checkpoint.name] = "newest intact"
        resumable = [j for j in line if j.verdict.resumable]
        if resumable:
            kept.setdefault(resumable[-1].checkpoint.name, "newest resumable")
        state = live[-1].verdict.trainer_state
        best = state.best_checkpoint if state else None
        if best and any(j.checkpoint.name == best for j in line):
            kept.setdefault(best, "best_model_checkpoint of the newest state")
    return kept


# --- putting it together --------------------------------------------------------------------------------------------


def _reasons_to_keep(
    line: Sequence[Judged], stale: frozenset[str], rules: Rules, protected: Mapping[str, str]
) -> dict[str, list[str]]:
    kept = [always_kept(line, stale), dict(protected)]
    if rules.keep_last:
        kept.append(keep_last(line, rules.keep_last))
    if rules.keep_best:
        kept.append(keep_best(line, rules.keep_best, stale))
    if rules.keep_every:
        kept.append(keep_every(line, rules.keep_every))
    if rules.keep_within:
        kept.append(keep_within(line, rules.keep_within))
    if rules.empty:
        kept.append({j.checkpoint.name: "no rule releases it" for j in line})
    reasons: dict[str, list[str]] = {}
    for name, reason in ((name, reason) for part in kept for name, reason in part.items()):
        reasons.setdefault(name, []).append(reason)
    return reasons


def _release_for_target(line: Sequence[Judged], rules: Rules, reasons: dict[str, list[str]], missing: int) -> bool:
    """Drop the range's slack, oldest first, only until the target holds: from `high` down to `low`, never below."""
    released = False
    for judged in line[: -rules.keep_last.low] if rules.keep_last else ():
        if missing <= 0:
            break
        if reasons.get(judged.checkpoint.name) == [f"keep-last {rules.keep_last}"]:
            del reasons[judged.checkpoint.name]
            missing -= judged.checkpoint.allocated_bytes
            released = True
    return released


def _decide(
    judged: Judged,
    intact: Sequence[Judged],
    stale: frozenset[str],
    reasons: Mapping[str, list[str]],
    protected: Mapping[str, str],
) -> Decision:
    checkpoint, verdict = judged
    if verdict.intact:
        if checkpoint.name in reasons:
            return Decision(checkpoint, verdict, "keep", tuple(reasons[checkpoint.name]))
        why = "left by an earlier run" if checkpoint.name in stale else "no rule keeps it"
        return Decision(checkpoint, verdict, "delete", (why,))
    left = tuple(filter(None, (protected.get(checkpoint.name), _reason_to_leave(judged, intact))))
    if left:
        return Decision(checkpoint, verdict, "leave", left)
    return Decision(checkpoint, verdict, "delete", (f"{verdict.state}: {first_finding(judged)}",))


def _reason_to_leave(judged: Judged, intact: Sequence[Judged]) -> str | None:
    """Why one that is not intact stays; None if it is damaged and something at least as resumable is there."""
    verdict = judged.verdict
    if verdict.state == "in_progress":
        return "somebody is writing it"
    if verdict.state == "unknown":
        return f"{UNJUDGED}: {first_finding(judged)}"
    if not intact:
        return "no intact one to go on from"
    if verdict.optimizer_state and not any(j.verdict.resumable for j in intact):
        return "no intact one is as resumable"
    return None


def first_finding(judged: Judged | Decision | Strip) -> str:
    """The finding that decided, for a person: the file and what is wrong with it."""
    finding = judged.verdict.findings[0]
    return f"{finding.file} {finding.message}".strip()
