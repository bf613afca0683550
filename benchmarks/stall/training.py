"""One training in a process of its own: a real Trainer, guarded or alone, and for how long each save held it up.

training.py FOLDER WHAT   WHAT is a Training as JSON; FOLDER/run is trained in, FOLDER/report.json is what came of it
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

KINDS = ("alone", "guarded")
READY = "ready\n"  # on stdout; then one line on stdin lets it go on
KEEP = 2
STEPS_PER_SAVE = 2  # one after which what the last save left is done, one that saves


class Training(NamedTuple):
    """kind: alone, with save_total_limit, or guarded. gb: of a checkpoint.

    apart: seconds from one save to the next, whatever is under way then. None: the next comes when it is told to, with
    all done and on disk that the last one left, as it is where saves are far apart.
    """

    kind: str
    saves: int
    gb: float
    apart: float | None = None


def main(folder: str, what: str) -> None:
    """Train, and write the report: `saves`, each with its clocks, and the `seconds` of it all."""
    import torch

    torch.set_num_threads(1)
    training = Training(**json.loads(what))
    trainer, saves = clocked_trainer(os.path.join(folder, "run"), training)
    began = time.monotonic()
    trainer.train()
    report = {"saves": saves, "seconds": time.monotonic() - began}
    with open(os.path.join(folder, "report.json"), "w") as file:
        json.dump(report, file)


def clocked_trainer(run: str, training: Training) -> tuple[Any, list[dict[str, float]]]:
    """The Trainer, and the list that its saves will fill.

    `stall` is from the Trainer's call of the outermost `_save_checkpoint` to its return, `write` the Trainer's own one
    within, which the guard calls, `rotation` the end of that: what it does once its last file is written.
    """
    from transformers import Trainer

    saves: list[dict[str, float]] = []

    class Clocked(Trainer):  # type: ignore[misc]
        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            with_clock(super()._save_checkpoint, saves[-1], "write")(*args, **kwargs)
            last_file = os.path.join(run, f"checkpoint-{self.state.global_step}", "trainer_state.json")
            saves[-1]["rotation"] = time.time() - os.stat(last_file).st_mtime

    trainer = Clocked(model=model(training.gb), args=arguments(run, training), train_dataset=rows())
    wait = guarded(trainer).wait if training.kind == "guarded" else lambda: None
    outermost = trainer._save_checkpoint

    def save(*args: Any, **kwargs: Any) -> None:
        saves.append({})
        with_clock(outermost, saves[-1], "stall")(*args, **kwargs)

    trainer._save_checkpoint = save  # type: ignore[method-assign]
    trainer.add_callback(every(training.apart) if training.apart else when_told(training.saves, wait))
    return trainer, saves


def with_clock(call: Callable[..., None], into: dict[str, float], name: str) -> Callable[..., None]:
    """The call, which writes when it began and how long it took."""

    def clocked(*args: Any, **kwargs: Any) -> None:
        into[f"{name}_began"] = began = time.monotonic()
        call(*args, **kwargs)
        into[name] = time.monotonic() - began

    return clocked


def every(seconds: float) -> Any:
    """A callback: each step takes so long."""
    from transformers import TrainerCallback

    class Every(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            time.sleep(seconds)

    return Every()


def when_told(saves: int, wait: Callable[[], None]) -> Any:
    """A callback: the step that saves begins when it is told to; training ends after so many saves.

    wait: for what the guard does beside training.
    """
    from transformers import TrainerCallback

    class WhenTold(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % STEPS_PER_SAVE == 0:
                return
            wait()
            write_out(args.output_dir)
            control.should_training_stop = state.global_step > STEPS_PER_SAVE * saves
            sys.stdout.write(READY)
            sys.stdout.flush()
            sys.stdin.readline()

    return WhenTold()


def write_out(run: str) -> None:
    """Have all of the run on disk. Not by sync(2), which would wait for what other programs write, too."""
    for parent, _, names in os.walk(run):
        for name in (*names, "."):
            fd = os.open(os.path.join(parent, name), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def arguments(run: str, training: Training) -> Any:
    """Quick steps, and a save every so many."""
    from transformers import TrainingArguments

    each = 1 if training.apart else STEPS_PER_SAVE
    more = 0 if training.apart else STEPS_PER_SAVE  # ended before that, without a save
    return TrainingArguments(
        run, max_steps=each * training.saves + more, save_steps=each, save_total_limit=KEEP, logging_steps=1000,
        per_device_train_batch_size=1, report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip


def model(gb: float) -> Any:
    """A Llama of which AdamW makes a checkpoint of that size: a third is weights, in fp32."""
    import torch

    from benchmarks.verify.making import llama

    torch.manual_seed(0)
    return llama(gb * 1e9 / 3 / torch.float32.itemsize)


def rows() -> list[dict[str, Any]]:
    """Short ones, so that a step takes no time."""
    import torch

    return [{"input_ids": row, "labels": row} for row in torch.arange(64).view(16, 4)]


def guarded(trainer: Any) -> Any:
    """The one line."""
    import ckptkit

    return ckptkit.guard(trainer, keep_last=KEEP)


if __name__ == "__main__":
    main(*sys.argv[1:])
