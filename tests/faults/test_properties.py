"""What holds of every plan, whatever stands in the run, whatever the rules: hypothesis looks for what breaks it."""

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.model.checkpoint import Judged
from ckptkit.model.decision import PrunePlan
from ckptkit.model.reason import Reason
from ckptkit.ops.pin import pin
from ckptkit.ops.prune import prune
from ckptkit.policy.keep import Range, Rules
from ckptkit.policy.lineage import in_line, stale_names
from ckptkit.policy.mass_delete import intact_deletions, unasked, waiting
from tests.faults.conftest import Tally
from tests.faults.drawn import (
    AVAILABLE,
    COUNTED,
    ENTRIES,
    METRICS,
    PROTECTED,
    RANGES,
    REAL_EXAMPLES,
    RULES,
    STEPS,
    TOLD_APART,
    UNTARGETED,
    deleted,
    hold,
    plan_of,
)
from tests.policy.test_policy import EARLIER_RUN, NOW, SIZE, judged, made, reasons, steps
from tests.support.runs import make_run, tree
from tests.support.typed import present

# --- one plan -------------------------------------------------------------------------------------------------------


def test_keep_and_delete_and_leave_are_all_and_each_says_why(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason]) -> None:
        plan = plan_of(given, rules, protected)
        if plan is None:
            return
        assert [d.checkpoint.step for d in plan.decisions] == sorted(j.checkpoint.step for j in given)
        for decision in plan.decisions:
            assert decision.reasons and all(reason.code and reason.message for reason in decision.reasons)
            assert (decision.action in ("keep", "delete")) if decision.verdict.intact else decision.action != "keep"

    hold(tally, "properties of plans", check, ENTRIES, RULES, PROTECTED)


def test_run_is_never_left_without_an_intact_and_a_resumable_one(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason], available: int) -> None:
        plan = plan_of(given, rules, protected, available)
        if plan is None:
            return
        kept = [d for d in plan.decisions if d.action == "keep"]
        assert bool(kept) == any(j.verdict.intact for j in given)
        assert any(d.verdict.resumable for d in kept) == any(j.verdict.resumable for j in given)
        if not kept:
            assert not deleted(plan) and plan.leftovers == () and plan.expected_freed_bytes == 0

    hold(tally, "properties of plans", check, ENTRIES, RULES, PROTECTED, AVAILABLE)


def test_newest_of_the_live_run_stays(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules) -> None:
        intact = [j for j in given if j.verdict.intact]
        stale = stale_names(intact)
        live = [j.checkpoint.step for j in in_line(intact) if j.checkpoint.name not in stale]
        assert not live or live[-1] not in deleted(plan_of(given, rules))
        assert bool(live) == bool(intact)

    hold(tally, "properties of plans", check, ENTRIES, RULES)


def test_what_is_pinned_unreadable_or_being_written_never_dies(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason]) -> None:
        gone = {f"checkpoint-{s}" for s in deleted(plan_of(given, rules, protected))}
        untouchable = {j.checkpoint.name for j in given if j.verdict.state in ("unknown", "in_progress")}
        assert not gone & (untouchable | protected.keys())

    hold(tally, "properties of plans", check, ENTRIES, RULES, PROTECTED)


def test_what_is_unreadable_or_being_written_is_not_counted(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules) -> None:
        counted = [j for j in given if j.verdict.state not in ("unknown", "in_progress")]
        assert deleted(plan_of(given, rules)) == deleted(plan_of(counted, rules))

    hold(tally, "properties of plans", check, ENTRIES, RULES)


def test_free_target_never_goes_below_the_low_end(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, last: Range, target: int, available: int) -> None:
        plan = plan_of(given, rules._replace(keep_last=last, free_target=target), {}, available)
        newest = [j.checkpoint.step for j in in_line([j for j in given if j.verdict.intact])][-last.low :]
        assert not deleted(plan) & set(newest)

    hold(tally, "properties of plans", check, ENTRIES, UNTARGETED, RANGES, st.integers(1, 99 * SIZE), AVAILABLE)


