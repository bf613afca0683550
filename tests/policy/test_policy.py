"""The policy alone: values in, values out. Each test is a fact; what holds of every plan: tests/faults."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ckptkit import calling
from ckptkit.config import rules as parse_rules
from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, Leftover, State, TrainerState, Verdict
from ckptkit.model.decision import PrunePlan, Writer
from ckptkit.model.reason import Reason, reason_words
from ckptkit.policy.keep import Best, Range, Rules, plan
from ckptkit.policy.mass_delete import command, from_json, intact_deletions, needs_a_yes, stricter, unasked, waiting

NOW = 1_000_000.0
KEEP_1 = Rules(Range(1, 1))
SIZE = 1000
PINNED = Reason("pinned", "pinned")
RELEASED = Reason("released", "no rule keeps it")
EARLIER_RUN = Reason("earlier-run", "from an earlier run")


REFUSED = (Finding("scheduler.pt", "refused-pickle", "names os.system"),)


def judged(
    step: int, state: State = "intact", *, resumable: bool = True, saved_at: float | None = None,
    history: Iterable[tuple[int, float]] | None = None, metrics: dict[str, float] | None = None,
    best: str | None = None, optimizer: bool | None = None, refused: bool = False,
    nonfinite: tuple[str, ...] | None = None, in_order: bool = True, name: str = "checkpoint-{}",
    layout: str = "hf-trainer",
) -> Judged:  # fmt: skip
    """A checkpoint of SIZE bytes; by default saved `step` seconds after NOW, with the losses that its run logged.

    history: (step, loss) pairs. name: of the directory, the step goes into its braces.
    """
    when = NOW + step if saved_at is None else saved_at
    log = ((s, s) for s in range(10, step + 1, 10)) if history is None else history
    logged = {s: {"loss": loss} for s, loss in log}
    known = TrainerState(step, when, logged, metrics or {}, best) if state == "intact" else None
    findings: tuple[Finding, ...] = (
        () if state == "intact" else (Finding("trainer_state.json", "missing", "is not there"),)
    )
    findings += REFUSED if refused and state == "intact" else ()
    verdict = Verdict(
        state,
        state == "intact" and resumable,
        "quick",
        findings,
        0,
        known,
        resumable if optimizer is None else optimizer,
        nonfinite=nonfinite if state == "intact" else None,
        written_in_order=in_order,
    )
    name = name.format(step)
    return Judged(Checkpoint(f"/run/{name}", name, step, layout, 1, step, (), (), SIZE, when), verdict)


def made(
    entries: list[Judged],
    rules: Rules = Rules(),
    protected: dict[str, Reason] | None = None,
    available: int = 0,
    leftovers: Sequence[Leftover] = (),
) -> PrunePlan:
    return plan("/run", entries, rules, protected or {}, available, leftovers)


def steps(plan: PrunePlan, action: str) -> list[int]:
    return [d.checkpoint.step for d in plan.decisions if d.action == action]


def reasons(plan: PrunePlan, step: int) -> tuple[Reason, ...]:
    return next(d.reasons for d in plan.decisions if d.checkpoint.step == step)


def words(plan: PrunePlan, step: int) -> str:
    return reason_words(reasons(plan, step))


FACTS = {
    "keep_last_2_keeps_the_newest_two": ([100, 200, 300], Rules(Range(2, 2)), [200, 300]),
    "fewer_than_keep_last_all_stay": ([100], Rules(Range(2, 2)), [100]),
    "steps_are_numbers_not_text": ([900, 1000, 2000], Rules(Range(2, 2)), [1000, 2000]),
    "no_rules_keep_all": ([100, 200, 300], Rules(None), [100, 200, 300]),
    "keep_every_alone_keeps_multiples_and_the_newest": (
        [100, 150, 200, 250],
        Rules(None, keep_every=100),
        [100, 200, 250],
    ),
    "every_rule_must_release": ([100, 150, 200, 250], Rules(Range(1, 1), keep_every=100), [100, 200, 250]),
    "keep_within_counts_from_the_newest": ([100, 200, 300], Rules(None, keep_within=100), [200, 300]),
    "keep_within_0_8_keeps_the_newest_alone": ([100, 200, 300], Rules(None, keep_within=0.8), [300]),
}


@pytest.mark.parametrize("name", FACTS)
def test_rule(name: str) -> None:
    present, rules, kept = FACTS[name]
    assert steps(made([judged(s) for s in present], rules), "keep") == kept


def test_partial_checkpoint_never_fills_a_keep_slot() -> None:
    result = made([judged(100), judged(200, "incomplete"), judged(150)])
    assert (steps(result, "keep"), steps(result, "delete")) == ([100, 150], [200])


@pytest.mark.parametrize("state", ["in_progress", "unknown"])
def test_what_is_being_written_or_unreadable_neither_counts_nor_goes(state: State) -> None:
    result = made([judged(100), judged(200), judged(300), judged(400, state)])
    assert (steps(result, "keep"), steps(result, "leave"), steps(result, "delete")) == ([200, 300], [400], [100])


@pytest.mark.parametrize("state", ["incomplete", "corrupt"])
def test_with_nothing_intact_nothing_goes(state: State) -> None:
    left = [Leftover("/run/.ckptkit-deleting-checkpoint-50", ".ckptkit-deleting-checkpoint-50", SIZE)]
    result = made([judged(100, state), judged(200, state)], leftovers=left)
    assert steps(result, "leave") == [100, 200]
    assert result.leftovers == () and result.expected_freed_bytes == 0


def test_torn_one_with_optimizer_stays_while_only_weights_are_intact() -> None:
    result = made([judged(100, resumable=False), judged(200, "incomplete", optimizer=True)])
    assert steps(result, "leave") == [200]
    assert reasons(result, 200) == (Reason("none-as-resumable", "no intact one is as resumable"),)


def test_torn_one_without_optimizer_goes_when_weights_are_intact() -> None:
    assert steps(made([judged(100, resumable=False), judged(200, "incomplete", optimizer=False)]), "delete") == [200]


def test_newest_resumable_stays_below_newer_weights_only_ones() -> None:
    entries = [judged(100), judged(200, resumable=False), judged(300, resumable=False), judged(400, resumable=False)]
    assert steps(made(entries), "keep") == [100, 300, 400]


def test_pinned_one_stays_and_says_so() -> None:
    result = made([judged(s) for s in (100, 200, 300)], protected={"checkpoint-100": PINNED})
    assert steps(result, "delete") == [] and words(result, 100) == "pinned"


def test_pinned_torn_one_stays() -> None:
    result = made([judged(100), judged(200, "corrupt")], protected={"checkpoint-200": PINNED})
    assert steps(result, "leave") == [200]


def test_best_of_the_newest_state_stays_and_of_an_older_state_does_not() -> None:
    entries = [
        judged(100),
        judged(200),
        judged(300, best="checkpoint-200"),
        judged(400),
        judged(500, best="checkpoint-100"),
    ]
    result = made(entries)
    assert steps(result, "keep") == [100, 400, 500]
    assert reasons(result, 100) == (Reason("best", "best_model_checkpoint of the newest state"),)


def test_keep_best_takes_the_lowest_loss_and_the_newer_of_equals() -> None:
    losses = {100: 2.0, 200: 1.0, 300: 1.0, 400: 3.0}
    entries = [judged(s, metrics={"eval_loss": v}) for s, v in losses.items()]
    assert steps(made(entries, Rules(None, Best("eval_loss", "min", 1))), "keep") == [300, 400]
    assert steps(made(entries, Rules(None, Best("loss", "max", 1))), "keep") == [400]  # eval_ may be left out


def test_keep_best_ignores_nan() -> None:
    entries = [judged(100, metrics={"loss": 1.0}), judged(200, metrics={"loss": float("nan")}), judged(300)]
    assert steps(made(entries, Rules(None, Best("loss", "min", 1))), "keep") == [100, 300]


def test_run_that_measured_nan_alone_is_planned_twice_to_the_same_end() -> None:
    entries = [judged(100, metrics={"loss": float("nan")}), judged(200)]
    kept = steps(made(entries, Rules(None, Best("loss", "min", 1))), "keep")
    assert kept == [100, 200], "were it deleted, the next plan would find no such metric, and refuse"


def test_keep_best_by_a_metric_nobody_logged_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="eval_los: no checkpoint was measured by it; known: eval_loss"):
        made([judged(100, metrics={"eval_loss": 1.0})], Rules(None, Best("eval_los", "min", 1)))


# --- a reused directory ---------------------------------------------------------------------------------------------

EARLIER = tuple((s, -s) for s in range(10, 3001, 10))


def test_stale_higher_step_of_an_earlier_run_never_outranks_a_live_one() -> None:
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER)
    result = made([judged(500), judged(1000), judged(1500), stale])
    assert (steps(result, "keep"), steps(result, "delete")) == ([1000, 1500], [500, 3000])
    assert reasons(result, 3000) == (EARLIER_RUN,)


def test_stale_one_with_a_better_metric_takes_no_slot_of_keep_best_from_the_live_run() -> None:
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER, metrics={"loss": 0.1})
    live = [judged(s, metrics={"eval_loss": s / 100}) for s in (500, 1000, 1500)]
    assert steps(made([*live, stale], Rules(None, Best("loss", "min", 1))), "keep") == [500, 1500]


def test_stale_one_stays_while_there_is_a_free_slot() -> None:
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER)
    assert steps(made([judged(500), stale]), "keep") == [500, 3000]


def test_copied_directory_with_times_in_any_order_is_one_history() -> None:
    copied = [judged(s, saved_at=NOW - s) for s in (100, 200, 300)]
    assert steps(made(copied), "keep") == [200, 300]


def test_clock_that_jumped_back_changes_nothing_for_one_history() -> None:
    entries = [judged(100, saved_at=NOW + 9000), judged(200, saved_at=NOW), judged(300, saved_at=NOW + 10)]
    assert steps(made(entries), "keep") == [200, 300]


def test_stale_one_is_no_witness_that_a_live_one_is_stale() -> None:
    """Saved after a clock jumped back, beside an earlier run's: what the first plan deletes changes no second one."""
    stale = judged(200, saved_at=NOW + 20, history=((10, -10),))
    entries = [judged(100, saved_at=NOW + 900), stale, judged(300, saved_at=NOW - 500)]
    assert steps(made(entries, Rules(Range(2, 2))), "keep") == [100, 300]
    assert steps(made(entries, Rules(Range(1, 1))), "keep") == [300]


