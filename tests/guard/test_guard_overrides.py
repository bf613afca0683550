"""What a person overrides in a Trainer, patches or calls from beside, works under the guard as it does alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.model.checkpoint import SAVING
from ckptkit.ops.read import judge, scan
from tests.support.typed import Before, Names

SOON = 10  # seconds: what is waited for has come long before, or never comes
LAST_TWO = ["checkpoint-6", "checkpoint-8"]


def made(run: Path, override: type[Any] | None = None, guarded: bool = True, **settings: Any) -> Any:
    """A Trainer that saves every 2 of 8 steps and keeps 2. override: methods of a person's, without a base class."""
    import tiny

    quick = dict(max_steps=8, save_steps=2, logging_steps=2, save_total_limit=2)
    kind = type("Persons", (override, tiny.Trainer), {}) if override else tiny.Trainer
    trainer = tiny.trainer(run, kind=kind, **{**quick, **settings})
    if guarded:
        ckptkit.guard(trainer)
    return trainer


def trained(run: Path, override: type[Any] | None = None, guarded: bool = True, **settings: Any) -> Any:
    trainer = made(run, override, guarded, **settings)
    trainer.train()
    return trainer


def folder(trainer: Any) -> str:
    """Where the save of this step goes."""
    return f"{trainer.args.output_dir}/checkpoint-{trainer.state.global_step}"


def all_resumable(run: Path) -> bool:
    return all(j.verdict.resumable for j in judge(scan(str(run)), level="full", quiet=0))


# --- _save_checkpoint -------------------------------------------------------------------------------------------------


class MakesTheDirectory(Before):
    """One that is there already is an error."""

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        os.makedirs(folder(self))
        super()._save_checkpoint(*args, **kwargs)


class WritesBeside(Before):
    """As transformers 4.36 did: one that is there already can't be renamed to."""

    def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> None:
        super().save_model(f"{output_dir}.tmp", _internal_call)
        os.rename(f"{output_dir}.tmp", output_dir)


class SavesWhatIsNotThere(Before):
    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if not os.path.exists(folder(self)):
            super()._save_checkpoint(*args, **kwargs)


class SavesEverySecondTime(Before):
    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step % 4 == 0:
            super()._save_checkpoint(*args, **kwargs)


@pytest.mark.parametrize("override", [MakesTheDirectory, WritesBeside, SavesWhatIsNotThere, SavesEverySecondTime])
def test_a_run_ends_with_what_it_ends_with_alone(tmp_path: Path, names: Names, told: list[str], override: Any) -> None:
    trained(tmp_path / "alone", override, guarded=False)
    guard = trained(tmp_path / "guarded", override)._ckptkit_guard
    assert names(tmp_path / "guarded") == names(tmp_path / "alone")
    assert guard.skipped == 0 and not any("NOT saved" in line for line in told)
    assert all_resumable(tmp_path / "guarded")


def test_a_save_that_returns_early_at_the_end_leaves_nothing_that_a_plain_resume_takes(
    tmp_path: Path, names: Names
) -> None:
    trained(tmp_path, SavesEverySecondTime, max_steps=10)
    assert names(tmp_path)[-1] == "checkpoint-8" and all_resumable(tmp_path)
    resumed = made(tmp_path, guarded=False, max_steps=12)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12


class Renames(Before):
    """A name of its own for each save, once it is whole."""

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        self.saved = [*getattr(self, "saved", []), self.state.global_step]
        os.rename(folder(self), f"{self.args.output_dir}/epoch-{self.state.global_step}")


def test_a_save_that_is_renamed_is_done_once_told_as_saved_and_left_without_a_mark(
    tmp_path: Path, names: Names, told: list[str]
) -> None:
    alone = trained(tmp_path / "alone", Renames, guarded=False)
    trainer = trained(tmp_path / "guarded", Renames)
    assert names(tmp_path / "guarded") == names(tmp_path / "alone")
    assert trainer.saved == alone.saved == [2, 4, 6, 8]
    assert trainer._ckptkit_guard.skipped == 0 and not any("NOT saved" in line for line in told)
    assert not list((tmp_path / "guarded").rglob(SAVING))


class Unreachable(OSError):
    """As the ConnectionError of requests: of the operating system's kind, without a number."""


class TellsATracker(Before):
    """Which can't be reached from some step on."""

    unreachable_from = 2

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.state.global_step >= self.unreachable_from:
            raise Unreachable("host='tracker': max retries exceeded")


