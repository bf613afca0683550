"""`trainer_state.json`: what the real Trainer writes is understood, and what it can't have written is a ValueError."""

import json
from pathlib import Path
from typing import Any

import pytest

from ckptkit.formats.trainer_state import BeyondStepError, parse


def state(**content: Any) -> bytes:
    return json.dumps({"global_step": 5, "log_history": [], **content}).encode()


def test_real_state_is_understood(real: str) -> None:
    raw = Path(real, "full/checkpoint-100/trainer_state.json").read_bytes()
    found = parse(raw, saved_at=7.0)
    assert (found.step, found.saved_at, found.best_checkpoint) == (100, 7.0, None)
    assert list(found.history) == list(range(10, 101, 10))
    assert found.metrics["loss"] == json.loads(raw)["log_history"][-1]["loss"]


def test_real_state_cut_anywhere_is_a_value_error(real: str) -> None:
    raw = Path(real, "lora/checkpoint-100/trainer_state.json").read_bytes().rstrip()
    for end in range(len(raw)):
        with pytest.raises(ValueError):
            parse(raw[:end], 0.0)


def test_metric_belongs_to_the_step_that_it_was_measured_at() -> None:
    log = [{"step": 4, "eval_loss": 1.0, "loss": 8.0}, {"step": 5, "loss": 2.0}, {"step": 5, "eval_accuracy": 0.5}]
    found = parse(state(log_history=log), 0.0)
    assert {k: v for k, v in found.metrics.items() if k != "step"} == {"loss": 2.0, "eval_accuracy": 0.5}


def test_log_that_goes_beyond_the_step_is_of_another_save() -> None:
    assert parse(state(log_history=[{"step": 5, "loss": 2.0}]), 0.0).step == 5
    with pytest.raises(BeyondStepError, match="is of step 5, its log goes to step 6"):
        parse(state(log_history=[{"step": 6, "loss": 2.0}, {"step": 5, "loss": 2.0}]), 0.0)


def test_same_losses_are_one_history_and_others_another() -> None:
    logs = [[{"step": 1, "loss": a}, {"step": 2, "loss": 3.0}] for a in (1.0, 1.0, 1.5)]
    first, same, other = (parse(state(log_history=log), 0.0).history for log in logs)
    assert first == same != other


IGNORED: list[object] = [
    None,
    3,
    "x",
    [],
    {"loss": 1.0},
    {"custom_eval": 1.0},
    {"step": None, "loss": 1.0},
    {"step": "5"},
]


@pytest.mark.parametrize("entry", [*IGNORED, {"step": 2.5}, {"step": True}, {"step": float("nan")}, {"step": [99]}])
def test_log_entry_of_somebody_else_is_ignored_and_never_a_fault(entry: object) -> None:
    line = {"step": 5, "loss": 2.0}
    assert parse(state(log_history=[entry, line, entry]), 0.0) == parse(state(log_history=[line]), 0.0)


def test_lines_of_one_step_are_one_and_what_they_disagree_on_says_nothing() -> None:
    log = [
        {"step": 5, "loss": 2.0, "epoch": 0.1},
        {"step": 5, "eval_loss": 3.0, "epoch": 0.1},
        {"step": 5, "loss": 9.0},
    ]
    found = parse(state(log_history=log), 0.0).history[5]
    assert found == {"step": 5, "loss": None, "epoch": 0.1, "eval_loss": 3.0}


def test_number_that_no_float_holds_is_no_metric_and_no_fault() -> None:
    assert parse(state(log_history=[{"step": 5, "tokens": 10**400, "loss": 1}]), 0.0).metrics == {"step": 5, "loss": 1}


@pytest.mark.parametrize("path", ["/a/run/checkpoint-3", "run/checkpoint-3/", "checkpoint-3"])
def test_best_checkpoint_is_its_name_wherever_the_run_was_then(path: str) -> None:
    assert parse(state(best_model_checkpoint=path), 0.0).best_checkpoint == "checkpoint-3"


def test_losses_that_are_no_number_are_understood() -> None:
    found = parse(b'{"global_step": 5, "log_history": [{"step": 5, "loss": NaN, "grad_norm": Infinity}]}', 0.0)
    assert found.metrics["loss"] != found.metrics["loss"] and found.metrics["grad_norm"] == float("inf")


STRANGE = {
    "nothing": b"",
    "zeros": b"\0" * 4096,
    "a_list": b"[]",
    "a_number": b"5",
    "null": b"null",
    "in_no_encoding": b'{"global_step": 5, "x": "\xff"}',
    "nested_too_deep": b"[" * 200_000,
    "no_step": b'{"log_history": []}',
    "step_that_is_null": b'{"global_step": null}',
    "step_that_is_text": b'{"global_step": "five"}',
    "step_that_is_no_number": b'{"global_step": NaN}',
    "log_that_is_a_number": b'{"global_step": 5, "log_history": 5}',
    "best_that_is_a_number": b'{"global_step": 5, "best_model_checkpoint": 5}',
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_the_trainer_cant_have_written_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        parse(STRANGE[name], 0.0)