def test_without_a_logged_loss_times_alone_make_nobody_an_earlier_runs() -> None:
    copied: dict[str, Any] = {"history": (), "in_order": False}
    entries = [judged(100, saved_at=NOW, **copied), judged(200, saved_at=NOW - 5000, **copied)]
    assert steps(made(entries, KEEP_1), "keep") == [200], "a copied run looks like this"


def test_newest_by_step_and_newest_by_time_both_stay_where_nothing_shows_whether_they_are_of_one_run() -> None:
    entries = [
        judged(100, history=(), saved_at=NOW - 10, in_order=True),
        judged(150, history=(), saved_at=NOW, in_order=True),
        judged(200, history=(), saved_at=NOW - 5000, in_order=True),
    ]
    result = made(entries, KEEP_1)
    assert (steps(result, "keep"), steps(result, "delete")) == ([150, 200], [100])
    assert reasons(result, 150) == (Reason("newest-by-time", "newest by time, although not by step"),)


def test_newest_by_time_is_an_ordinary_one_where_one_history_is_shown() -> None:
    entries = [judged(100, saved_at=NOW + 9000, in_order=True), judged(200)]
    assert steps(made(entries, KEEP_1), "keep") == [200]


def test_newest_by_time_that_can_be_resumed_from_stays_although_a_later_one_holds_weights_alone() -> None:
    entries = [
        judged(100, history=(), saved_at=NOW - 10, in_order=True),
        judged(150, history=(), saved_at=NOW, in_order=True, resumable=False),
        judged(200, history=(), saved_at=NOW - 5000, in_order=True),
    ]
    assert steps(made(entries, KEEP_1), "keep") == [100, 150, 200]