@pytest.mark.parametrize("step", [2, 6])
def test_an_error_after_a_whole_save_costs_no_checkpoint_and_is_told(
    tmp_path: Path, names: Names, told: list[str], step: int
) -> None:
    trained(tmp_path, type("From", (TellsATracker,), {"unreachable_from": step}))
    assert names(tmp_path) == LAST_TWO and all_resumable(tmp_path)
    assert any("max retries exceeded" in line for line in told)


# --- where a save is done ---------------------------------------------------------------------------------------------


def bound_here(kind: str) -> Any:
    """Something that works in this thread alone."""
    if kind == "connection to SQLite":
        return partial(sqlite3.connect(":memory:").execute, "select 1")
    if kind == "handler of a signal":
        return lambda: signal.signal(signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
    variable: ContextVar[int] = ContextVar("variable")
    variable.set(1)
    return variable.get


@pytest.mark.parametrize("kind", ["connection to SQLite", "context variable", "handler of a signal"])
def test_a_save_may_use_what_is_bound_to_the_main_thread(tmp_path: Path, names: Names, kind: str) -> None:
    use = bound_here(kind)

    class Uses(Before):
        def save_model(self, *args: Any, **kwargs: Any) -> None:
            use()
            super().save_model(*args, **kwargs)

    assert trained(tmp_path, Uses).state.global_step == 8
    assert names(tmp_path) == LAST_TWO


def test_what_a_save_sets_for_its_context_holds_after_it(tmp_path: Path) -> None:
    saved = ContextVar("saved", default=0)

    class Sets(Before):
        def save_model(self, *args: Any, **kwargs: Any) -> None:
            saved.set(saved.get() + 1)
            super().save_model(*args, **kwargs)

    trained(tmp_path, Sets)
    assert saved.get() == 4


class TellsItsDevice(Before):
    def save_model(self, *args: Any, **kwargs: Any) -> None:
        import torch

        self.device = torch.get_default_device()
        super().save_model(*args, **kwargs)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "alone"])
def test_a_save_has_the_default_device_of_the_training(tmp_path: Path, guarded: bool) -> None:
    import tiny
    import torch

    device = tiny.At(2, partial(torch.set_default_device, "meta"))
    try:
        trainer = trained(tmp_path, TellsItsDevice, guarded, max_steps=2, callbacks=[device])
    finally:
        torch.set_default_device(None)
    assert trainer.device == torch.device("meta")


