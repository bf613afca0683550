"""PURE: checkpoints + verdicts + rules + now → plan. No clock, no disk, no log.

A checkpoint is deleted only if every rule releases it. Each keep rule is one function, named as the user types it:
given the intact candidates, oldest first, it returns {checkpoint's name: reason} for those that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptkit.errors import UsageError
from ckptkit.model import Decision, Judged, Leftover, Plan
from ckptkit.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ckptkit.strips import Strip

Kept = dict[str, str]


class Range(NamedTuple):
    """Keep `low` always, and up to `high` while the free target holds."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}..{self.high}"


class Best(NamedTuple):
    """Keep the `keep` checkpoints with the lowest (mode "min") or highest ("max") `metric`."""

    metric: str
    mode: str
    keep: int

    def __str__(self) -> str:
        return f"{self.metric}:{self.mode}={self.keep}"


class Rules(NamedTuple):
    """What the user asked for. None leaves a rule out; all None keeps everything. Durations in seconds, sizes in bytes.

    free_target: bytes that the volume should have available. max_delete: the most intact ones one plan may delete.
    """

    keep_last: Range | None = Range(2, 2)
    keep_best: Best | None = None
    keep_every: int | None = None
    keep_within: float | None = None
    free_target: int | None = None
    max_delete: int | None = None

    @property
    def empty(self) -> bool:
        return not (self.keep_last or self.keep_best or self.keep_every or self.keep_within)


DEFAULT_RULES = Rules()
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
    newest = _saved_at(line[-1]) if line else 0.0
    return {j.checkpoint.name: f"keep-within {seconds:g}s" for j in line if newest - _saved_at(j) <= seconds}


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


def in_line(intact: Sequence[Judged]) -> list[Judged]:
    """The intact ones from oldest to newest: by step, and what an earlier run left behind before all of the live."""
    stale = stale_names(intact)
    return sorted(intact, key=lambda j: (j.checkpoint.name not in stale, j.checkpoint.step))


def stale_names(intact: Sequence[Judged]) -> frozenset[str]:
    """Names of those that an earlier run left in a reused directory: they never outrank the live run's.

    One is stale if a lower step was saved after it and their logged losses do not show one history. Losses decide
    before clocks do: a copied directory has new times in any order, but one history. A stale one proves nothing itself.
    """
    live: list[Judged] = []
    for older in sorted(intact, key=lambda j: j.checkpoint.step):
        if not any(_saved_at(newer) > _saved_at(older) and not _one_history(newer, older) for newer in live):
            live.append(older)
    return frozenset(j.checkpoint.name for j in intact) - {j.checkpoint.name for j in live}


def _one_history(earlier_step: Judged, later_step: Judged) -> bool:
    """Whether all losses that the earlier step logged stand in the later one's log too. No loss logged: no."""
    first, second = earlier_step.verdict.trainer_state, later_step.verdict.trainer_state
    if first is None or second is None or not first.history:
        return False
    return second.history[: len(first.history)] == first.history


def _saved_at(judged: Judged) -> float:
    """The state's own mtime, not the directory's: adding a file to an old checkpoint must not make it new."""
    state = judged.verdict.trainer_state
    return state.saved_at if state else judged.checkpoint.modified_at


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
    reason = protected.get(checkpoint.name) or _reason_to_leave(judged, intact)
    if reason:
        return Decision(checkpoint, verdict, "leave", (reason,))
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


def delete_limit(made: Plan, rules: Rules, previous: Rules | None) -> int | None:
    """The most intact checkpoints that this plan may delete unasked; None: no limit.

    `--max-delete` where given; else half of the intact ones if the policy is new or stricter than last time.
    """
    if rules.max_delete is not None:
        return rules.max_delete
    return len(made.intact) // 2 if previous is None or stricter(rules, previous) else None


def stricter(rules: Rules, previous: Rules) -> bool:
    """Whether `rules` may release a checkpoint that `previous` kept."""
    if rules.empty:
        return False
    if previous.empty:
        return True
    fewer_last = previous.keep_last and (not rules.keep_last or rules.keep_last < previous.keep_last)
    fewer_within = previous.keep_within and (not rules.keep_within or rules.keep_within < previous.keep_within)
    sparser = previous.keep_every and (not rules.keep_every or previous.keep_every % rules.keep_every)
    fewer_best = previous.keep_best and (
        not rules.keep_best
        or rules.keep_best[:2] != previous.keep_best[:2]
        or rules.keep_best.keep < previous.keep_best.keep
    )
    more_free = rules.free_target and rules.free_target > (previous.free_target or 0)
    return any((fewer_last, fewer_within, sparser, fewer_best, more_free and rules.keep_last))


def from_json(value: Any) -> Rules | None:
    """Given rules as they came back from JSON (nested lists), return them, or None if they are not rules."""
    try:
        last, best, every, within, target, limit = value
        return Rules(last and Range(*last), best and Best(*best), every, within, target, limit)
    except (TypeError, ValueError):
        return None
