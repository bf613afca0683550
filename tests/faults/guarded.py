"""One round of the guard on a volume that fills: a real Trainer on a tiny Llama, a real neighbour who takes it all.

Run as a script for another user: python -m tests.faults.guarded VOLUME SEED... prints one JSON list of faults a round.
"""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tests.faults import volumes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guard"))  # tiny.py, watch.py

STEPS, EVERY = 60, 10
# Before a save, or in the middle of it: the methods of transformers.Trainer that write its parts.
MOMENTS = ("before", "_save", "_save_optimizer_and_scheduler", "_save_rng_state")


def guarded_round(volume: str, rng: random.Random, inodes: bool) -> Iterator[str]:
    """Train to the end with the volume full from some step on, perhaps to another; yields what was broken."""
    import tiny
    from watch import Watch

    import ckptkit

    what = rng.choice(("bytes", "inodes") if inodes else ("bytes",))
    keep, moment = rng.choice((1, 2, 3)), rng.choice(MOMENTS)
    full_at = rng.randrange(5, STEPS - 5) if moment == "before" else rng.randrange(EVERY, STEPS, EVERY)
    empty_at = rng.choice((None, rng.randrange(full_at + 1, STEPS)))
    told = f"keep_last={keep}, no {what} from {full_at} ({moment}) to {empty_at}"
    run = os.path.join(volume, "run")
    os.mkdir(run)
    callbacks = [tiny.At(empty_at or 0, lambda: volumes.release(volume))]
    if moment == "before":
        callbacks.append(tiny.At(full_at, lambda: volumes.fill(volume, what, rng)))
    trainer = tiny.trainer(run, max_steps=STEPS, save_steps=EVERY, callbacks=callbacks)
    if moment != "before":
        _crowd(trainer, moment, full_at, lambda: volumes.fill(volume, what, rng))
    guard, seen = ckptkit.guard(trainer, keep), Watch(run)
    trainer.train()
    peak, before = seen.peak, [name for name in seen.begun if int(name.split("-")[1]) < full_at]
    seen.close()
    if trainer.state.global_step != STEPS or peak > max(2, keep):
        yield f"ended at {trainer.state.global_step} with a peak of {peak}; {told}"
    yield from (f"{fault}; {told}, skipped {guard.skipped}" for fault in _left(run, before, empty_at))
    volumes.release(volume)
    volumes.empty(volume)


def _crowd(trainer: Any, part: str, step: int, fill: Callable[[], object]) -> None:
    original = getattr(trainer, part)

    def crowded(*args: object, **kwargs: object) -> None:
        if trainer.state.global_step == step:
            fill()
        original(*args, **kwargs)

    setattr(trainer, part, crowded)


def _left(run: str, before: list[str], empty_at: int | None) -> Iterator[str]:
    """What a person finds afterwards."""
    from ckptkit.ops.read import judge, scan

    found = judge(scan(run), level="full") if os.listdir(run) else ()
    if bad := [j for j in found if not j.verdict.resumable or j.verdict.findings]:
        yield f"not whole: {bad}"
    if len(os.listdir(run)) != len(found):
        yield f"remains: {os.listdir(run)}"
    last = max((j.checkpoint.step for j in found), default=0)
    if before and last < int(before[-1].split("-")[1]):
        yield f"{before[-1]} was there before, the newest is {last}"
    if empty_at and last != STEPS:
        yield f"there was room again, but the newest is {last}"


def main(volume: str, *seeds: str) -> None:
    inodes = os.statvfs(volume).f_files < 1000
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # the Trainer prints its losses
        for seed in seeds:
            print(json.dumps(list(guarded_round(volume, random.Random(seed), inodes))), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
