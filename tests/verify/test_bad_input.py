"""Bad input: two layouts in one directory, clocks that jumped, names that nearly match, ranks that are missing."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.ops import read
from ckptkit.ops.latest import latest
from ckptkit.ops.prune import prune
from ckptkit.ops.read import plan
from ckptkit.policy.keep import Range, Rules
from tests.support.runs import names, set_age
from tests.support.typed import RunOf, present
from tests.test_field import actions, put, verdict

TWO = {100: "intact", 200: "intact"}
YEAR = 365 * 86400.0
# Names as their writers give them; what is in them decides nothing.
ACCELERATE = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")
DISTCP = ("__0_0.distcp", "__1_0.distcp", ".metadata")
FSDP = ("pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata", "optimizer_0/__0_0.distcp")
DEEPSPEED = ("global_step200/mp_rank_00_model_states.pt", "global_step200/zero_pp_rank_0_optim_states.pt", "latest")


# --- two layouts' halves in one directory -----------------------------------------------------------------------------

TRAINERS = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
HALVES = {  # what is missing of the Trainer's
    "all of the Trainer's": (),
    "no state": ("trainer_state.json",),
    "no optimizer": ("optimizer.pt",),
    "nothing that resumes": TRAINERS,
    "no weights": ("model.safetensors",),
    "no weights, no optimizer": ("model.safetensors", "optimizer.pt"),
    "no weights, no state": ("model.safetensors", "trainer_state.json"),
}
OTHERS = {"accelerate": ACCELERATE, "distcp": DISTCP, "fsdp": FSDP, "deepspeed": DEEPSPEED}


@pytest.mark.parametrize("other", OTHERS)
def test_halves_of_two_layouts_in_one_directory_are_never_deleted_and_replace_no_whole_one(
    run_of: RunOf, tmp_path: Path, other: str
) -> None:
    for number, missing in enumerate(HALVES.values()):
        run = run_of(TWO, "full", at=tmp_path / str(number))
        for name in missing:
            os.unlink(f"{run}/checkpoint-200/{name}")
        put(run, 200, dict.fromkeys(OTHERS[other], b"\1" * 1000))
        set_age(f"{run}/checkpoint-200", time.time(), 3500)
        found = verdict(run, 200)
        assert found.resumable is (missing == ()), (missing, found.findings)
        made = plan(run, Rules(Range(1, 1)))
        assert actions(made) == {
            100: "keep" if missing else "delete",
            200: "keep" if found.state == "intact" else "leave",
        }


def test_optimizer_bin_alone_continues_no_training_of_the_trainer(run_of: RunOf) -> None:
    """The Trainer asks whether it is there, and then loads optimizer.pt."""
    run = run_of(TWO)
    os.rename(f"{run}/checkpoint-200/optimizer.pt", f"{run}/checkpoint-200/optimizer.bin")
    found = verdict(run, 200)
    assert (found.state, found.resumable) == ("intact", False)
    assert latest(run).path == f"{run}/checkpoint-100"


# --- names that nearly match ------------------------------------------------------------------------------------------

NEARLY = ("optimizer.pt.bak", "backup/optimizer.pt", "optimizer.pt~", "Optimizer.pt", "optimizer.pt ", "xoptimizer.pt",
          "trainer_state.json.bak", "backup/trainer_state.json", "rng_state_0.pth.bak", "backup/rng_state_3.pth",
          "rng_state_x.pth", "model-00001-of-00009.safetensors.bak", "backup/model-00001-of-00009.safetensors",
          "backup/adapter_model.safetensors", "old/checkpoint-is-incomplete.txt", ".tmpAb12cD.bak", "backup/.tmpAb12cD",
          "global_step9.bak", "model.safetensors.index.json.bak", "backup/model.safetensors.index.json")  # fmt: skip


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_name_that_nearly_is_the_layouts_changes_nothing(run_of: RunOf, tmp_path: Path, kind: str) -> None:
    for number, name in enumerate(NEARLY):
        run = run_of(TWO, kind, at=tmp_path / str(number))
        put(run, 200, {name: b"x"})
        set_age(f"{run}/checkpoint-200", time.time(), 3500)
        for level in ("quick", "full", "deep"):
            found = verdict(run, 200, level)
            assert found.resumable and not found.findings, (name, level, found.findings)
        assert actions(plan(run, Rules(Range(1, 1)))) == {100: "delete", 200: "keep"}, name


@pytest.mark.parametrize("name", ["optimizer.pt.bak", "backup/optimizer.pt"])
def test_copy_under_another_name_does_not_stand_for_what_is_gone(run_of: RunOf, name: str) -> None:
    run = run_of(TWO)
    put(run, 200, {name: Path(run, "checkpoint-200", "optimizer.pt").read_bytes()})
    os.unlink(f"{run}/checkpoint-200/optimizer.pt")
    found = verdict(run, 200)
    assert (found.state, found.resumable) == ("intact", False)


# --- a clock that jumped ----------------------------------------------------------------------------------------------


@pytest.fixture
def nobody_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a training that may write here, a torn one waits as long as its times lie ahead of the clock."""
    monkeypatch.setattr(read, "_other_writer", lambda run: None)


JUMPS = {"a day back": -86400.0, "a year back": -YEAR, "to 1970": None, "a day ahead": 86400.0, "a year ahead": YEAR}


