"""Nothing is deleted without positive evidence that the Trainer broke off there: DESIGN.md, rule of judging 2.

The oracle here is written from that rule and from how each directory was made. It asks ckptkit nothing.
"""

import argparse
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.ops.prune import prune as ops_prune
from ckptkit.ops.read import verify
from ckptkit.policy.rules import Range, Rules
from tests.conftest import CHECKOUT
from tests.corpus import saves
from tests.corpus.saves import ORDERS
from tests.faults.trials import SEED
from tests.support import random_trees
from tests.support.runs import TYPED, set_age
from tests.support.typed import Ckptkit, RunOf, present

sys.path.insert(0, str(CHECKOUT / "tests" / "guard"))  # tiny.py

EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
MIXTURES = 2000 if EXHAUSTIVE else 150
PARTS = 4  # tests that share them, so that the suite's workers can
HOURS = 3600
MARKER = "trainer_state.json"


# --- directories, and what was done to them ---------------------------------------------------------------------------


class Made(NamedTuple):
    """One checkpoint-N as it was made.

    whole: names of the files of the Trainer's that were written to their end. cut: of those that were not.
    others: whether another writer's files lie there. bystanders: whether anything else does.
    prefix: whether it is what a broken save leaves, and no more.
    """

    whole: frozenset[str]
    cut: frozenset[str] = frozenset()
    others: bool = False
    bystanders: bool = False
    prefix: bool = False


def a_broken_save(draw: random.Random, files: dict[str, bytes]) -> tuple[Made, dict[str, bytes]]:
    """Some files in the Trainer's order, and the next one whole, cut, empty or missing."""
    order = ORDERS[draw.choice(sorted(ORDERS))]
    whole = order[: draw.randint(0, len(order))]
    following = order[len(whole)] if len(whole) < len(order) else ""
    how = draw.choice(("whole", "cut", "empty", "missing")) if following else "missing"
    content = {name: files[name] for name in whole}
    if how == "missing":
        return Made(frozenset(whole), prefix=True), content
    if how == "whole":
        return Made(frozenset((*whole, following)), prefix=True), content | {following: files[following]}
    kept = 0 if how == "empty" else draw.randrange(1, len(files[following]) - 3)
    return Made(frozenset(whole), frozenset({following}), prefix=True), content | {following: files[following][:kept]}


def a_slimmed_one(draw: random.Random, files: dict[str, bytes]) -> tuple[Made, dict[str, bytes]]:
    """A whole one from which a person removed what takes room."""
    order = ORDERS[draw.choice(sorted(ORDERS))]
    spare = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "README.md"]
    gone = draw.sample(spare, draw.randint(0, len(spare)))
    left = [name for name in order if name not in gone]
    return Made(frozenset(left)), {name: files[name] for name in left}


def a_whole_one(draw: random.Random, files: dict[str, bytes]) -> tuple[Made, dict[str, bytes]]:
    order = ORDERS[draw.choice(sorted(ORDERS))]
    return Made(frozenset(order)), {name: files[name] for name in order}


def two_halves(draw: random.Random, files: dict[str, bytes]) -> tuple[Made, dict[str, bytes]]:
    """Files of a LoRA and of a full checkpoint in one directory, any of them."""
    names = sorted({name for order in ORDERS.values() for name in order})
    left = draw.sample(names, draw.randint(1, len(names)))
    return Made(frozenset(left)), {name: files[name] for name in left}