def test_without_a_yes_at_most_half_of_each_kind_goes_and_only_what_the_plan_releases(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason], missing: int) -> None:
        plan = plan_of(given, rules, protected)
        if plan is None:
            return
        done = unasked(plan, rules, missing)
        assert {d.checkpoint.step for d in intact_deletions(done)} <= {
            d.checkpoint.step for d in intact_deletions(plan)
        }
        assert len(intact_deletions(done)) <= len(plan.intact) // 2
        assert len(intact_deletions(done)) + len(waiting(done)) == len(intact_deletions(plan))
        assert [d for d in done.deletions if not d.verdict.intact] == [
            d for d in plan.deletions if not d.verdict.intact
        ]
        freed = sum(d.checkpoint.allocated_bytes for d in intact_deletions(done))
        assert not freed or freed - SIZE < missing <= freed, "just enough, or none"

    missing = st.integers(-SIZE, 6 * SIZE)
    hold(tally, "properties of plans", check, ENTRIES, RULES, PROTECTED, missing)


# --- two plans ------------------------------------------------------------------------------------------------------


def test_planning_again_on_what_is_left_deletes_nothing_and_keeps_the_same(tally: Tally) -> None:
    """Where it can be told which training is the live one: else what told so may be what was deleted."""

    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason], available: int) -> None:
        first = plan_of(given, rules, protected, available)
        if first is None:
            return
        left = [j for j in given if j.checkpoint.step not in deleted(first)]
        second = made(left, rules, protected, available + first.expected_freed_bytes)
        assert not deleted(second) and steps(second, "keep") == steps(first, "keep")

    hold(tally, "properties of two plans", check, TOLD_APART, RULES, PROTECTED, AVAILABLE)


def test_order_of_the_input_does_not_matter(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, protected: dict[str, Reason], rng: Random) -> None:
        shuffled = list(given)
        rng.shuffle(shuffled)
        assert plan_of(shuffled, rules, protected) == plan_of(given, rules, protected)

    hold(tally, "properties of two plans", check, ENTRIES, RULES, PROTECTED, st.randoms(use_true_random=False))


