"""What a public function returns says in a line what it is: a notebook shows it, and nobody reads a page of tuples."""

import pickle
from pathlib import Path

import pytest

import ckptkit as kit
from ckptkit.guard.keeper import Keeper
from ckptkit.guard.settings import GuardSettings
from ckptkit.policy.rules import Rules
from tests.support.runs import names
from tests.support.typed import RunOf

NINE = dict.fromkeys(range(100, 900, 100), "intact") | {900: "torn"}


@pytest.fixture
def run(run_of: RunOf) -> str:
    """A run of nine checkpoints, the newest of them torn."""
    return run_of(NINE)


def test_each_is_short_and_says_what_it_is(run: str) -> None:
    for made, begins in (
        (kit.scan(run), f"<Run {run}: 9 checkpoints, "),
        (kit.scan(run).checkpoints[0], f"<Checkpoint {run}/checkpoint-100: step 100, "),
        (kit.verify(run), "<Verified 9 checkpoints: 8 intact, 1 incomplete>"),
        (kit.verify(run)[0], "<Judged checkpoint-100: intact, "),
        (kit.verify(run)[8].verdict, "<Verdict incomplete, "),
        (kit.latest(run), f"<Latest {run}/checkpoint-800: intact, resumable, 1 newer skipped>"),
        (kit.plan(run), f"<PrunePlan {run}: delete 7 of 9 checkpoints, "),
        (kit.plan(run).decisions[0], "<Decision checkpoint-100: delete (no rule keeps it)>"),
        (kit.prune(run, dry_run=True), f"<Pruned {run}: would delete 7 checkpoints, "),
        (kit.strip(run, dry_run=True), f"<Stripped {run}: would strip "),
        (kit.strip(run, dry_run=True).plan, f"<StripPlan {run}: strip "),
        (kit.report(run), "<Report 1 volume, 1 run, "),
        (kit.preflight(run, probe=False), "<Checks "),
        (kit.recover(run, dry_run=True), "<Recovered "),
    ):
        assert repr(made).startswith(begins) and repr(made).endswith(">"), repr(made)
        assert "\n" not in repr(made) and len(repr(made).replace(run, "")) < 300, repr(made)


def test_name_that_would_move_the_cursor_is_escaped(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(NINE, at=tmp_path / "a\n\x1b[31mb")
    for made in (kit.scan(run), kit.plan(run), kit.prune(run, dry_run=True), kit.latest(run), kit.report(run)):
        assert repr(made).isprintable()


def test_what_was_done_is_told_as_done(run: str) -> None:
    done = kit.prune(run, yes=True)
    assert repr(done).startswith(f"<Pruned {run}: deleted 7 checkpoints, freed ") and len(names(run)) == 2
    assert repr(kit.strip(run, 1)).startswith(f"<Stripped {run}: stripped 1 checkpoint, freed ")


def test_what_needs_a_yes_says_so(run: str) -> None:
    assert repr(kit.prune(run, keep_last=1, dry_run=True)).endswith(", which needs yes=True>")


def test_they_are_the_tuples_that_they_were(run: str) -> None:
    judged = kit.verify(run)
    assert judged == tuple(judged) and isinstance(judged, tuple)
    for made in (judged, kit.plan(run), kit.prune(run, dry_run=True), kit.scan(run), kit.report(run)):
        assert pickle.loads(pickle.dumps(made)) == made and tuple(made) == made
    checkpoint, verdict = judged[0]
    plan, outcome, _ = kit.prune(run, dry_run=True)
    assert (checkpoint.step, verdict.state, plan.run, outcome) == (100, "intact", run, None) and not judged[:0]


@pytest.mark.parametrize(
    "rules, words",
    [
        (kit.Rules(), "Rules(keep_last=2)"),
        (kit.Rules("2..5", free_target="20G"), "Rules(keep_last='2..5', free_target=20000000000)"),
        (kit.Rules(None, keep_best="eval_loss"), "Rules(keep_last=None, keep_best='eval_loss:min=1')"),
        (kit.Rules(keep_every=500, keep_within="2d"), "Rules(keep_last=2, keep_every=500, keep_within=172800.0)"),
    ],
)
def test_rules_can_be_typed_as_they_are_shown(rules: Rules, words: str) -> None:
    assert repr(rules) == words and eval(words, {"Rules": kit.Rules}) == rules


def test_guard_says_its_run_and_what_it_keeps(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path), GuardSettings(kit.Rules(3), 3, True, "skip", 0.0))
    assert repr(keeper) == f"<Keeper {tmp_path}: keeps the newest 3>"
    keeper.skipped = 2
    assert repr(keeper) == f"<Keeper {tmp_path}: keeps the newest 3, 2 saves skipped>"


def test_monitor_says_what_it_watches_and_when_it_stopped(run: str) -> None:
    with kit.monitor(Path(run), every="1h", alerted=lambda alert: None) as watching:
        assert repr(watching).startswith(f"<Monitor watching {run} every 1h")
    assert repr(watching).startswith(f"<Monitor stopped, watched {run} every 1h")
