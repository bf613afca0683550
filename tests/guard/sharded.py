"""The recipes of FSDP and of DeepSpeed with more to save, guarded or plain, some of them broken off in a save.

A case is `RECIPE-CASE RANKS [WORD...]`, of which a word is one of
    guarded       ckptkit.guard(trainer, keep_last=2)
    kill=R@S:P    rank R gets a SIGKILL in the save of step S: P is `early`, when what each rank writes begins, or
                  `late`, when the others have written all of theirs
    refuse=R@SxN  rank R can't write more than a few bytes of what continues training, in the first N attempts at step S
tests/layouts/live/serve.py runs them, and imports what they need (torch, transformers, accelerate) once.
"""

import os
import resource
import signal
import time
import types
from collections.abc import Callable
from typing import Any

from tests.layouts.recipes import tiny

STEPS, LAST_SAVE = 8, 6  # a save every second step
MORE = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 128}
FREE = resource.getrlimit(resource.RLIMIT_FSIZE)
A_FEW = 2000  # bytes
OTHERS_SECONDS = 1.0  # for the other ranks, until they have written theirs


class Counts:
    """How many ranks a case has."""

    def __getitem__(self, case: str) -> int:
        return int(case.split()[1])


CASES = Counts()


def train(case: str, resume: str | None) -> dict[str, Any]:
    """One rank's training."""
    name, _, *words = case.split()
    tiny.STEPS, tiny.SHAPE = STEPS, tiny.SHAPE | MORE
    results = []

    def trained(trainer: Any, resume: str | None) -> dict[str, Any]:
        assert trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled, "this is neither FSDP nor DeepSpeed"
        for word in words:
            _disturb(trainer, *word.split("="))
        results.append(original(trainer, resume))
        return results[0]

    original, tiny.train = tiny.train, trained
    try:
        _recipe(name).train(name, resume)
    except AssertionError:  # the recipe's own last word, which is that it has two ranks
        if not results:
            raise
    first: dict[str, Any] = results[0]
    return first


def _recipe(name: str) -> types.ModuleType:
    if name.startswith("fsdp"):
        from tests.layouts.recipes import fsdp as recipe
    else:
        from tests.layouts.recipes import deepspeed as recipe  # type: ignore[no-redef]
    return recipe


def _disturb(trainer: Any, word: Any, how: str = "") -> None:
    if word == "guarded":
        import ckptkit

        ckptkit.guard(trainer, keep_last=2)
        return
    rank, at = how.split("@")
    if rank != os.environ["RANK"]:
        return
    if word == "kill":
        step, phase = at.split(":")
        _before(trainer, {"early": "_save_optimizer_and_scheduler", "late": "_save_rng_state"}[phase], int(step), _die)
    else:
        step, times = at.split("x")
        _refused(trainer, int(step), int(times))


def _before(trainer: Any, name: str, step: int, action: Callable[[], None]) -> None:
    original = getattr(trainer, name)

    def called(*args: Any, **more: Any) -> Any:
        if trainer.state.global_step == step:
            action()
        return original(*args, **more)

    setattr(trainer, name, called)


def _die() -> None:
    time.sleep(OTHERS_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _refused(trainer: Any, step: int, times: int) -> None:
    """Of sharded weights and of random states alike: with whole ones, ranks but the first write nothing else."""
    tries: list[int] = []

    def bar(name: str) -> None:
        original = getattr(trainer, name)

        def save(output_dir: Any) -> None:
            here = trainer.state.global_step == step and len(tries) < times
            resource.setrlimit(resource.RLIMIT_FSIZE, (A_FEW if here else FREE[0], FREE[1]))
            try:
                original(output_dir)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, FREE)

        setattr(trainer, name, save)

    def save_rng_state(output_dir: Any, original: Any = trainer._save_rng_state) -> None:
        original(output_dir)
        if trainer.state.global_step == step:
            tries.append(step)

    bar("_save_optimizer_and_scheduler")
    trainer._save_rng_state = save_rng_state
    bar("_save_rng_state")
