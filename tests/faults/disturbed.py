"""One life of a training whose disk is disturbed at given steps: forked by never_worse.py, so that a SIGKILL is real.

What happens is written into a pipe as it happens, one JSON document a line: each step, each loss, each act, the error
that ended it. A process that is killed leaves all lines up to there.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.scenarios import IN_A_SAVE, Scenario

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guard"))  # tiny.py, ballast.py

import ballast
import tiny
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from accelerate import FullyShardedDataParallelPlugin
from loguru import logger
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from transformers import TrainerControl, TrainerState, TrainingArguments

import ckptkit
import ckptkit.guard.guard  # now, once: each life is a fork of the process that imports this
import ckptkit.ops.preflight

WEIGHTS, OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"  # as accelerate names them
SHARDS = [f"{folder}/{name}" for folder in (WEIGHTS, OPTIMIZER) for name in ("__0_0.distcp", ".metadata")]
SHARDED_FILES = (*SHARDS, "scheduler.pt", "rng_state.pth", "trainer_state.json")
Tell = Callable[..., None]


class Life(NamedTuple):
    """What one process is to do. done: numbers of the scenario's events that an earlier one saw.

    size: bytes of one checkpoint. kill: whether it is still to come.
    """

    scenario: Scenario
    run: str
    guarded: bool
    size: int
    resume: bool = False
    done: frozenset[int] = frozenset()
    kill: bool = False
    stop_at: int = 0


class Act(NamedTuple):
    """To be done at a moment of a step, once."""

    step: int
    moment: str
    do: Callable[[], None]


class Acts(tiny.TrainerCallback):
    """Does each at its moment, and at the next step's begin if that moment never came: a save that was skipped."""

    def __init__(self, pending: list[Act], tell: Tell, stop_at: int) -> None:
        self.pending, self.tell, self.stop_at = pending, tell, stop_at

    def at(self, moment: str, state: TrainerState) -> None:
        self._do([act for act in self.pending if (act.step, act.moment) == (state.global_step, moment)])

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._do([act for act in self.pending if act.step <= state.global_step])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.tell(step=state.global_step)
        control.should_training_stop |= state.global_step == self.stop_at
        self.at("step", state)
        if dist.is_initialized():
            dist.barrier()  # no rank writes before the neighbour has

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.at("saved", state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._do(self.pending)

    def _do(self, acts: list[Act]) -> None:
        self.pending = [act for act in self.pending if act not in acts]
        for act in acts:
            act.do()


class Disturbed(tiny.Trainer):
    """Lets the acts happen between the parts of a save, and tells each loss."""

    acts: Acts

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        self.acts.at("save_model", self.state)
        super().save_model(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, *args: Any, **kwargs: Any) -> None:
        self.acts.at("_save_optimizer_and_scheduler", self.state)
        super()._save_optimizer_and_scheduler(*args, **kwargs)

    def _save_rng_state(self, *args: Any, **kwargs: Any) -> None:
        self.acts.at("_save_rng_state", self.state)
        super()._save_rng_state(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.acts.tell(of=self.state.global_step + 1, loss=loss.item())
        return loss


class Sharded(tiny.Trainer):
    """Saves and loads as the Trainer does under FSDP with sharded weights, by torch's own distributed writer."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """With sharded weights the Trainer writes nothing here."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        dcp.save({"model": self.model.state_dict()}, checkpoint_id=f"{output_dir}/{WEIGHTS}", no_dist=True)
        dcp.save({"optimizer": self._moments()}, checkpoint_id=f"{output_dir}/{OPTIMIZER}", no_dist=True)
        torch.save(self.lr_scheduler.state_dict(), f"{output_dir}/scheduler.pt")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = {"model": self.model.state_dict()}
        dcp.load(weights, checkpoint_id=f"{resume_from_checkpoint}/{WEIGHTS}", no_dist=True)
        self.model.load_state_dict(weights["model"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = {"optimizer": self._moments()}
        dcp.load(state, checkpoint_id=f"{checkpoint}/{OPTIMIZER}", no_dist=True)
        set_optimizer_state_dict(self.model, self.optimizer.optimizer, state["optimizer"])
        self.lr_scheduler.load_state_dict(torch.load(f"{checkpoint}/scheduler.pt", weights_only=True))

    def _moments(self) -> dict[str, Any]:
        moments: dict[str, Any] = get_optimizer_state_dict(self.model, self.optimizer.optimizer)
        return moments


class DisturbedSharded(Disturbed, Sharded):
    """Both."""


def live(life: Life, rank: int, meeting: str, pipe: int) -> None:
    """The whole of a forked process: train, tell, exit. meeting: a file where the ranks find each other."""
    tell: Callable[..., None] = partial(_tell, pipe) if rank == 0 else (lambda **_: None)
    try:
        if life.scenario.ranks > 1:
            _meet(rank, life.scenario.ranks, meeting)
        _trainer(life, rank, tell).train(resume_from_checkpoint=life.resume or None)
    except BaseException as error:  # noqa: BLE001 - torch's CheckpointException, of a full disk, is no Exception
        traceback.print_exc()
        tell(error=f"{type(error).__name__}: {error}")
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(0)  # what the launching process has to end is its own


def _tell(pipe: int, **line: Any) -> None:
    os.write(pipe, json.dumps(line).encode() + b"\n")


def _meet(rank: int, ranks: int, meeting: str) -> None:
    """As torchrun does, without its five seconds a process."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # asked for, never used: they meet at the file
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )


def _trainer(life: Life, rank: int, tell: Tell) -> tiny.Trainer:
    """The Trainer with all that will happen to it, guarded or not."""

    def settled() -> None:
        """Without the guard nothing goes on beside training."""

    scenario = life.scenario
    acts = Acts([], tell, life.stop_at)
    kind = type("Kind", (Disturbed if scenario.judged else DisturbedSharded,), {"acts": acts})
    trainer = tiny.trainer(life.run, kind=kind, lora=scenario.kind == "lora", callbacks=[acts], **_settings(scenario))
    if scenario.kind == "sharded":
        trainer.is_fsdp_enabled = True
        trainer.accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(state_dict_type="SHARDED_STATE_DICT")
    if life.guarded:
        logger.remove()
        if rank == 0:
            logger.add(lambda line: tell(told=line.record["message"]))
        guard = ckptkit.guard(trainer, scenario.keep_last, on_full=scenario.on_full, on_full_timeout=scenario.timeout)
        settled = guard.wait
    acts.pending = _pending(life, tell, rank, settled)
    return trainer


def _settings(scenario: Scenario) -> dict[str, Any]:
    """What the Trainer is asked for: a loss in the log for each save, by which two histories can be told apart."""
    settings: dict[str, Any] = dict(
        max_steps=scenario.max_steps,
        save_steps=scenario.save_steps,
        save_total_limit=scenario.keep_last,
        save_only_model=scenario.only_model,
        logging_steps=scenario.save_steps,
        ddp_timeout=60,
    )
    if scenario.ranks > 1:
        settings["ddp_find_unused_parameters"] = False
    if scenario.best:
        settings |= dict(
            eval_strategy="steps",
            eval_steps=scenario.save_steps,
            metric_for_best_model="loss",
            greater_is_better=scenario.rising,
            load_best_model_at_end=scenario.best == "loaded",
        )
    return settings


def _pending(life: Life, tell: Tell, rank: int, settled: Callable[[], None]) -> list[Act]:
    """What is still to happen. The neighbour acts beside rank 0, and when what follows a save is over: no race."""
    volume = os.path.dirname(life.run)

    def neighbour(number: int, moment: str, rest: float | None) -> None:
        tell(did=number)
        if rank:
            return
        if moment not in IN_A_SAVE:  # in a save it may itself be waited for
            settled()
        if rest is not None:
            with suppress(OSError):  # another rank wrote meanwhile: then it is full
                ballast.fill(volume, int(rest * life.size), f"ballast-{number}")
            return
        for file in Path(volume).glob("ballast-*"):
            file.unlink()

    acts = [
        Act(event.step, event.moment, partial(neighbour, number, event.moment, event.rest))
        for number, event in enumerate(life.scenario.events)
        if number not in life.done
    ]
    if life.kill and life.scenario.kill and rank == 0:  # the others are killed by who launched them
        acts.append(Act(*life.scenario.kill, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    return acts