# --- kinds: directory, layout and name stem ---------------------------------------------------------------------------


def test_other_layout_or_stem_takes_no_slot_is_no_floor_and_has_an_order_of_its_own() -> None:
    trainer = [judged(s) for s in (800, 900)]
    others = [judged(s, name="step-{}", layout="other") for s in (850, 950, 1000)]
    result = made([*trainer, *others], KEEP_1)
    assert steps(result, "keep") == [900, 1000]
    assert steps(made([*trainer, *others]), "keep") == [800, 900, 950, 1000]


def test_two_stems_of_one_layout_are_two_kinds() -> None:
    result = made([judged(900), judged(800), judged(900, name="step-{}")], KEEP_1)
    assert [d.checkpoint.name for d in result.decisions if d.action == "keep"] == ["checkpoint-900", "step-900"]


def test_torn_one_stays_while_only_another_kind_is_intact() -> None:
    result = made([judged(900), judged(100, "incomplete", name="step-{}", layout="other")])
    assert reasons(result, 100) == (Reason("none-intact", "no intact one to go on from"),)


def test_higher_step_of_another_kind_with_other_losses_is_from_no_earlier_run() -> None:
    other = judged(3000, saved_at=NOW - 5000, history=EARLIER, name="step-{}", layout="other")
    assert steps(made([judged(500), judged(1000), other], KEEP_1), "keep") == [1000, 3000]


