"""PURE: checkpoints + verdicts + rules + now → plan. No clock, no disk, no log.

A checkpoint is deleted only if every rule releases it. Each keep rule is one function, named as the user types it:
given the intact candidates, oldest first, it returns {checkpoint's name: reason} for those that it keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckptkit.calling import command
from ckptkit.errors import UsageError
from ckptkit.model.decision import Decision, PrunePlan, Writer
from ckptkit.model.reason import Reason, ReasonCode, code_of, codes_of
from ckptkit.policy.lineage import (
    diverged_names,
    in_line,
    kind_of,
    newest_by_time,
    newest_of_another_history,
    saved_at,
    stale_names,
)
from ckptkit.policy.rules import DEFAULT_RULES, Best, Range, Rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ckptkit.model.checkpoint import Action, Checkpoint, Judged, Leftover, Verdict
    from ckptkit.model.decision import Strip

__all__ = ["DEFAULT_RULES", "Best", "Range", "Rules"]  # where who plans looks for them
Kept = dict[str, Reason]
Reasons = dict[str, list[Reason]]  # {checkpoint's name: why it stays}
RELEASED = Reason("released", "no rule keeps it")
FROM_AN_EARLIER_RUN = Reason("earlier-run", "from an earlier run")
BEING_WRITTEN = "not finished, and written to in the last minute; if nothing is training, try again in a minute"
OVERRIDABLE: tuple[ReasonCode, ...] = ("keep-last", "keep-within", "keep-every")  # for a save, in this order
# Longer than any gather of shards is silent: NCCL ends a training of which a rank waits for ten minutes.
SILENCE_SECONDS = 1800


class Line(NamedTuple):
    """Intact checkpoints of one kind (layout and name stem), oldest first. stale: names of an earlier run's."""

    intact: tuple[Judged, ...]
    stale: frozenset[str]

    @property
    def live(self) -> list[Judged]:
        """Those of the training that runs, oldest first."""
        return [j for j in self.intact if j.checkpoint.name not in self.stale]


# Of one kind: all that are intact; then, where a resume would refuse some, the others alone.
Lines = tuple[Line, ...]


def plan(
    run: str,
    judged: Sequence[Judged],
    rules: Rules,
    protected: Mapping[str, Reason],
    available_bytes: int = 0,
    leftovers: Sequence[Leftover] = (),
    writer: Writer | None = None,
    now: float = 0.0,
    earlier: Collection[str] = (),
    need_bytes: int = 0,
) -> PrunePlan:
    """Given every checkpoint of a run with its verdict, return what to do with each and why.

    run: its path. protected: {name: reason} from outside of the policy (pins, open files, a running resume).
    available_bytes: what the volume has now; asked for by a free target and by `need_bytes` only.
    leftovers: what a killed sweep did not finish. writer: a training, not the caller's own, that may write there.
    now: seconds since the epoch; asked for beside a writer.
    earlier: names of those that the caller knows to be an earlier run's. need_bytes: what the next save needs; for it
    rules are overridden, down to the floor, if that makes it fit.
    With nothing intact, nothing is deleted. Raises UsageError if a rule can't apply.
    """
    ordered = sorted(judged, key=lambda j: (j.checkpoint.step, j.checkpoint.name))
    protected = {**perhaps_being_written(ordered, writer, now), **protected}
    kinds = {kind: _lines(ordered, kind, frozenset(earlier)) for kind in {kind_of(j.checkpoint): None for j in ordered}}
    reasons = _reasons_to_keep(kinds.values(), rules, protected)

    def decisions() -> tuple[Decision, ...]:
        return tuple(_decide(j, kinds[kind_of(j.checkpoint)][0], reasons, protected) for j in ordered)

    prune_plan = PrunePlan(run, decisions())
    # What a killed sweep left may be whole still: it goes only while something intact stands beside it.
    prune_plan = prune_plan._replace(leftovers=tuple(leftovers) if prune_plan.intact else ())
    lacking = need_bytes - available_bytes - prune_plan.expected_freed_bytes
    if need_bytes and _release_for_save(kinds.values(), reasons, lacking):
        prune_plan = prune_plan._replace(decisions=decisions())
    if rules.free_target is None:
        return prune_plan
    missing = rules.free_target - available_bytes - prune_plan.expected_freed_bytes
    if _release_for_target(kinds.values(), rules, reasons, missing):
        prune_plan = prune_plan._replace(decisions=decisions())
    missing = rules.free_target - available_bytes - prune_plan.expected_freed_bytes
    return prune_plan._replace(unreached_bytes=max(0, missing))