@pytest.mark.parametrize("jump", JUMPS)
def test_clock_that_jumped_changes_no_verdict_no_plan_and_no_latest(
    run_of: RunOf, nobody_trains: None, jump: str
) -> None:
    run = run_of(TWO | {300: "torn"})
    put(run, 400, dict.fromkeys(DISTCP, b"\1" * 1000))
    set_age(f"{run}/checkpoint-400", time.time(), 3400)
    now = time.time() + (JUMPS[jump] or -time.time())
    for rules in (Rules(), Rules(Range(1, 1)), Rules(None, keep_every=200), Rules(None, keep_within=1800)):
        before, after = (plan(run, rules, now=at) for at in (time.time(), now))
        assert [d[1:] for d in after.decisions] == [d[1:] for d in before.decisions], rules
    assert actions(plan(run, Rules(Range(1, 1)), now=now)) == {
        100: "delete",
        200: "keep",
        300: "delete",
        400: "leave",
    }
    assert latest(run, now=now).path == f"{run}/checkpoint-200"


def test_torn_one_dated_a_year_ahead_is_not_taken_for_one_that_is_being_written(
    run_of: RunOf, nobody_trains: None
) -> None:
    run = run_of(TWO | {300: "torn"})
    set_age(f"{run}/checkpoint-300", time.time(), -YEAR)
    assert verdict(run, 300).state == "incomplete"
    assert present(prune(run, Rules(Range(2, 2))).outcome).deleted == (f"{run}/checkpoint-300",)


def test_save_in_progress_is_left_alone_though_its_first_files_are_dated_a_year_ahead(run_of: RunOf) -> None:
    """The clock was set back in the middle of it."""
    run = run_of(TWO | {300: "torn"})
    set_age(f"{run}/checkpoint-300", time.time(), -YEAR)
    os.utime(f"{run}/checkpoint-300/optimizer.pt")
    assert verdict(run, 300).state == "in_progress"
    assert not plan(run, Rules(Range(2, 2))).deletions


def test_intact_one_dated_a_year_ahead_pushes_out_no_higher_step(run_of: RunOf) -> None:
    run = run_of(TWO | {300: "intact"})
    set_age(f"{run}/checkpoint-100", time.time(), -YEAR)
    assert latest(run).path == f"{run}/checkpoint-300"
    assert actions(plan(run, Rules(Range(1, 1)))) == {100: "delete", 200: "delete", 300: "keep"}


# --- several ranks ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings(real: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """settings(ranks=4, each_node=False) is training_args.bin as one of so many ranks saves it: a real one, edited."""
    import torch

    args = torch.load(os.path.join(real, "lora", "checkpoint-100", "training_args.bin"), weights_only=False)

    def make(ranks: Any, each_node: bool = False) -> bytes:
        args.save_on_each_node = each_node
        args.distributed_state.__dict__["num_processes"] = ranks
        file = tmp_path_factory.mktemp("args") / "training_args.bin"
        torch.save(args, file)
        return file.read_bytes()

    return make


@pytest.fixture
def ranks_of(run_of: RunOf, settings: Callable[..., bytes]) -> Callable[..., str]:
    """ranks_of((0, 1), ranks=4) is a run whose newest checkpoint holds the random states of these ranks."""

    def make(there: Any, ranks: Any = None, each_node: bool = False) -> str:
        run = run_of(TWO)
        random_state = Path(run, "checkpoint-200", "rng_state.pth")
        put(run, 200, {f"rng_state_{rank}.pth": random_state.read_bytes() for rank in there})
        random_state.unlink()
        if ranks is None:
            os.unlink(f"{run}/checkpoint-200/training_args.bin")
        else:
            put(run, 200, {"training_args.bin": settings(ranks, each_node)})
        set_age(f"{run}/checkpoint-200", time.time(), 3500)
        return run

    return make


RANKS = {  # the ranks that are there, how many trained (None: nobody tells), save_on_each_node, what is missing
    "all four": ((0, 1, 2, 3), 4, False, []),
    "one in the middle is missing": ((0, 1, 3), 4, False, [2]),
    "the first is missing": ((1, 2, 3), 4, False, [0]),
    "the last is missing, the settings know": ((0, 1, 2), 4, False, [3]),
    "the last is missing, nobody knows": ((0, 1, 2), None, False, []),
    "rank 0 alone of 2": ((0,), 2, False, [1]),
    "rank 0 alone, nobody knows": ((0,), None, False, [1]),
    "node 1 of two that each save": ((2, 3), 4, True, []),
    "node 0 of two that each save": ((0, 1), 4, True, []),
    "node 1 lacks one in the middle": ((4, 5, 7), 8, True, [6]),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKS)
def test_rank_that_is_promised_and_missing_makes_it_incomplete(ranks_of: Callable[..., str], name: str) -> None:
    there, ranks, each_node, missing = RANKS[name]
    run = ranks_of(there, ranks, each_node)
    found = verdict(run, 200)
    lost = [f.file for f in found.findings if f.code == "missing"]
    assert lost == [f"rng_state_{rank}.pth" for rank in missing]
    assert (found.state, found.resumable) == (("incomplete", False) if missing else ("intact", True))
    assert os.path.basename(latest(run).path) == ("checkpoint-100" if missing else "checkpoint-200")
    prune(run, Rules(Range(2, 2)))
    assert names(run) == ["checkpoint-100"] + ([] if missing else ["checkpoint-200"])