def test_keep_best_keeps_all_of_a_kind_in_which_nobody_measured_it() -> None:
    measured = [judged(s, metrics={"loss": s}) for s in (100, 200, 300)]
    others = [judged(s, name="step-{}") for s in (110, 210)]
    result = made([*measured, *others], Rules(None, Best("loss", "min", 1)))
    assert steps(result, "delete") == [200]


# --- what a resume refuses, and what diverged -------------------------------------------------------------------------


def test_refused_one_fills_neither_slot_nor_floor_and_stays_itself() -> None:
    result = made([judged(100), judged(200), judged(300), judged(400, refused=True)])
    assert (steps(result, "keep"), steps(result, "delete")) == ([200, 300, 400], [100])
    result = made([judged(100), judged(200), judged(300, refused=True), judged(400, refused=True)], KEEP_1)
    assert (steps(result, "keep"), steps(result, "delete")) == ([200, 400], [100, 300])


def test_refused_one_goes_where_an_ordinary_one_would_go() -> None:
    assert steps(made([judged(100, refused=True), judged(200), judged(300)]), "delete") == [100]


def test_refused_ones_fill_slots_and_floor_while_no_other_can_be_resumed_from() -> None:
    entries = [judged(100, refused=True), judged(200, refused=True), judged(300, resumable=False)]
    assert steps(made(entries, KEEP_1), "keep") == [200, 300]
    assert steps(made([judged(100, refused=True)]), "keep") == [100]


def test_last_one_with_finite_values_stays_while_a_newer_one_diverged() -> None:
    entries = [judged(100, nonfinite=()), judged(200, nonfinite=()), judged(300, nonfinite=("w",))]
    entries += [judged(400, nonfinite=("w",)), judged(500, nonfinite=("v", "w"))]
    result = made(entries)
    assert (steps(result, "keep"), steps(result, "delete")) == ([200, 400, 500], [100, 300])
    assert reasons(result, 200) == (Reason("last-finite", "the last one with finite values"),)


def test_weight_that_was_never_finite_is_no_divergence() -> None:
    """A mask of -inf, as some models keep among their weights."""
    entries = [judged(s, nonfinite=("mask",)) for s in (100, 200, 300)]
    assert steps(made(entries, KEEP_1), "keep") == [300]


def test_one_whose_values_nobody_looked_at_proves_nothing_so_the_one_before_it_stays_too() -> None:
    entries = [judged(100, nonfinite=()), judged(200), judged(300, nonfinite=("w",))]
    assert steps(made(entries, KEEP_1), "keep") == [100, 200, 300]


def test_weights_that_prove_that_values_were_finite_stay_beside_the_one_to_resume_from() -> None:
    entries = [judged(100), judged(150, nonfinite=(), resumable=False), judged(200, nonfinite=("w",))]
    assert steps(made(entries, KEEP_1), "keep") == [100, 150, 200]


def test_refused_one_with_finite_values_stays_and_so_does_the_one_before_it_that_a_resume_takes() -> None:
    entries = [judged(100, nonfinite=()), judged(200, nonfinite=(), refused=True), judged(300, nonfinite=("w",))]
    assert steps(made([judged(50), *entries], KEEP_1), "keep") == [100, 200, 300]


# --- ranges and the free target -------------------------------------------------------------------------------------

SIX = [judged(s) for s in (100, 200, 300, 400, 500, 600)]