def _lines(judged: Sequence[Judged], kind: tuple[str, str], earlier: frozenset[str]) -> Lines:
    """One that a resume refuses takes no slot and is no floor while another can be resumed from."""
    intact = [j for j in judged if j.verdict.intact and kind_of(j.checkpoint) == kind]
    trusted = [j for j in intact if not j.verdict.refused]
    parts = [intact, trusted] if intact != trusted and any(j.verdict.resumable for j in trusted) else [intact]
    return tuple(Line(tuple(in_line(part, earlier)), stale_names(part, earlier)) for part in parts)


# --- keep rules -----------------------------------------------------------------------------------------------------


def keep_last(line: Sequence[Judged], count: Range) -> Kept:
    """The newest `count.high`; what a free target then takes from them is decided last."""
    return {j.checkpoint.name: Reason("keep-last", f"keep-last {count}") for j in line[-count.high :]}


def keep_best(line: Sequence[Judged], best: Best, stale: frozenset[str] = frozenset()) -> Kept:
    """The `best.keep` with the best value of a metric at their own step; the live run's first, ties go to the newer.

    All of a line in which nobody measured it: which of them is the best is not known.
    """
    measured = [(j.verdict.trainer_state.metrics, j) for j in line if j.verdict.trainer_state]
    live = [metrics for metrics, j in measured if j.checkpoint.name not in stale]
    every, names = [metrics for metrics, _ in measured], (best.metric, f"eval_{best.metric}")
    name = next((n for logged in (live, every) for n in names if any(n in metrics for metrics in logged)), None)
    if name is None:
        return {j.checkpoint.name: Reason("keep-best", f"keep-best {best}: not measured") for j in line}
    sign, candidates = 1 if best.mode == "max" else -1, [j for metrics, j in measured if name in metrics]
    ranked = sorted(candidates, key=lambda j: (j.checkpoint.name not in stale, *_rank(j, name, sign)))
    return {j.checkpoint.name: Reason("keep-best", f"keep-best {best}") for j in ranked[-best.keep :]}


def _require_measured(kinds: Collection[Lines], best: Best) -> None:
    """Raises UsageError if no checkpoint at all was measured by that metric: it was mistyped."""
    states = [j.verdict.trainer_state for line, *_ in kinds for j in line.intact]
    known = {key for state in states if state for key in state.metrics}
    if states and not known & {best.metric, f"eval_{best.metric}"}:
        names = ", ".join(sorted(known - {"step", "epoch"}))
        raise UsageError(f"--keep-best {best.metric}: no checkpoint was measured by it; known: {names}")


def keep_every(line: Sequence[Judged], steps: int) -> Kept:
    """Those whose step is a multiple of `steps`."""
    why = Reason("keep-every", f"keep-every {steps}")
    return {j.checkpoint.name: why for j in line if j.checkpoint.step % steps == 0}


def keep_within(line: Sequence[Judged], seconds: float) -> Kept:
    """Those saved at most `seconds` before the newest checkpoint: a paused training loses nothing to the clock."""
    newest, why = saved_at(line[-1]) if line else 0.0, Reason("keep-within", f"keep-within {seconds:g}s")
    return {j.checkpoint.name: why for j in line if newest - saved_at(j) <= seconds}


def _rank(judged: Judged, metric: str, sign: int) -> tuple[float, int]:
    """NaN is worse than all: were it left out, the next plan might know no such metric, and refuse."""
    value = judged.verdict.trainer_state.metrics[metric] if judged.verdict.trainer_state else float("nan")
    return sign * value if value == value else float("-inf"), judged.checkpoint.step


# --- what is always protected ---------------------------------------------------------------------------------------
NEWEST = Reason("newest-intact", "newest intact")
NEWEST_RESUMABLE = Reason("newest-resumable", "newest resumable")
LAST_FINITE = Reason("last-finite", "the last one with finite values")
NEWEST_BY_TIME = Reason("newest-by-time", "newest by time, although not by step")
OTHER_HISTORY = Reason("other-history", "newest of another history in this directory")
BEST_OF_THE_STATE = Reason("best", "best_model_checkpoint of the newest state")


