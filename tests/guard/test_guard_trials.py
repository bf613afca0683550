"""A real hyperparameter search (Optuna) under the guard: each trial has its own rules, and the search always ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.ops.pin import pin
from ckptkit.ops.prune import discard
from ckptkit.ops.read import scan, verify
from tests.support.claiming import claiming
from tests.support.typed import FillTo, RunOf, SmallDisk

MiB = 1 << 20
SCORES = (3.0, 1.0, 2.0, 4.0)  # of the trials, the lower the better: the second is the best


def searched(
    run: str,
    score: Callable[..., float | tuple[float, float]] = lambda number: SCORES[number],
    search: dict[str, object] | None = None,
    of: dict[str, int] | None = None,
    begins: Callable[[Any], None] | None = None,
    **asked: Any,
) -> tuple[Any, Any, list[Any]]:
    """Search through four trials of three saves each; their seeds do not matter, the scores are given.

    search: further arguments of the Trainer's search. of: those of the Trainer. begins: called as each trial begins.
    """
    import tiny

    trainer = tiny.trainer(run, **{**dict[str, Any](max_steps=30, eval_strategy="steps", eval_steps=30), **(of or {})})
    trainer.model_init = lambda trial=None: tiny.model()
    guard = ckptkit.guard(trainer, 1, **asked)
    trials: list[Any] = []

    def objective(metrics: Any) -> float | tuple[float, float]:
        return score(trials[-1])

    def space(trial: Any) -> dict[str, Any]:
        trials.append(trial.number)
        if begins:
            begins(trial)
        return {"seed": trial.suggest_int("seed", 1, 9)}

    how = {"direction": "minimize", "n_trials": len(SCORES), "backend": "optuna", **(search or {})}
    return guard, trainer.hyperparameter_search(space, objective, **how), trials


def left(run: str) -> dict[str, list[int]]:
    """{trial's directory: its steps}"""
    return {
        name: [c.step for c in scan(os.path.join(run, name)).checkpoints]
        for name in sorted(os.listdir(run))
        if os.listdir(os.path.join(run, name))
    }


@pytest.fixture(autouse=True)
def quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_each_trial_keeps_its_own_and_that_is_said(tmp_path: Path, told: list[str]) -> None:
    run = str(tmp_path / "run")
    guard, best, _ = searched(run)
    assert left(run) == {f"run-{number}": [30] for number in range(4)}
    assert (guard.skipped, best.run_id) == (0, "1")
    (line,) = [line for line in told if "of each trial" in line]
    assert line.endswith("at most 2 checkpoints of each trial, for every trial; to keep only the best trial's: "
                         "keep_trials='best'")  # fmt: skip


def test_search_ends_though_the_disk_fills_and_each_trial_keeps_its_floor(disk: SmallDisk, told: list[str]) -> None:
    """Room for three checkpoints: the first trials have theirs, the later ones can't be saved, and it is told."""
    run = os.path.join(disk(int(3.2 * MiB)), "run")
    guard, best, trials = searched(run)
    assert (trials, best.run_id) == ([0, 1, 2, 3], "1")
    assert guard.skipped > 0 and any("is NOT saved, training goes on" in line for line in told)
    assert left(run)["run-0"] == [30] and left(run)["run-1"] == [30], "a later trial takes nothing of an earlier one's"


def test_only_the_best_trial_s_stay_where_asked_for_and_each_deletion_is_told(disk: SmallDisk, told: list[str]) -> None:
    run = os.path.join(disk(int(3.2 * MiB)), "run")
    guard, best, trials = searched(run, keep_trials="best")
    assert (trials, best.run_id, guard.skipped) == ([0, 1, 2, 3], "1", 0)
    assert left(run) == {"run-1": [30]}
    assert all(j.verdict.resumable for j in verify(os.path.join(run, "run-1"), level="full"))
    for number in (0, 2, 3):
        assert sum(f"run-{number}/checkpoint-30 deleted: " in line for line in told) == 1


def test_models_alone_are_deleted_too_while_the_best_trial_has_one(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    searched(run, of=dict(save_only_model=True), search=dict(n_trials=3), keep_trials="best")
    assert left(run) == {"run-1": [30]}


def test_trials_that_share_a_directory_are_not_told_apart_by_it(tmp_path: Path) -> None:
    """hp_name is a person's: one that names all trials alike has them all in one run, the best one too."""
    run = str(tmp_path / "run")
    searched(run, search=dict(n_trials=3, hp_name=lambda trial: "all"), keep_trials="best")
    assert left(run) == {"all": [30]}
    assert all(j.verdict.resumable for j in verify(os.path.join(run, "all"), level="full"))


@pytest.mark.slow
def test_a_trial_that_failed_is_not_the_best_and_its_checkpoints_go(tmp_path: Path) -> None:
    def score(number: Any) -> float:
        if number == 1:
            raise ArithmeticError("the loss is NaN")
        return SCORES[number]

    run = str(tmp_path / "run")
    _, best, trials = searched(run, score, dict(catch=(ArithmeticError,)), dict(save_steps=10), keep_trials="best")
    assert (trials, best.run_id, left(run)) == ([0, 1, 2, 3], "2", {"run-2": [30]})


def test_all_stay_where_there_are_two_goals_and_it_is_said_once(tmp_path: Path, told: list[str]) -> None:
    run = str(tmp_path / "run")
    goals = dict(n_trials=2, direction=["minimize", "maximize"])
    searched(run, lambda number: (SCORES[number], SCORES[number]), goals, keep_trials="best")
    assert left(run) == {f"run-{number}": [30] for number in range(2)}
    assert len([line for line in told if "2 goals" in line]) == 1


@pytest.mark.parametrize("how", ["held open by python", "is pinned"])
def test_what_a_process_has_open_or_a_person_pinned_stays_and_is_told_once(
    tmp_path: Path, told: list[str], how: str
) -> None:
    run, held = str(tmp_path / "run"), []

    def begins(trial: Any) -> None:
        if trial.number == 1:  # the first one is not the best any more once this one has ended
            path = f"{run}/run-0/checkpoint-30"
            held.append(pin(path) if how == "is pinned" else open(f"{path}/optimizer.pt", "rb"))  # noqa: SIM115

    searched(run, begins=begins, search=dict(n_trials=3), keep_trials="best")
    assert left(run) == {"run-0": [30], "run-1": [30]}
    assert len([line for line in told if "run-0/checkpoint-30" in line and how in line]) == 1


def test_where_the_best_trial_has_no_checkpoint_each_other_one_keeps_its_last(
    disk: SmallDisk, fill: FillTo, told: list[str]
) -> None:
    mount = disk(16 * MiB)
    run = os.path.join(mount, "run")

    def begins(trial: Any) -> None:
        if trial.number == 1:
            fill(mount, 0)
        if trial.number == 2:
            os.unlink(os.path.join(mount, "ballast"))

    guard, best, _ = searched(run, begins=begins, keep_trials="best")
    assert (best.run_id, guard.skipped) == ("1", 3)
    assert left(run) == {f"run-{number}": [30] for number in (0, 2, 3)}
    assert len([line for line in told if "run-0/checkpoint-30 stays" in line]) == 1


# --- the floor --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["itself", "not there", "empty", "torn", "weights alone"])
def test_the_only_intact_one_of_a_run_goes_only_while_the_other_run_holds_one_as_good(
    run_of: RunOf, tmp_path: Path, other: str
) -> None:
    run = str(run_of({100: "intact"}))
    instead = os.path.join(run, "..", "run") if other == "itself" else str(tmp_path / "other")
    if other == "empty":
        os.mkdir(instead)
    if other in ("torn", "weights alone"):
        run_of({5: "torn" if other == "torn" else "intact"}, at=instead)
    if other == "weights alone":
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            os.unlink(os.path.join(instead, "checkpoint-5", name))
    with pytest.raises(ckptkit.NoIntactCheckpoint):
        discard(f"{run}/checkpoint-100", instead=instead)
    assert os.listdir(run) == ["checkpoint-100"]
    discard(f"{run}/checkpoint-100", instead=str(run_of({7: "intact"}, at=tmp_path / "better")))
    assert os.listdir(run) == []


def test_it_stays_while_another_training_has_claimed_its_run(run_of: RunOf, tmp_path: Path) -> None:
    run, better = str(run_of({100: "intact"})), str(run_of({7: "intact"}, at=tmp_path / "better"))
    with claiming(run), pytest.raises(ckptkit.LockHeld, match="training here"):
        discard(f"{run}/checkpoint-100", instead=better)
    assert os.listdir(run) == ["checkpoint-100"]


@pytest.mark.parametrize("value", ["none", None, 1, True])
def test_what_can_not_be_meant_is_refused(tmp_path: Path, value: str | int | None) -> None:
    import tiny

    with pytest.raises(ckptkit.UsageError, match="^keep_trials="):
        ckptkit.guard(tiny.trainer(tmp_path), keep_trials=value)  # type: ignore[arg-type]