@pytest.mark.parametrize(
    ("target", "kept", "unreached"),
    [
        (SIZE, [200, 300, 400, 500, 600], 0),  # the one over the range's top is enough
        (3 * SIZE, [400, 500, 600], 0),
        (3 * SIZE + 1, [500, 600], 0),
        (5 * SIZE, [500, 600], SIZE),  # never below the low end; told as unreached
    ],
)
def test_range_gives_up_its_slack_only_until_the_target_holds(target: int, kept: list[int], unreached: int) -> None:
    result = made(SIX, Rules(Range(2, 5), free_target=target))
    assert (steps(result, "keep"), result.unreached_bytes) == (kept, unreached)


def test_range_counts_what_is_free_already() -> None:
    assert len(steps(made(SIX, Rules(Range(2, 5), free_target=4 * SIZE), available=3 * SIZE), "keep")) == 5


def test_range_never_gives_up_what_another_rule_keeps() -> None:
    result = made(SIX, Rules(Range(1, 6), keep_every=200, free_target=100 * SIZE))
    assert steps(result, "keep") == [200, 400, 600]


# --- the mass-delete guard ------------------------------------------------------------------------------------------


def test_new_policy_may_delete_half_of_the_intact_ones_unasked() -> None:
    half, more = (made(SIX, Rules(Range(n, n))) for n in (3, 2))
    assert not needs_a_yes(half, Rules(Range(3, 3)), None)
    assert needs_a_yes(more, Rules(), None)
    assert needs_a_yes(more, Rules(), Rules(Range(3, 3))), "a stricter one"
    assert not needs_a_yes(more, Rules(), Rules()), "as last time"
    assert not needs_a_yes(more, Rules(max_delete=4), None)
    assert needs_a_yes(more, Rules(max_delete=3), Rules(max_delete=3))


def test_half_is_counted_within_each_kind() -> None:
    others = [judged(s, name="step-{}") for s in (1, 2)]
    many = made([judged(s) for s in range(10, 130, 10)] + others, Rules(Range(6, 6)))
    assert not needs_a_yes(many, Rules(Range(6, 6)), None)
    few = made([*SIX, *(judged(s, name="step-{}") for s in range(10, 130, 10))], Rules(None, keep_every=10))
    assert not intact_deletions(few)
    one_kind = made([*SIX, *(judged(s, name="step-{}") for s in range(100, 1300, 100))], KEEP_1, {
        f"step-{s}": PINNED for s in range(100, 1300, 100)
    })  # fmt: skip
    assert len(intact_deletions(one_kind)) == 5 <= len(one_kind.intact) // 2
    assert needs_a_yes(one_kind, KEEP_1, None), "five of six of one kind, though few of all"


def test_what_went_for_room_counts_until_somebody_says_yes() -> None:
    left = made(SIX[1:4])
    assert not needs_a_yes(left, Rules(), None)
    assert needs_a_yes(made(SIX[1:5]), Rules(), None, gone=2), "4 of 6 in all"


def test_without_a_yes_damaged_ones_go_and_intact_ones_wait() -> None:
    result = unasked(made([*SIX, judged(650, "corrupt")]), Rules(), 0)
    assert (steps(result, "delete"), steps(result, "keep")) == ([650], [100, 200, 300, 400, 500, 600])
    assert reasons(result, 100) == (RELEASED, Reason("waits-for-yes", "waits for a yes"))
    assert [d.checkpoint.step for d in waiting(result)] == [100, 200, 300, 400]


@pytest.mark.parametrize(
    ("missing", "gone"), [(1, [100]), (SIZE, [100]), (SIZE + 1, [100, 200]), (3 * SIZE, [100, 200, 300])]
)
def test_without_a_yes_the_oldest_go_just_enough_for_the_next_save(missing: int, gone: list[int]) -> None:
    result = unasked(made(SIX), Rules(), missing)
    assert steps(result, "delete") == gone
    assert reasons(result, 100) == (RELEASED, Reason("for-room", "the next save would not fit"))


def test_without_a_yes_nothing_goes_where_half_of_them_would_not_make_it_fit_either() -> None:
    assert steps(unasked(made(SIX), Rules(), 3 * SIZE + 1), "delete") == []
    assert steps(unasked(made(SIX), Rules(max_delete=1), SIZE + 1), "delete") == []