def always_kept(line: Line) -> Kept:
    """The floor (the newest intact one, the newest resumable one, the last with finite values), what may be newer than
    the newest, and the best that the newest state names."""
    kept: Kept = {}
    if not line.live:
        return kept
    newest = line.live[-1]
    kept[newest.checkpoint.name] = NEWEST
    resumable = [j for j in line.intact if j.verdict.resumable]
    if resumable:
        kept.setdefault(resumable[-1].checkpoint.name, NEWEST_RESUMABLE)
    for name in _last_finite(line):
        kept.setdefault(name, LAST_FINITE)
    for candidates in (line.intact, resumable):
        if later := newest_by_time(candidates, line.stale):
            kept.setdefault(later.checkpoint.name, NEWEST_BY_TIME)
        if other := newest_of_another_history(candidates, line.stale):
            kept.setdefault(other.checkpoint.name, OTHER_HISTORY)
    state = newest.verdict.trainer_state
    for best in filter(None, (state.best_checkpoint, *state.also_best) if state else ()):
        kept.setdefault(best, BEST_OF_THE_STATE)  # also one of another name stem
    return kept


def _last_finite(line: Line) -> list[str]:
    """While a newer one diverged: the newest that a resume would take, and what proves that values were finite.

    They are one checkpoint, unless nobody looked at the values of the first, or it is of weights alone that somebody
    did: without that proof, the next plan would see no divergence.
    """
    names = [j.checkpoint.name for j in line.intact]
    diverged = diverged_names(line.intact, line.stale)
    resumable = [j for j in line.intact if j.verdict.resumable and not j.verdict.refused]
    good = [j for j in resumable if j.checkpoint.name not in diverged]
    if not good or not diverged & set(names[names.index(good[-1].checkpoint.name) :]):
        return []
    finite = [j for j in line.live if j.verdict.nonfinite is not None and j.checkpoint.name not in diverged]
    resumable_finite = [j for j in finite if j in good]
    return [j.checkpoint.name for j in (*good[-1:], *resumable_finite[-1:], *finite[-1:])]


# --- putting it together --------------------------------------------------------------------------------------------


def _reasons_to_keep(kinds: Collection[Lines], rules: Rules, protected: Mapping[str, Reason]) -> Reasons:
    """{checkpoint's name: why it stays}; of what a resume refuses, that is what would hold if it were an ordinary one,
    and of the others, what holds without it."""
    if rules.keep_best:
        _require_measured(kinds, rules.keep_best)
    kept = [always_kept(line) for lines in kinds for line in lines]
    kept.append(dict(protected))
    kept += [part for lines in kinds for line in lines for part in _kept_by_rules(line, rules)]
    reasons: Reasons = {}
    for name, reason in ((name, reason) for part in kept for name, reason in part.items()):
        if reason not in reasons.setdefault(name, []):
            reasons[name].append(reason)
    return reasons


def _kept_by_rules(line: Line, rules: Rules) -> Iterator[Kept]:
    if rules.keep_last:
        yield keep_last(line.intact, rules.keep_last)
    if rules.keep_best:
        yield keep_best(line.intact, rules.keep_best, line.stale)
    if rules.keep_every:
        yield keep_every(line.intact, rules.keep_every)
    if rules.keep_within:
        yield keep_within(line.intact, rules.keep_within)
    if rules.empty:
        yield {j.checkpoint.name: Reason("no-rules", "no rule releases it") for j in line.intact}


def _release_for_target(kinds: Collection[Lines], rules: Rules, reasons: Reasons, missing: int) -> bool:
    """Drop the range's slack, oldest first, only until the target holds: from `high` down to `low`, never below."""
    released = False
    for judged in (j for lines in kinds for j in _slack(lines, rules)):
        if missing <= 0:
            break
        if codes_of(reasons.get(judged.checkpoint.name, ())) == {"keep-last"}:
            del reasons[judged.checkpoint.name]
            missing -= judged.checkpoint.allocated_bytes
            released = True
    return released


def _slack(lines: Lines, rules: Rules) -> list[Judged]:
    """What of one kind is not among the newest `low`, oldest first."""
    if not rules.keep_last:
        return []
    newest = {j.checkpoint.name for line in lines for j in line.intact[-rules.keep_last.low :]}
    return [j for j in lines[0].intact if j.checkpoint.name not in newest]


