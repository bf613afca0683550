"""Run as a script: a real Trainer under the guard that saves after each step, until the file STOP is there.

python -m tests.faults.saving_fast RUN STOP
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guard"))  # tiny.py

import tiny

import ckptkit


class Stop(tiny.TrainerCallback):
    """Ends training as soon as somebody asks for it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = control.should_training_stop or os.path.exists(self.file)


def main(run: str, stop: str) -> None:
    trainer = tiny.trainer(run, max_steps=1_000_000, save_steps=1, logging_steps=1000, callbacks=[Stop(stop)])
    guard = ckptkit.guard(trainer, 2)
    try:
        trainer.train()
    except ckptkit.CkptkitError as refused:
        sys.exit(f"{type(refused).__name__} {refused.exit_code}: {refused}")
    stalls = tiny.scalars(trainer, "ckpt/stall_seconds")
    print("saves", len(stalls), "skipped", guard.skipped, "longest stall", max(stalls), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