# {writer: its files}; a name that the Trainer writes too has the Trainer's content.
STRANGERS = {
    "accelerate_torn": ("model.safetensors", "optimizer.bin", "scheduler.bin", "sampler.bin"),
    "loop": ("model.safetensors", "training_state.pt"),
    "loop_with_config": ("config.json", "model.safetensors", "training_state.pt", "optimizer.pt"),
    "peft_alone": ("README.md", "adapter_model.safetensors", "adapter_config.json"),
    "save_pretrained": ("config.json", "generation_config.json", "model.safetensors"),
    "fsdp": ("pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata", "optimizer_0/__0_0.distcp",
             "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth"),
    "deepspeed": ("global_step5/mp_rank_00_model_states.pt", "global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                  "latest", "zero_to_fp32.py", "rng_state_0.pth"),
}  # fmt: skip
WITHOUT_SIGNS = ("peft_alone", "save_pretrained")  # nothing but whole weights
UNDER_THE_TRAINER = ("fsdp", "deepspeed")


def a_strangers(draw: random.Random, files: dict[str, bytes]) -> tuple[Made, dict[str, bytes]]:
    """Another writer's, some with a file cut; where the Trainer was around it, it may have come to its end."""
    writer = draw.choice(sorted(STRANGERS))
    content = {name: files.get(name, files["optimizer.pt"]) for name in STRANGERS[writer]}
    foreign = [name for name in content if name not in files and content[name]]
    if foreign and draw.random() < 0.3:
        content[draw.choice(foreign)] = b"cut"
    if writer in UNDER_THE_TRAINER and draw.random() < 0.5:
        content[MARKER] = files[MARKER]
    own = frozenset(name for name in content if name in files or name.startswith("rng_state"))
    return Made(own, others=writer not in WITHOUT_SIGNS), content


WRITERS = (a_broken_save, a_broken_save, a_slimmed_one, a_whole_one, two_halves, a_strangers, a_strangers)


# --- the oracle -------------------------------------------------------------------------------------------------------

FIRST = {"README.md", "config.json", "generation_config.json"}
WITNESS = re.compile(r"rng_state(_[0-9]+)?\.pth")
NOT_NEEDED = {"README.md", "training_args.bin", "generation_config.json"}  # no resume reads them


def has_evidence(made: Made) -> bool:
    """Whether anything shows that the Trainer was at work there and did not come to its end."""
    if MARKER in made.whole:
        return bool(made.cut - NOT_NEEDED)
    if made.others:
        return False
    alone = made.whole | made.cut <= FIRST and not made.bystanders
    return bool(made.cut) or any(map(WITNESS.fullmatch, made.whole)) or "training_args.bin" in made.whole or alone


def is_intact(made: Made) -> bool:
    lora = {"adapter_model.safetensors", "adapter_config.json"} <= made.whole
    return MARKER in made.whole and not made.cut - NOT_NEEDED and (lora or "model.safetensors" in made.whole)


def is_resumable(made: Made) -> bool:
    return is_intact(made) and {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= made.whole


# --- a run of them ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(real: str) -> dict[str, bytes]:
    """{name: content} of a real LoRA and a real full checkpoint; those that both have are the full one's."""
    both = [path for kind in ORDERS for path in sorted(Path(real, kind, "checkpoint-100").iterdir())]
    return {path.name: path.read_bytes() for path in both}


def lay_down(run: Path, draw: random.Random, files: dict[str, bytes], now: float) -> dict[str, Made]:
    """{name: Made} of 2 to 6 directories, none of them written to for at least two hours."""
    made = {}
    for step in draw.sample(range(10, 1000, 10), draw.randint(2, 6)):
        path = Path(run, f"checkpoint-{step}")
        path.mkdir(parents=True)
        one, content = draw.choice(WRITERS)(draw, files | {MARKER: _state(step)})
        for name, raw in content.items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_bytes(raw)
        made[path.name] = _strewn(path, one, draw, files, now) if draw.random() < 0.3 else one
        set_age(str(path), now, draw.uniform(2, 50) * HOURS)
    return made


def _state(step: int) -> bytes:
    log = [{"step": s, "loss": 5 - s / 1e6, "epoch": s / 8} for s in range(10, step + 1, 10)]
    return json.dumps({"global_step": step, "max_steps": 10 * step, "log_history": log}, indent=2).encode()


def _strewn(path: Path, made: Made, draw: random.Random, files: dict[str, bytes], now: float) -> Made:
    """Somebody's files on top."""
    tree = random_trees.tree(str(draw.random()), draw.random() < 0.5, list(files.values()))
    random_trees.lay(tree, path, now)
    return made._replace(bystanders=True)


def broken_promises(run: Path, made: dict[str, Made], deleted: set[str], keep_last: int) -> Iterator[str]:
    """What was deleted and should not have been, and the other way round, in words."""
    intact = [name for name in by_step(made) if is_intact(made[name])]
    left = [name for name in intact if name not in deleted]
    for name in deleted:
        if not is_intact(made[name]) and not has_evidence(made[name]):
            yield f"{name} went without evidence"
    if len(left) < min(keep_last, len(intact)) or (intact and intact[-1] not in left):
        yield f"of the intact {intact} only {left} are left"
    resumable = [name for name in intact if is_resumable(made[name])]
    if resumable and resumable[-1] in deleted:
        yield f"{resumable[-1]}, the newest to resume from, went"
    for name, one in made.items():
        if resumable and one.prefix and not one.bystanders and has_evidence(one) and name not in deleted:
            yield f"{name} stayed, and it is a broken save"


def by_step(names: dict[str, Made]) -> list[str]:
    return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_without_evidence_is_deleted(files: dict[str, bytes], tmp_path: Path, part: int) -> None:
    now, wrong, went = time.time(), {}, 0
    for number in range(part, MIXTURES, PARTS):
        draw = random.Random(f"{SEED}/{number}")
        run = tmp_path / "run"
        made = lay_down(run, draw, files, now)
        keep_last = draw.randint(1, 4)
        deleted = prune(str(run), keep_last, made)
        went += sum(not is_intact(made[name]) for name in deleted)
        if faults := list(broken_promises(run, made, deleted, keep_last)):
            wrong[number] = (faults, made)
        shutil.rmtree(run)
    assert wrong == {}, f"{len(wrong)} mixtures, CKPTKIT_SEED={SEED}: {wrong}"
    assert went > MIXTURES / PARTS / 4, "a test in which nothing broken is deleted shows nothing"


def prune(run: str, keep_last: int, made: dict[str, Made]) -> set[str]:
    """The names of those that went."""
    try:
        ops_prune(run, Rules(keep_last=Range(keep_last, keep_last)), yes=True, patient=False, settle=False)
    except NoIntactCheckpoint:
        assert not any(map(is_intact, made.values()))
    return set(made) - set(os.listdir(run))


# --- whole weights, and something odd beside them ---------------------------------------------------------------------

# What a person or another program puts under a name of the Trainer's, in a format that the Trainer never writes there.
ODD = {
    "no_torch_file": ("optimizer.pt", b"adamw lr=1e-4\n"),
    "json_for_a_scheduler": ("scheduler.pt", b'{"last_epoch": 3}'),
    "pickle_of_protocol_0": ("training_args.bin", pickle.dumps({"lr": 1}, 0)),
    "namespace_as_the_old_examples_saved_it": ("training_args.bin", pickle.dumps(argparse.Namespace(lr=1), 4)),
    "comment": ("config.json", b'// mine\n{"model_type": "llama"}'),
    "yaml": ("config.json", b"model_type: llama\n"),
    "comma_too_many": ("adapter_config.json", b'{"peft_type": "LORA",}'),
    "empty_config": ("config.json", b""),
    "state_of_a_person": ("trainer_state.json", b'{"epoch": 3, "loss": 0.1}'),
    "list_for_a_state": ("trainer_state.json", b"[1, 2]"),
}


@pytest.mark.parametrize("weights", [("model.safetensors",), ("adapter_model.safetensors", "adapter_config.json")])
@pytest.mark.parametrize("odd", ODD)
def test_whole_weights_beside_what_the_trainer_never_writes_stay(
    run_of: RunOf, files: dict[str, bytes], weights: tuple[str, ...], odd: str
) -> None:
    run = Path(run_of({100: "intact"}))
    newer, (name, content) = run / "checkpoint-200", ODD[odd]
    newer.mkdir()
    for one in weights:
        (newer / one).write_bytes(files[one])
    (newer / name).write_bytes(content)
    set_age(str(newer), time.time(), HOURS)
    assert prune(str(run), 1, {}) == set() and sorted(os.listdir(newer)) == sorted({*weights, name})


# JSON that broke off within, however it looks: evidence.
CUT_JSON = [
    b"",
    b"{",
    b'{"global_step": 200, "log_history": [{"step": 1}',
    b'{"a": "}',
    b'{"a": {}',
    b"\0" * 99,
    b'{"a": tr',
]


def test_state_of_the_random_numbers_alone_shows_that_a_save_broke_off(run_of: RunOf) -> None:
    """As on a node whose ranks write nothing else, or where the settings were removed."""
    run = run_of({100: "intact", 200: "torn", 300: "intact"})
    os.unlink(f"{run}/checkpoint-200/training_args.bin")
    set_age(f"{run}/checkpoint-200", time.time(), HOURS)
    assert present(ops_prune(run).outcome).deleted == (f"{run}/checkpoint-200",)


@pytest.mark.parametrize("content", CUT_JSON)
def test_state_that_broke_off_goes(run_of: RunOf, content: bytes) -> None:
    run = Path(run_of({100: "intact", 200: "intact"}))
    (run / "checkpoint-200" / "trainer_state.json").write_bytes(content)
    set_age(str(run / "checkpoint-200"), time.time(), HOURS)
    assert prune(str(run), 1, {"checkpoint-200": Made(frozenset())}) == {"checkpoint-200"}


# --- a save that was killed between whole weights and training_args.bin -----------------------------------------------

LATER = 3600 * 24  # seconds: a day after the crash
NOBODY_CAN_SAY = saves.AFTER_THE_WEIGHTS["lora"]


@pytest.fixture
def killed(calm: str) -> Callable[[Any], Path]:
    """killed(FILE) is a run whose save of step 20, without a guard, was killed before that file."""
    script = str(CHECKOUT / "tests/guard/killed_saves.py")
    subprocess.run([sys.executable, script, calm, "lora", "killed_before", "bare"], check=True, capture_output=True)

    def run(file: Any) -> Path:
        path = Path(calm, file)
        for checkpoint in path.iterdir():
            set_age(str(checkpoint), time.time(), LATER)
        return path

    return run


def states(run: Path) -> dict[str, str]:
    return {j.checkpoint.name: j.verdict.state for j in verify(str(run), level="full", now=time.time() + LATER)}


def resumed(run: Path, path: str) -> bool:
    """The step that a Trainer without a guard went on from, at its first step."""
    import tiny

    begun = []
    trainer = tiny.trainer(run, max_steps=20)
    trainer.add_callback(tiny.At(11, lambda: begun.append(trainer.state.global_step)))
    trainer.train(resume_from_checkpoint=path)
    return begun == [11] and trainer.state.global_step == 20


@pytest.mark.mounts
def test_save_that_nobody_can_judge_is_set_aside_or_overwritten_and_training_goes_on(
    killed: Callable[[Any], Path], ckptkit: Ckptkit
) -> None:
    aside, over = map(killed, NOBODY_CAN_SAY)
    assert states(aside) == states(over) == {"checkpoint-10": "intact", "checkpoint-20": "unknown"}
    called = ckptkit("recover", aside, "--set-aside", "-y")
    assert called.out.splitlines()[-1] == f"{TYPED} {aside}/checkpoint-10", called.err
    assert sorted(os.listdir(aside)) == ["checkpoint-10", "set-aside-checkpoint-20"]
    for run in (aside, over):
        assert resumed(run, f"{run}/checkpoint-10")
        assert states(run) == {"checkpoint-10": "intact", "checkpoint-20": "intact"}
    assert sorted(os.listdir(aside)) == ["checkpoint-10", "checkpoint-20", "set-aside-checkpoint-20"]


@pytest.mark.mounts
def test_save_that_was_killed_elsewhere_goes_and_recover_names_the_one_before(
    killed: Callable[[Any], Path], ckptkit: Ckptkit
) -> None:
    for file in sorted(set(saves.ORDERS["lora"]) - set(NOBODY_CAN_SAY)):
        run = killed(file)
        assert states(run) == {"checkpoint-10": "intact", "checkpoint-20": "incomplete"}, file
        called = ckptkit("recover", run, "-y")
        assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-10", (file, called.err)
        assert "checkpoint-20" not in os.listdir(run), file