def test_a_torch_save_of_a_persons_gets_the_path(tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    original, written = torch.save, []

    def atomic(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        original(obj, f + ".tmp", *args, **kwargs)
        os.replace(f + ".tmp", f)
        written.append(os.path.basename(f))

    monkeypatch.setattr(torch, "save", atomic)
    trained(tmp_path, max_steps=4)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"] and all_resumable(tmp_path)
    assert torch.save is atomic and written.count("optimizer.pt") == 2


def overlapping(tmp_path: Path) -> list[bool]:
    """Two trainings: the second one's save begins within the first one's, and ends after that training.

    Returns whether the first one ended while the second one's save was under way.
    """
    begun, within, over = threading.Event(), threading.Event(), threading.Event()
    in_time = []

    class First(Before):
        def _save_rng_state(self, output_dir: Any) -> None:
            begun.set()
            within.wait(SOON)
            super()._save_rng_state(output_dir)

    class Second(Before):
        def _save_rng_state(self, output_dir: Any) -> None:
            within.set()
            in_time.append(over.wait(SOON))
            super()._save_rng_state(output_dir)

    first, second = made(tmp_path / "first", First, max_steps=2), made(tmp_path / "second", Second, max_steps=2)
    beside = threading.Thread(target=lambda: begun.wait(SOON) and second.train())
    beside.start()
    first.train()
    over.set()
    beside.join()
    assert (first.state.global_step, second.state.global_step) == (2, 2)
    return in_time


def test_trainings_whose_saves_overlap_leave_torch_tokenizers_and_transformers_as_they_were(tmp_path: Path) -> None:
    import tokenizers
    import torch
    import transformers.trainer

    def now() -> tuple[Any, Callable[..., None], Any]:
        sort = getattr(transformers.trainer, "sort_checkpoints", None)  # a function of transformers 5
        return torch.save, tokenizers.Tokenizer.save, sort

    before = now()
    overlapping(tmp_path)
    assert now() == before


def test_a_training_ends_while_another_ones_save_is_under_way(tmp_path: Path) -> None:
    assert overlapping(tmp_path) == [True]


# --- train and log ----------------------------------------------------------------------------------------------------


class TrainsWithoutArguments(Before):
    def train(self) -> Any:
        return super().train()


class TrainsByKeywords(Before):
    def train(self, **kwargs: Any) -> Any:
        return super().train(**kwargs)


@pytest.mark.parametrize("override", [TrainsWithoutArguments, TrainsByKeywords])
def test_a_train_with_fewer_arguments_trains(tmp_path: Path, names: Names, override: type[Any]) -> None:
    assert trained(tmp_path, override).state.global_step == 8
    assert names(tmp_path) == LAST_TWO


def test_a_train_by_keywords_resumes(tmp_path: Path) -> None:
    trained(tmp_path)
    resumed = made(tmp_path, TrainsByKeywords, max_steps=10)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 10


class AveragesBetweenLogs(Before):
    """As those of TRL: what it has measured is averaged into the next entry, and forgotten."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        self.batches = getattr(self, "batches", 0) + 1
        self.measured = [*getattr(self, "measured", []), self.batches]
        return super().compute_loss(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self.measured:
            logs = {**logs, "mean": sum(self.measured) / len(self.measured)}
        self.measured = []
        super().log(logs, *args, **kwargs)


def test_a_log_that_averages_since_the_last_one_says_what_it_says_alone(tmp_path: Path) -> None:
    """Saves lie between the logs here: the guard's numbers for each save are no occasion to average."""
    import tiny

    alone = trained(tmp_path / "alone", AveragesBetweenLogs, guarded=False, logging_steps=4)
    guarded = trained(tmp_path / "guarded", AveragesBetweenLogs, logging_steps=4)
    means = [
        [entry["mean"] for entry in t.state.log_history if "loss" in entry and "mean" in entry]
        for t in (alone, guarded)
    ]
    assert means[0] == means[1] and len(means[0]) == 2
    assert len(tiny.scalars(guarded, "ckpt/count")) == 4


def saves_by_hand(run: Path, guarded: bool) -> dict[int, float]:
    """Its callback saves at the end of a step that is to be logged too."""
    import tiny

    trainer = made(run, guarded=guarded, logging_steps=3)
    trainer.add_callback(tiny.At(3, lambda: trainer._save_checkpoint(trainer.model, None)))
    trainer.train()
    return tiny.losses(trainer)


def test_a_save_by_a_callback_takes_no_loss_from_the_log(tmp_path: Path) -> None:
    alone = saves_by_hand(tmp_path / "alone", guarded=False)
    assert saves_by_hand(tmp_path / "guarded", guarded=True) == alone and sorted(alone) == [3, 6]


# --- from beside ------------------------------------------------------------------------------------------------------


def test_a_handler_of_a_signal_that_saves_within_a_save_returns_at_once(tmp_path: Path, names: Names) -> None:
    returned, while_saving = threading.Event(), list[bool]()

    class Signalled(Before):
        def _save_rng_state(self, output_dir: Any) -> None:
            if self.state.global_step == 4 and not while_saving:
                os.kill(os.getpid(), signal.SIGUSR1)
                while_saving.append(returned.wait(SOON))
            super()._save_rng_state(output_dir)

    trainer = made(tmp_path, Signalled)

    def save(*_: Any) -> None:
        trainer._save_checkpoint(trainer.model, None)
        returned.set()

    before = signal.signal(signal.SIGUSR1, save)
    try:
        trainer.train()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert while_saving == [True]
    assert trainer.state.global_step == 8 and names(tmp_path) == LAST_TWO and all_resumable(tmp_path)


FORKS = """
import os, select, signal, sys
sys.path.insert(0, sys.argv[1])
import ckptkit, tiny

class Forks(tiny.TrainerCallback):
    ended = []

    def on_save(self, *args, **kwargs):
        child = os.fork()
        if not child:
            sys.exit(0)
        self.ended.append(bool(select.select([os.pidfd_open(child)], [], [], float(sys.argv[3]))[0]))
        if not self.ended[-1]:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

trainer = tiny.trainer(sys.argv[2], max_steps=6, save_steps=2, callbacks=[Forks()])
ckptkit.guard(trainer, 2)
trainer.train()
print("children", Forks.ended, "at", trainer.state.global_step)
"""


def test_a_child_that_exits_while_what_follows_a_save_is_under_way_ends(tmp_path: Path) -> None:
    """Forked in on_save, it leaves train() by sys.exit, and has none of its parent's threads."""
    command = [sys.executable, "-c", FORKS, str(Path(__file__).parent), str(tmp_path / "run"), str(SOON)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines() or [done.stderr]
    assert (done.returncode, said[-1]) == (0, "children [True, True, True] at 6"), done.stderr[-3000:]
