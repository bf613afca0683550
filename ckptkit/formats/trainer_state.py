"""`trainer_state.json`, as transformers' `TrainerState.save_to_json` writes it, last of all files of a checkpoint."""

from __future__ import annotations

import os

from ckptkit.formats import bounded
from ckptkit.model import TrainerState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST_PARTS = 1_000_000  # about eight a log line: 125,000 lines, of plain numbers


class BeyondStepError(ValueError):
    """The log goes further than the state: two saves were mixed."""


def parse(raw: bytes, saved_at: float) -> TrainerState:
    """Given the file's bytes and its mtime, return what later rooms ask of it.

    Raises ValueError if it is not one (BeyondStepError: its log says so), bounded.TooLargeError.
    """
    try:
        content = bounded.loads(raw, largest_parts=LARGEST_PARTS)
        log = content.get("log_history") or []
        best = content.get("best_model_checkpoint")
        _require_no_later_line(int(content["global_step"]), log)
        return TrainerState(
            step=int(content["global_step"]),
            saved_at=saved_at,
            history=_history(log),
            metrics=_metrics_at(int(content["global_step"]), log),
            best_checkpoint=os.path.basename(os.path.normpath(best)) if best else None,
            max_steps=max(0, last) if type(last := content.get("max_steps")) is int else 0,
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no trainer state: {error!r}") from None


def _require_no_later_line(step: int, log: list[dict[str, Any]]) -> None:
    last = max([int(entry["step"]) for entry in log], default=0)
    if last > step:
        raise BeyondStepError(f"is of step {step}, its log goes to step {last}")


def _history(log: list[dict[str, Any]]) -> tuple[tuple[int, int], ...]:
    """(step, hash of the losses): two runs that share a directory differ here, a resumed run does not.

    One expression, as a log has thousands of lines in each checkpoint. repr, since no NaN equals another.
    """
    return tuple(
        [
            (int(line["step"]), hash((repr(line.get("loss")), repr(line.get("eval_loss")))))
            for line in log
            if "loss" in line or "eval_loss" in line
        ]
    )


def _metrics_at(step: int, log: list[dict[str, Any]]) -> dict[str, float]:
    """What was measured at the step itself: an older measurement belongs to other weights."""
    metrics: dict[str, float] = {}
    for entry in [entry for entry in log if entry.get("step") == step]:
        metrics.update((key, float(value)) for key, value in entry.items() if isinstance(value, (int, float)))
    return metrics
