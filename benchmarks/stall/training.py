"""One training in a process of its own: a real Trainer, guarded or alone, and for how long each save held it up.

training.py FOLDER WHAT   WHAT is a Training as JSON; FOLDER/run is trained in, FOLDER/report.json is what came of it
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

KEEP = 2
STEPS_PER_SAVE = 2  # one in which what followed the last save ends, one that saves
COUNTED_FROM = 2  # the third save on: a deletion takes part in each


class Training(NamedTuple):
    """guarded: or alone, with save_total_limit. megabytes: of a checkpoint. apart: seconds that a step sleeps.

    settle: before each save wait until all that the last one left is done and on disk, as it is where saves are far
    apart; else a save comes every `apart` seconds, whatever is under way.
    """

    guarded: bool
    saves: int
    megabytes: float
    apart: float = 0.0
    settle: bool = True


def main(folder: str, what: str) -> None:
    """Train, and write the report: `saves`, each with the seconds of it all and of the Trainer's part; `seconds`."""
    import torch

    torch.set_num_threads(1)
    training = Training(**json.loads(what))
    trainer, saves = timed(os.path.join(folder, "run"), training)
    began = time.monotonic()
    trainer.train()
    report = {"saves": saves, "seconds": time.monotonic() - began}
    with open(os.path.join(folder, "report.json"), "w") as file:
        json.dump(report, file)


def timed(run: str, training: Training) -> tuple[Any, list[dict[str, float]]]:
    """The Trainer, and the list that its saves will fill.

    Two clocks: around the outermost `_save_checkpoint`, as the Trainer calls it, and around the Trainer's own, which
    the guard calls. The difference is the guard's.
    """
    from transformers import Trainer

    saves: list[dict[str, float]] = []

    class Timed(Trainer):  # type: ignore[misc]
        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            with_clock(super()._save_checkpoint, saves[-1], "write")(*args, **kwargs)
            saves[-1]["rotation"] = time.time() - written_at(run, self.state.global_step)

    trainer = Timed(model=model(training.megabytes), args=arguments(run, training), train_dataset=rows())
    wait = guarded(trainer).wait if training.guarded else lambda: None
    outermost = trainer._save_checkpoint

    def save(*args: Any, **kwargs: Any) -> None:
        saves.append({})
        with_clock(outermost, saves[-1], "stall")(*args, **kwargs)

    trainer._save_checkpoint = save
    trainer.add_callback(between_saves(training, wait))
    return trainer, saves


def written_at(run: str, step: int) -> float:
    """When the Trainer wrote the last file of that checkpoint: what it does after that is its rotation."""
    return os.stat(os.path.join(run, f"checkpoint-{step}", "trainer_state.json")).st_mtime


def with_clock(call: Callable[..., None], into: dict[str, float], name: str) -> Callable[..., None]:
    """The call, which writes when it began and how long it took."""

    def clocked(*args: Any, **kwargs: Any) -> None:
        into[f"{name}_began"] = began = time.monotonic()
        call(*args, **kwargs)
        into[name] = time.monotonic() - began

    return clocked


def between_saves(training: Training, wait: Callable[[], None]) -> Any:
    """What goes by between two saves, the same for both: time, or the end of what the last one left."""
    from transformers import TrainerCallback

    class Between(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            time.sleep(training.apart)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if training.settle and state.global_step % STEPS_PER_SAVE:
                wait()
                write_out(args.output_dir)

    return Between()


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

    every = STEPS_PER_SAVE if training.settle else 1
    return TrainingArguments(
        run, max_steps=every * training.saves, save_steps=every, save_total_limit=KEEP, logging_steps=1000,
        per_device_train_batch_size=1, report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip


def model(megabytes: float) -> Any:
    """A Llama of which AdamW makes a checkpoint of that size: a third is weights, in fp32."""
    import torch

    from benchmarks.verify.making import llama

    torch.manual_seed(0)
    return llama(megabytes * 1e6 / 3 / torch.float32.itemsize)


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