def test_for_room_an_earlier_runs_go_first() -> None:
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER)
    assert steps(unasked(made([*SIX, stale]), Rules(), 1), "delete") == [3000]


def test_command_that_is_told_holds_the_same_rules(tmp_path: Path) -> None:
    import shlex

    from ckptkit.cli import options as flags
    from ckptkit.cli import prune

    rules = Rules(Range(2, 5), Best("loss", "min", 2), 100, 1234567.25, 7 << 30, 9)
    words = shlex.split(command("/a run", rules, 4))
    assert [os.path.basename(words[0]), words[1]] == ["prune", "/a run"]
    typed = flags.typed_rules(prune.parser("prune").parse_args(words[1:]))
    assert parse_rules(str(tmp_path), typed, {}, 0) == rules._replace(max_delete=4)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (Rules(Range(2, 2)), Rules(Range(2, 2)), False),
        (Rules(Range(1, 1)), Rules(Range(2, 2)), True),
        (Rules(Range(3, 3)), Rules(Range(2, 2)), False),
        (Rules(Range(2, 2)), Rules(Range(2, 2), keep_every=100), True),
        (Rules(Range(2, 2), keep_every=200), Rules(Range(2, 2), keep_every=100), True),
        (Rules(Range(2, 2), keep_every=50), Rules(Range(2, 2), keep_every=100), False),
        (Rules(None, keep_within=10), Rules(None, keep_within=20), True),
        (Rules(None, Best("loss", "min", 1)), Rules(None, Best("loss", "min", 2)), True),
        (Rules(None), Rules(Range(9, 9)), False),
        (Rules(Range(9, 9)), Rules(None), True),
        (Rules(Range(2, 5), free_target=2), Rules(Range(2, 5), free_target=1), True),
    ],
)
def test_stricter_is_what_may_release_more_than_before(now: Rules, before: Rules, expected: bool) -> None:
    assert stricter(now, before) is expected


@pytest.mark.parametrize("rules", [Rules(), Rules(None, Best("loss", "min", 2), 100, 3.5, 7, 1), Rules(Range(2, 5))])
def test_rules_survive_json(rules: Rules) -> None:
    import json

    assert from_json(json.loads(json.dumps(rules))) == rules


@pytest.mark.parametrize("garbage", [None, 3, [], [1], {"a": 1}, "abcdef"])
def test_what_is_no_policy_reads_as_none(garbage: object) -> None:
    assert from_json(garbage) is None


# --- settings -------------------------------------------------------------------------------------------------------


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    def keep_last(flags: dict[str, str], environ: dict[str, str]) -> Any | None:
        return parse_rules(str(tmp_path), flags, environ, 0).keep_last

    assert keep_last({}, {}) == Range(2, 2)
    (tmp_path / "ckptkit.toml").write_text("keep_last = 3\n")
    assert keep_last({}, {}) == Range(3, 3)
    assert keep_last({}, {"CKPTKIT_KEEP_LAST": "4"}) == Range(4, 4)
    assert keep_last({"keep_last": "2..5"}, {"CKPTKIT_KEEP_LAST": "4"}) == Range(2, 5)


@pytest.mark.parametrize(
    ("key", "text", "fault"),
    [
        ("keep_last", "0", "must be a whole number above 0"),
        ("keep_last", "-1", "must be a whole number above 0"),
        ("keep_last", "x", "must be a whole number above 0"),
        ("keep_last", "١", "must be a whole number above 0"),
        ("keep_last", "5..2", "the lower end comes first"),
        ("keep_every", "1_000", "must be a whole number above 0"),
        ("keep_within", "2", "must be a duration"),
        ("keep_best", "loss:best", "must be METRIC"),
        ("free_target", "120%", "can't be that free"),
        ("free_target", "lots", "must be a size"),
        ("free_target", "20", "type 20G or 20%"),
        ("keep_best", "=2", "must be METRIC"),
        ("max_delete", "-1", "must be a whole number, 0 or more"),
    ],
)
def test_bad_setting_is_refused_with_its_fault_and_origin(tmp_path: Path, key: str, text: str, fault: str) -> None:
    flag = "--" + key.replace("_", "-")
    with pytest.raises(UsageError, match=f"{fault}.*set by {flag}"):
        parse_rules(str(tmp_path), {key: text}, {}, 0)
    with pytest.raises(UsageError, match=f"{fault}.*set by CKPTKIT_{key.upper()}"):
        parse_rules(str(tmp_path), {}, {f"CKPTKIT_{key.upper()}": text}, 0)