def _release_for_save(kinds: Collection[Lines], reasons: Reasons, lacking: int) -> bool:
    """Override rules until the next save fits: keep-last, then keep-within, then keep-every, oldest first.

    What is always kept, the best and the pinned are never overridden. Nothing is, if all of it would not be enough.
    """
    intact = [j for lines in kinds for j in lines[0].intact]
    staged = ((_stage(reasons.get(j.checkpoint.name, [])), j.checkpoint) for j in intact)
    stages = [(stage, checkpoint) for stage, checkpoint in staged if stage is not None]
    if lacking <= 0 or sum(checkpoint.allocated_bytes for _, checkpoint in stages) < lacking:
        return False
    for stage, checkpoint in sorted(stages, key=lambda staged: staged[0]):
        if lacking > 0:
            beyond = f"room for the next save, beyond {OVERRIDABLE[stage]}"
            reasons[checkpoint.name] = [Reason("overridden-for-save", beyond)]
            lacking -= checkpoint.allocated_bytes
    return True


def _stage(reasons: Sequence[Reason]) -> int | None:
    """When one that stays for these reasons is released for a save: the later, the stronger; None if never."""
    codes = codes_of(reasons)
    return max(map(OVERRIDABLE.index, codes)) if codes and codes <= set(OVERRIDABLE) else None


def _decide(
    judged: Judged, line: Line, reasons: Mapping[str, list[Reason]], protected: Mapping[str, Reason]
) -> Decision:
    checkpoint, verdict = judged
    if verdict.intact:
        kept = tuple(reasons.get(checkpoint.name, ()))
        if kept:
            action: Action = "delete" if kept[0].code == "overridden-for-save" else "keep"
            return Decision(checkpoint, verdict, action, kept)
        why = FROM_AN_EARLIER_RUN if checkpoint.name in line.stale else RELEASED
        return Decision(checkpoint, verdict, "delete", (why,))
    to_leave = tuple(filter(None, (protected.get(checkpoint.name), _reason_to_leave(judged, line.intact))))
    if to_leave:
        return Decision(checkpoint, verdict, "leave", to_leave)
    return Decision(checkpoint, verdict, "delete", (why_not_intact(judged),))


def _reason_to_leave(judged: Judged, intact: Sequence[Judged]) -> Reason | None:
    """Why one that is not intact stays; None if it is damaged and something at least as resumable is there."""
    verdict = judged.verdict
    if not verdict.damaged:
        return why_not_intact(judged)
    if not intact:
        return Reason("none-intact", "no intact one to go on from")
    if verdict.optimizer_state and not any(j.verdict.resumable and not j.verdict.refused for j in intact):
        return Reason("none-as-resumable", "no intact one is as resumable")
    return None


def why_not_intact(judged: Judged) -> Reason:
    """Given one that is not intact, return what its verdict says, as the reason for what happens to it."""
    state = judged.verdict.state
    if state == "in_progress":
        return Reason(code_of(state), BEING_WRITTEN)
    state_words = "could not be judged" if state == "unknown" else state
    return Reason(code_of(state), f"{state_words}: {first_finding(judged)}")


def perhaps_being_written(judged: Sequence[Judged], writer: Writer | None, now: float) -> Kept:
    """The damaged ones that a training may be at: a save that gathers in silence looks like one that was torn.

    Only the highest step and the one last written to, of all; and where the training shows nothing of itself in that
    run, only until the longest silence that a save can have is over.
    """
    if writer is None or not judged:
        return {}
    step = max(j.checkpoint.step for j in judged)
    written_at = max(map(saved_at, judged))  # a note that a person lays into a whole one makes none of them older
    return {
        c.name: _why_being_written(c, verdict, writer)
        for c, verdict in judged
        if verdict.damaged
        and (c.step == step or c.modified_at >= written_at)
        and (writer.certain or now - c.modified_at < SILENCE_SECONDS)
    }


def _why_being_written(checkpoint: Checkpoint, verdict: Verdict, writer: Writer) -> Reason:
    """Who may be at it, how long that counts, and what a person types who knows better."""
    doubt = f"{verdict.state}, but {writer.who} may still be writing it"
    minutes = f"deleted after {SILENCE_SECONDS // 60:g} min without a write"
    until = "if nothing writes it" if writer.certain else f"{minutes}, or now, if nothing writes it"
    return Reason("maybe-written", f"{doubt}; {until}", command("discard", checkpoint.path))


def first_finding(judged: Judged | Decision | Strip) -> str:
    """The finding that decided, for a person: the file and what is wrong with it."""
    finding = judged.verdict.findings[0]
    return f"{finding.file} {finding.message}".strip()
