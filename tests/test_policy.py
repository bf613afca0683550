"""The policy alone: values in, values out. Each test is a fact; what holds of every plan: tests/faults."""

import pytest

from ckptkit.config import rules as parse_rules
from ckptkit.errors import UsageError
from ckptkit.mass_delete import delete_limit, from_json, stricter
from ckptkit.model import Checkpoint, Finding, Judged, Leftover, Plan, TrainerState, Verdict
from ckptkit.policy import Best, Range, Rules, plan

NOW = 1_000_000.0
SIZE = 1000


def judged(
    step, state="intact", *, resumable=True, saved_at=None, history=None, metrics=None, best=None, optimizer=None
):
    """A checkpoint of SIZE bytes; by default saved `step` seconds after NOW, with the history that its run shares."""
    when = NOW + step if saved_at is None else saved_at
    log = tuple((s, s) for s in range(10, step + 1, 10)) if history is None else history
    known = TrainerState(step, when, log, metrics or {}, best) if state == "intact" else None
    findings = () if state == "intact" else (Finding("trainer_state.json", "missing", "is not there"),)
    verdict = Verdict(
        state,
        state == "intact" and resumable,
        "quick",
        findings,
        0,
        known,
        resumable if optimizer is None else optimizer,
    )
    name = f"checkpoint-{step}"
    return Judged(Checkpoint(f"/run/{name}", name, step, "hf-trainer", 1, step, (), (), SIZE, when), verdict)


def made(entries, rules=Rules(), protected=None, available=0, leftovers=()):
    return plan("/run", entries, rules, protected or {}, available, leftovers)


def steps(plan: Plan, action: str) -> list[int]:
    return [d.checkpoint.step for d in plan.decisions if d.action == action]


def reasons(plan: Plan, step: int) -> tuple[str, ...]:
    return next(d.reasons for d in plan.decisions if d.checkpoint.step == step)


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
def test_rule(name):
    present, rules, kept = FACTS[name]
    assert steps(made([judged(s) for s in present], rules), "keep") == kept


def test_partial_checkpoint_never_fills_a_keep_slot():
    result = made([judged(100), judged(200, "incomplete"), judged(150)])
    assert (steps(result, "keep"), steps(result, "delete")) == ([100, 150], [200])


@pytest.mark.parametrize("state", ["in_progress", "unknown"])
def test_what_is_being_written_or_unreadable_neither_counts_nor_goes(state):
    result = made([judged(100), judged(200), judged(300), judged(400, state)])
    assert (steps(result, "keep"), steps(result, "leave"), steps(result, "delete")) == ([200, 300], [400], [100])


@pytest.mark.parametrize("state", ["incomplete", "corrupt"])
def test_with_nothing_intact_nothing_goes(state):
    left = [Leftover("/run/.ckptkit-deleting-checkpoint-50", ".ckptkit-deleting-checkpoint-50", SIZE)]
    result = made([judged(100, state), judged(200, state)], leftovers=left)
    assert steps(result, "leave") == [100, 200]
    assert result.leftovers == () and result.expected_freed_bytes == 0


def test_torn_one_with_optimizer_stays_while_only_weights_are_intact():
    result = made([judged(100, resumable=False), judged(200, "incomplete", optimizer=True)])
    assert steps(result, "leave") == [200]
    assert reasons(result, 200) == ("no intact one is as resumable",)


def test_torn_one_without_optimizer_goes_when_weights_are_intact():
    assert steps(made([judged(100, resumable=False), judged(200, "incomplete", optimizer=False)]), "delete") == [200]


def test_newest_resumable_stays_below_newer_weights_only_ones():
    entries = [judged(100), judged(200, resumable=False), judged(300, resumable=False), judged(400, resumable=False)]
    assert steps(made(entries), "keep") == [100, 300, 400]


def test_pinned_one_stays_and_says_so():
    result = made([judged(s) for s in (100, 200, 300)], protected={"checkpoint-100": "pinned"})
    assert steps(result, "delete") == [] and reasons(result, 100) == ("pinned",)


def test_pinned_torn_one_stays():
    result = made([judged(100), judged(200, "corrupt")], protected={"checkpoint-200": "pinned"})
    assert steps(result, "leave") == [200]


def test_best_of_the_newest_state_stays_and_of_an_older_state_does_not():
    entries = [
        judged(100),
        judged(200),
        judged(300, best="checkpoint-200"),
        judged(400),
        judged(500, best="checkpoint-100"),
    ]
    result = made(entries)
    assert steps(result, "keep") == [100, 400, 500]
    assert reasons(result, 100) == ("best_model_checkpoint of the newest state",)


def test_keep_best_takes_the_lowest_loss_and_the_newer_of_equals():
    losses = {100: 2.0, 200: 1.0, 300: 1.0, 400: 3.0}
    entries = [judged(s, metrics={"eval_loss": v}) for s, v in losses.items()]
    assert steps(made(entries, Rules(None, Best("eval_loss", "min", 1))), "keep") == [300, 400]
    assert steps(made(entries, Rules(None, Best("loss", "max", 1))), "keep") == [400]  # eval_ may be left out


def test_keep_best_ignores_nan():
    entries = [judged(100, metrics={"loss": 1.0}), judged(200, metrics={"loss": float("nan")}), judged(300)]
    assert steps(made(entries, Rules(None, Best("loss", "min", 1))), "keep") == [100, 300]


def test_run_that_measured_nan_alone_is_planned_twice_to_the_same_end():
    entries = [judged(100, metrics={"loss": float("nan")}), judged(200)]
    kept = steps(made(entries, Rules(None, Best("loss", "min", 1))), "keep")
    assert kept == [100, 200], "were it deleted, the next plan would find no such metric, and refuse"