RAISED = {
    "low": lambda r: r._replace(keep_last=r.keep_last and Range(r.keep_last.low + 1, max(r.keep_last[0] + 1, r[0][1]))),
    "high": lambda r: r._replace(keep_last=r.keep_last and Range(r.keep_last.low, r.keep_last.high + 1)),
    "last": lambda r: r._replace(keep_last=r.keep_last and Range(*(n + 1 for n in r.keep_last))),
    "target": lambda r: r._replace(free_target=(r.free_target or 0) // 2 or None),
}  # fmt: skip
RAISED_UNTARGETED = {
    "best": lambda r: r._replace(keep_best=r.keep_best and r.keep_best._replace(keep=r.keep_best.keep + 1)),
    "every": lambda r: r._replace(keep_every=r.keep_every and (r.keep_every // 2 if r.keep_every % 2 == 0 else 1)),
    "within": lambda r: r._replace(keep_within=r.keep_within and r.keep_within * 2),
    "pin": lambda r: r,
}  # fmt: skip


def test_raising_a_keep_never_deletes_more(tally: Tally) -> None:
    def check(given: list[Judged], rules: Rules, how: str, available: int) -> None:
        before = plan_of(given, rules, {}, available)
        assert before is None or deleted(plan_of(given, RAISED[how](rules), {}, available)) <= deleted(before)

    hold(tally, "properties of two plans", check, ENTRIES, RULES, st.sampled_from(sorted(RAISED)), AVAILABLE)


def test_raising_any_rule_without_a_free_target_never_deletes_more(tally: Tally) -> None:
    """With one, what another rule newly keeps must come from the range's slack."""

    def check(given: list[Judged], rules: Rules, how: str, pins: Any) -> None:
        before = plan_of(given, rules)
        protected = pins if how == "pin" else {}
        assert before is None or deleted(plan_of(given, RAISED_UNTARGETED[how](rules), protected)) <= deleted(before)

    which = st.sampled_from(sorted(RAISED_UNTARGETED))
    hold(tally, "properties of two plans", check, ENTRIES, UNTARGETED, which, PROTECTED)


# --- clocks and reused directories ----------------------------------------------------------------------------------

JUMPS = st.lists(st.integers(-(10**9), 10**9), min_size=12, max_size=12)


def test_clock_jumps_change_nothing_for_count_rules(tally: Tally) -> None:
    """Of a run that logged losses: without any, the times are all that tells two runs apart."""

    def check(present: list[int], rules: Rules, jumps: list[int]) -> None:
        orderly = [judged(s, metrics={"loss": s % 70}) for s in present]
        jumped = [
            judged(s, saved_at=NOW + jump, metrics={"loss": s % 70}) for s, jump in zip(present, jumps, strict=False)
        ]
        assert deleted(plan_of(jumped, rules)) == deleted(plan_of(orderly, rules))

    hold(tally, "properties under clock jumps", check, st.lists(STEPS, max_size=12, unique=True), COUNTED, JUMPS)


def test_higher_steps_of_an_earlier_run_never_push_out_the_live_ones(tally: Tally) -> None:
    def check(live: list[Any], old: list[Any], rules: Rules, loss: dict[str, float], available: int) -> None:
        lived = [judged(s, metrics={"loss": s % 70}) for s in live]
        steps_left = [s for s in old if s not in live and s > min(live)]
        left = [
            judged(s, saved_at=NOW - 9000 + s, history=tuple((t, -t) for t in range(10, s + 1, 10)), metrics=loss)
            for s in steps_left
        ]
        alone, beside = (plan_of(them, rules, {}, available) for them in (lived, lived + left))
        if alone is None:
            return
        assert deleted(beside) & set(live) <= deleted(alone)
        assert all(reasons(present(beside), s) == (EARLIER_RUN,) for s in deleted(beside) & set(steps_left))

    lists = st.lists(STEPS, min_size=1, max_size=8, unique=True)
    hold(tally, "properties of reused directories", check, lists, lists, RULES, METRICS, AVAILABLE)


# --- on real trees --------------------------------------------------------------------------------------------------

STATES = st.sampled_from(["intact", "intact", "torn", "corrupt", "young", "unknown"])
REAL = st.dictionaries(st.sampled_from(range(100, 700, 100)), STATES, min_size=1, max_size=5)


def test_dry_run_tells_the_plan_that_is_executed_and_nothing_else_goes(real: str, tmp_path: Path, tally: Tally) -> None:
    def check(states: dict[int, str], last: int, every: int | None, pinned: int) -> None:
        run, rules = str(tmp_path / "run"), Rules(Range(last, last), keep_every=every)
        shutil.rmtree(run, ignore_errors=True)
        make_run(real, run, {step: "intact" if state == "unknown" else state for step, state in states.items()})
        for step in (s for s, state in states.items() if state == "unknown"):
            os.symlink("/dev/zero", f"{run}/checkpoint-{step}/link")
        if pinned in states:
            pin(f"{run}/checkpoint-{pinned}")
        told = _pruned(run, rules, dry_run=True)
        before = tree(run)
        done = _pruned(run, rules)
        assert told == done, "the same plan, or the same refusal"
        gone = {f"{run}/checkpoint-{s}" for s in (deleted(done[0]) if done[0] else ())}
        assert set(done[1]) == gone
        left = {p: seen for p, seen in before.items() if not any(f"{p}/".startswith(f"{g}/") for g in gone)}
        assert tree(run) == left, "what stays is untouched"
        assert _pruned(run, rules)[1] == (), "a second sweep finds nothing"

    every = st.none() | st.sampled_from([100, 200, 300])
    pinned = st.sampled_from(range(100, 700, 100))
    hold(tally, "dry runs beside real ones", check, REAL, st.integers(1, 3), every, pinned, examples=REAL_EXAMPLES)


def _pruned(run: str, rules: Rules, dry_run: bool = False) -> tuple[PrunePlan | None, tuple[str, ...]]:
    """(the plan, what went of it or would go); a refusal is (None, what it says)."""
    try:
        plan, outcome, _ = prune(run, rules, dry_run=dry_run, yes=True, patient=False, settle=False)
    except NoIntactCheckpoint:
        return None, ()
    assert dry_run or present(outcome).failures == ()
    gone = tuple(d.checkpoint.path for d in plan.deletions) if dry_run else present(outcome).deleted
    return plan, tuple(sorted(gone))
