"""`trainer_state.json`, as transformers' `TrainerState.save_to_json` writes it, last of all files of a checkpoint."""

from __future__ import annotations

import os
from typing import Any

from ckptkit.formats import bounded
from ckptkit.model.checkpoint import TrainerState

LARGEST_PARTS = 1_000_000  # about eight a log line: 125,000 lines, of plain numbers
LARGEST_NUMBER = 10**300  # of a whole number that still is one as a float


class NotAStateError(ValueError):
    """It is whole JSON, and no state of the Trainer's: another program's, or a person's."""


class BeyondStepError(NotAStateError):
    """The log goes further than the state: two saves were mixed."""


def parse(raw: bytes, saved_at: float) -> TrainerState:
    """Given the file's bytes and its mtime, return what later rooms ask of it.

    A log entry that is no object, or whose step is no whole number, was put there by somebody else: it is ignored.
    Raises NotAStateError if it is not a state (BeyondStepError: its log says so), ValueError if it is no JSON,
    bounded.TooLargeError.
    """
    content = bounded.loads(raw, largest_parts=LARGEST_PARTS)
    try:
        step = int(content["global_step"])
        lines = _lines(content.get("log_history") or [])
        best = content.get("best_model_checkpoint")
        _require_no_later_line(step, lines)
        return TrainerState(
            step=step,
            saved_at=saved_at,
            metrics=_metrics_at(step, lines),
            history=_history(lines),
            best_checkpoint=os.path.basename(os.path.normpath(best)) if best else None,
            max_steps=max(0, last) if type(last := content.get("max_steps")) is int else 0,
        )
    except BeyondStepError:
        raise
    except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise NotAStateError(f"no trainer state: {error!r}") from None


def _lines(log: Any) -> list[dict[str, Any]]:
    if not isinstance(log, list):
        raise TypeError("its log_history is not a list")
    return [entry for entry in log if isinstance(entry, dict) and type(entry.get("step")) is int]


def _require_no_later_line(step: int, lines: list[dict[str, Any]]) -> None:
    last = max([line["step"] for line in lines], default=0)
    if last > step:
        raise BeyondStepError(f"is of step {step}, its log goes to step {last}")


def _history(lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """{step: what was logged at it}, in one pass without a copy: a log has thousands of lines in each checkpoint.

    What was logged twice at one step with two values says nothing: a later checkpoint may hold only one of them.
    """
    history: dict[int, dict[str, Any]] = {}
    for line in lines:
        known = history.setdefault(line["step"], line)
        if known is not line:
            for key, value in line.items():
                first = known.setdefault(key, value)
                if first is not value and not (_is_number(first) and first == value):
                    known[key] = None
    return history


def _metrics_at(step: int, lines: list[dict[str, Any]]) -> dict[str, float]:
    """What was measured at the step itself: an older measurement belongs to other weights."""
    metrics: dict[str, float] = {}
    for line in [line for line in lines if line["step"] == step]:
        metrics.update((key, float(value)) for key, value in line.items() if _is_number(value))
    return metrics


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < LARGEST_NUMBER)