def test_keep_best_by_a_metric_nobody_logged_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="eval_los: no checkpoint was measured by it; known: eval_loss"):
        made([judged(100, metrics={"eval_loss": 1.0})], Rules(None, Best("eval_los", "min", 1)))


# --- a reused directory ---------------------------------------------------------------------------------------------

EARLIER = tuple((s, -s) for s in range(10, 3001, 10))


def test_stale_higher_step_of_an_earlier_run_never_outranks_a_live_one():
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER)
    result = made([judged(500), judged(1000), judged(1500), stale])
    assert (steps(result, "keep"), steps(result, "delete")) == ([1000, 1500], [500, 3000])
    assert reasons(result, 3000) == ("left by an earlier run",)


def test_stale_one_with_a_better_metric_takes_no_slot_of_keep_best_from_the_live_run():
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER, metrics={"loss": 0.1})
    live = [judged(s, metrics={"eval_loss": s / 100}) for s in (500, 1000, 1500)]
    assert steps(made([*live, stale], Rules(None, Best("loss", "min", 1))), "keep") == [500, 1500]


def test_stale_one_stays_while_there_is_a_free_slot():
    stale = judged(3000, saved_at=NOW - 5000, history=EARLIER)
    assert steps(made([judged(500), stale]), "keep") == [500, 3000]


def test_copied_directory_with_times_in_any_order_is_one_history():
    copied = [judged(s, saved_at=NOW - s) for s in (100, 200, 300)]
    assert steps(made(copied), "keep") == [200, 300]


def test_clock_that_jumped_back_changes_nothing_for_one_history():
    entries = [judged(100, saved_at=NOW + 9000), judged(200, saved_at=NOW), judged(300, saved_at=NOW + 10)]
    assert steps(made(entries), "keep") == [200, 300]


def test_stale_one_is_no_witness_that_a_live_one_is_stale():
    """Saved after a clock jumped back, beside an earlier run's: what the first plan deletes changes no second one."""
    stale = judged(200, saved_at=NOW + 20, history=((10, -10),))
    entries = [judged(100, saved_at=NOW + 900), stale, judged(300, saved_at=NOW - 500)]
    assert steps(made(entries, Rules(Range(2, 2))), "keep") == [100, 300]
    assert steps(made(entries, Rules(Range(1, 1))), "keep") == [300]


def test_without_a_logged_loss_the_save_time_decides():
    entries = [judged(100, history=(), saved_at=NOW), judged(200, history=(), saved_at=NOW - 5000)]
    assert steps(made(entries, Rules(Range(1, 1))), "keep") == [100]


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
def test_range_gives_up_its_slack_only_until_the_target_holds(target, kept, unreached):
    result = made(SIX, Rules(Range(2, 5), free_target=target))
    assert (steps(result, "keep"), result.unreached_bytes) == (kept, unreached)


def test_range_counts_what_is_free_already():
    assert len(steps(made(SIX, Rules(Range(2, 5), free_target=4 * SIZE), available=3 * SIZE), "keep")) == 5


def test_range_never_gives_up_what_another_rule_keeps():
    result = made(SIX, Rules(Range(1, 6), keep_every=200, free_target=100 * SIZE))
    assert steps(result, "keep") == [200, 400, 600]


# --- the mass-delete guard ------------------------------------------------------------------------------------------


def test_new_policy_may_delete_half_of_the_intact_ones_unasked():
    result = made(SIX)
    assert delete_limit(result, Rules(), None) == 3
    assert delete_limit(result, Rules(max_delete=4), None) == 4
    assert delete_limit(result, Rules(), Rules()) is None


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
def test_stricter_is_what_may_release_more_than_before(now, before, expected):
    assert stricter(now, before) is expected


@pytest.mark.parametrize("rules", [Rules(), Rules(None, Best("loss", "min", 2), 100, 3.5, 7, 1), Rules(Range(2, 5))])
def test_rules_survive_json(rules):
    import json

    assert from_json(json.loads(json.dumps(rules))) == rules


@pytest.mark.parametrize("garbage", [None, 3, [], [1], {"a": 1}, "abcdef"])
def test_what_is_no_policy_reads_as_none(garbage):
    assert from_json(garbage) is None


# --- settings -------------------------------------------------------------------------------------------------------


def test_flags_beat_environment_beats_file_beats_default(tmp_path):
    def keep_last(flags, environ):
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
def test_bad_setting_is_refused_with_its_fault_and_origin(tmp_path, key, text, fault):
    flag = "--" + key.replace("_", "-")
    with pytest.raises(UsageError, match=f"{fault}.*set by {flag}"):
        parse_rules(str(tmp_path), {key: text}, {}, 0)
    with pytest.raises(UsageError, match=f"{fault}.*set by CKPTKIT_{key.upper()}"):
        parse_rules(str(tmp_path), {}, {f"CKPTKIT_{key.upper()}": text}, 0)


@pytest.mark.parametrize("content", [b"keep_last = ", b"\xff\xfe", b"keep_lats = 2"])
def test_broken_file_is_refused_and_named(tmp_path, content):
    (tmp_path / "ckptkit.toml").write_bytes(content)
    with pytest.raises(UsageError, match="ckptkit.toml"):
        parse_rules(str(tmp_path), {}, {}, 0)


def test_sizes_and_percentages(tmp_path):
    def target(text):
        return parse_rules(str(tmp_path), {"free_target": text}, {}, 1000).free_target

    assert [target(t) for t in ("20%", "1.5K", "2GB", "2G", "7B")] == [200, 1536, 2 * 10**9, 2 << 30, 7]