@pytest.mark.parametrize("content", [b"keep_last = ", b"\xff\xfe", b"keep_lats = 2"])
def test_broken_file_is_refused_and_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ckptkit.toml").write_bytes(content)
    with pytest.raises(UsageError, match="ckptkit.toml"):
        parse_rules(str(tmp_path), {}, {}, 0)


def test_sizes_and_percentages(tmp_path: Path) -> None:
    def target(text: str) -> int | None:
        return parse_rules(str(tmp_path), {"free_target": text}, {}, 1000).free_target

    assert [target(t) for t in ("20%", "1.5K", "2GB", "2G", "7B")] == [200, 1500, 2 * 10**9, 2 * 10**9, 7]


# --- a training that may still be at it ------------------------------------------------------------------------------

SURE = Writer(4711, "python (pid 4711)", certain=True)
UNSURE = Writer(4711, "a training on this machine (python, pid 4711)", certain=False)
HALF_HOUR = 1800


def swept(entries: list[Judged], writer: Writer | None, silent: int = HALF_HOUR) -> PrunePlan:
    """The plan so many seconds after the newest of them was last written to."""
    return plan("/run", entries, Rules(), {}, writer=writer, now=entries[-1].checkpoint.modified_at + silent)


@pytest.mark.parametrize("state", ["incomplete", "corrupt"])
def test_damaged_one_of_the_highest_step_stays_for_as_long_as_a_training_works_in_its_run(state: State) -> None:
    result = swept([judged(100), judged(200, state)], SURE, silent=86400)
    assert steps(result, "leave") == [200]
    assert words(result, 200) == (
        f"{state}, but python (pid 4711) may still be writing it; if nothing writes it; "
        f"fix: {calling.command('discard', '/run/checkpoint-200')}"
    )
    assert steps(swept([judged(100), judged(200, state)], None), "delete") == [200]


def test_training_that_shows_nothing_of_itself_protects_for_half_an_hour_without_a_write() -> None:
    entries = [judged(100), judged(200, "incomplete")]
    assert words(swept(entries, UNSURE, HALF_HOUR - 1), 200) == (
        "incomplete, but a training on this machine (python, pid 4711) may still be writing it; "
        "deleted after 30 min without a write, or now, if nothing writes it; "
        f"fix: {calling.command('discard', '/run/checkpoint-200')}"
    )
    assert steps(swept(entries, UNSURE, HALF_HOUR), "delete") == [200]


def test_damaged_one_below_the_highest_step_stays_only_if_it_was_last_written_to() -> None:
    older = [judged(100), judged(200, "incomplete"), judged(300)]
    assert steps(swept(older, SURE), "delete") == [200]
    again = [judged(100), judged(300), judged(200, "incomplete", saved_at=NOW + 301)]
    assert steps(swept(again, SURE), "leave") == [200]


def test_note_laid_into_a_whole_one_makes_no_save_in_silence_an_older_one() -> None:
    noted = judged(100)._replace(checkpoint=judged(100).checkpoint._replace(modified_at=NOW + 9000))
    entries = [noted, judged(300, history=[]), judged(200, "incomplete", saved_at=NOW + 8000)]
    assert steps(swept(entries, SURE), "leave") == [200]


def test_highest_step_counts_whatever_is_said_of_it() -> None:
    entries = [judged(100), judged(200, "incomplete"), judged(300, "unknown")]
    assert (steps(swept(entries, SURE), "delete"), steps(swept(entries, SURE), "leave")) == ([200], [300])


def test_training_beside_it_keeps_no_intact_one() -> None:
    assert steps(swept([judged(100), judged(200), judged(300)], SURE), "delete") == [100]


def test_pin_is_the_reason_that_is_told_of_a_pinned_one() -> None:
    entries = [judged(100), judged(200, "incomplete")]
    result = plan("/run", entries, Rules(), {"checkpoint-200": PINNED}, writer=SURE)
    assert reasons(result, 200) == (PINNED,)
