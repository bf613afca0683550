"""A real hyperparameter search (Optuna) under the guard: each trial has its own rules, and the search always ends."""

import os

import pytest

import ckptkit
from ckptkit import ops

MiB = 1 << 20
SCORES = (3.0, 1.0, 2.0, 4.0)  # of the trials, the lower the better: the second is the best


def searched(run, **asked):
    """Search through four trials of three saves each; their learning rates do not matter, the scores are given."""
    import tiny

    trainer = tiny.trainer(run, max_steps=30, eval_strategy="steps", eval_steps=30, disable_tqdm=True)
    trainer.model_init = lambda trial=None: tiny.model()
    guard = ckptkit.guard(trainer, 1, **asked)
    trials = []

    def objective(metrics):
        return SCORES[trials[-1]]

    def space(trial):
        trials.append(trial.number)
        return {"seed": trial.suggest_int("seed", 1, 9)}

    best = trainer.hyperparameter_search(
        space, objective, n_trials=len(SCORES), direction="minimize", backend="optuna",
    )  # fmt: skip
    return guard, best, trials


def left(run):
    """{trial's directory: its steps}"""
    return {
        name: [c.step for c in ops.scan(os.path.join(run, name)).checkpoints]
        for name in sorted(os.listdir(run))
        if os.listdir(os.path.join(run, name))
    }


@pytest.fixture(autouse=True)
def quiet():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_each_trial_keeps_its_own_and_that_is_said(tmp_path, told):
    run = str(tmp_path / "run")
    guard, best, _ = searched(run)
    assert left(run) == {f"run-{number}": [30] for number in range(4)}
    assert (guard.skipped, best.run_id) == (0, "1")
    assert len([line for line in told if "each trial of this search keeps its own checkpoints" in line]) == 1


def test_search_ends_though_the_disk_fills_and_each_trial_keeps_its_floor(disk, told):
    """Room for three checkpoints: the first trials have theirs, the later ones can't be saved, and it is told."""
    run = os.path.join(disk(int(3.2 * MiB)), "run")
    guard, best, trials = searched(run)
    assert (trials, best.run_id) == ([0, 1, 2, 3], "1")
    assert guard.skipped > 0 and any("is NOT saved, training goes on" in line for line in told)
    assert left(run)["run-0"] == [30] and left(run)["run-1"] == [30], "a later trial takes nothing of an earlier one's"


def test_only_the_best_trial_s_stay_where_asked_for_and_each_deletion_is_told(disk, told):
    run = os.path.join(disk(int(3.2 * MiB)), "run")
    guard, best, trials = searched(run, keep_trials="best")
    assert (trials, best.run_id, guard.skipped) == ([0, 1, 2, 3], "1", 0)
    assert left(run) == {"run-1": [30]}
    assert all(j.verdict.resumable for j in ops.verify(os.path.join(run, "run-1"), level="full"))
    for number in (0, 2, 3):
        assert sum(f"run-{number}/checkpoint-30 deleted: " in line for line in told) == 1


def test_the_only_intact_one_of_a_run_goes_only_while_the_other_run_holds_one(run_of, tmp_path):
    run = str(run_of({100: "intact"}))
    empty = tmp_path / "other"
    (empty / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ckptkit.NoIntactCheckpoint):
        ops.discard(f"{run}/checkpoint-100", instead=str(empty))
    assert os.listdir(run) == ["checkpoint-100"]


@pytest.mark.parametrize("value", ["none", None, 1, True])
def test_what_can_not_be_meant_is_refused(tmp_path, value):
    import tiny

    with pytest.raises(ckptkit.UsageError, match="^keep_trials="):
        ckptkit.guard(tiny.trainer(tmp_path), keep_trials=value)
