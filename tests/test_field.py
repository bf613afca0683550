"""Facts from the field: what lost data, or handed out what nobody should load, in ordinary hands. One test a line.

Those that need a Trainer are in tests/guard/test_guard_field.py; copies, silent saves, --log-to and the crontab have
files of their own.
"""

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit as public
from ckptkit.errors import CkptkitError, NoIntactCheckpoint, UsageError
from ckptkit.model.checkpoint import Level, Verdict
from ckptkit.model.decision import PrunePlan
from ckptkit.ops.latest import latest
from ckptkit.ops.read import verify
from tests.conftest import CHECKOUT
from tests.support.runs import TYPED, names, set_age, tree
from tests.support.typed import RunOf

TWO = {100: "intact", 200: "intact"}
THREE = TWO | {300: "intact"}
LEVELS = ("quick", "full", "deep")

# A training loop with accelerate, as its documentation shows it.
SAVE_STATE = """
import sys, torch
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.AdamW(model.parameters())
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
model(torch.ones(2, 8)).sum().backward()
optimizer.step()
schedule.step()
for path in sys.argv[1:]:
    accelerator.save_state(path)
"""


def script(verb: str, *words: str) -> subprocess.CompletedProcess[Any]:
    """bin/VERB itself, as a person or cron types it."""
    environment = os.environ | {"CKPTKIT_PYTHON": sys.executable}
    command = [str(CHECKOUT / "bin" / verb), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )


def aged(run: str, hours: int = 1) -> str:
    """Nobody has written there for an hour; the newest step came last."""
    for at, name in enumerate(names(run)):
        set_age(f"{run}/{name}", time.time(), hours * 3600 - at)
    return run


def verdict(run: str, step: int, level: Level = "quick", trust: tuple[str, ...] = ()) -> Verdict:
    (judged,) = verify(f"{run}/checkpoint-{step}", level=level, trust=trust)
    return judged.verdict


def actions(made: PrunePlan) -> dict[int, str]:
    return {decision.checkpoint.step: decision.action for decision in made.decisions}


# --- what is no part of a checkpoint ----------------------------------------------------------------------------------


def test_best_metric_json_in_the_newest_and_an_hour_later_prune_keep_last_1_keeps_the_newest(run_of: RunOf) -> None:
    run = run_of(TWO)
    Path(run, "checkpoint-200", "best_metric.json").write_text("0.93\n")
    done = script("prune", aged(run), "--keep-last", "1")
    assert done.returncode == 0, done.stderr
    assert names(run) == ["checkpoint-200"] and verdict(run, 200).resumable
    assert Path(run, "checkpoint-200", "best_metric.json").read_text() == "0.93\n"


# --- other programs' checkpoints --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def save_state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What accelerate's save_state writes."""
    path = tmp_path_factory.mktemp("accelerate") / "state"
    subprocess.run([sys.executable, "-c", SAVE_STATE, path], check=True, capture_output=True)
    return {file.name: file.read_bytes() for file in path.iterdir()}


LOOP = ("model.safetensors", "training_state.pt")


@pytest.fixture(params=["a person's loop", "loop, torn at its state", "weights alone"])
def beside(request: pytest.FixtureRequest, run_of: RunOf, save_state: dict[str, bytes]) -> str:
    """One good Trainer checkpoint, and two newer ones of another program."""
    run = run_of({100: "intact"})
    assert {"model.safetensors", "optimizer.bin", "random_states_0.pkl", "scheduler.bin"} == save_state.keys()
    weights = save_state["model.safetensors"]
    state = save_state["optimizer.bin"]
    files = {
        "a person's loop": {"model.safetensors": weights, "training_state.pt": state},
        "loop, torn at its state": {"model.safetensors": weights, "training_state.pt": state[:100]},
        "weights alone": {"model.safetensors": weights},
    }[request.param]
    for step in (200, 300):
        put(run, step, files)
    return aged(run)


def test_those_of_accelerate_have_slots_of_their_own_beside_the_trainers(
    run_of: RunOf, save_state: dict[str, bytes]
) -> None:
    run = run_of({100: "intact"})
    for step in (200, 300, 400):
        put(run, step, save_state)
    done = script("prune", aged(run), "--keep-last", "2", "-y")
    assert done.returncode == 0, done.stderr
    assert names(run) == ["checkpoint-100", "checkpoint-300", "checkpoint-400"]
    assert verdict(run, 400).resumable and script("latest", run).stdout == f"{run}/checkpoint-400\n"


def put(run: str, step: int, files: dict[str, bytes]) -> None:
    """A checkpoint's directory with such files in it: {name: bytes}."""
    for name, content in files.items():
        path = Path(run, f"checkpoint-{step}", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_newer_ones_of_a_persons_loop_are_never_deleted_beside_one_good_trainer_checkpoint(beside: str) -> None:
    before = tree(beside)
    for words in ((), ("-y",), ("--keep-last", "1", "-y"), ("--keep-every", "7", "-y")):
        done = script("prune", beside, *words)
        assert done.returncode == 0 and tree(beside) == before
        assert "could not be judged" in done.stdout and "nothing to delete" in done.stdout, done.stdout
    for step in (200, 300):
        assert verdict(beside, step).state == "unknown"


def test_newer_ones_of_a_persons_loop_are_a_no_go_and_latest_takes_the_trainers(beside: str) -> None:
    done = script("preflight", beside)
    assert done.returncode == 4 and "no-go  unknown" in done.stdout and "checkpoint-300 can't be judged" in done.stdout
    assert script("latest", beside).stdout == f"{beside}/checkpoint-100\n"


# --- slimmed by hand --------------------------------------------------------------------------------------------------


@pytest.fixture
def slimmed(run_of: RunOf) -> Callable[..., str]:
    """slimmed(THREE, 300) is that run; from these steps optimizer.pt was removed to save space."""

    def make(states: Any, *steps: Any) -> str:
        run = run_of(states)
        for step in steps:
            os.unlink(f"{run}/checkpoint-{step}/optimizer.pt")
        return aged(run)

    return make


def test_optimizer_removed_by_hand_is_intact_weights_only_and_told(slimmed: Callable[..., str]) -> None:
    run = slimmed(TWO, 200)
    found = verdict(run, 200)
    assert (found.state, found.resumable, found.weights_intact) == ("intact", False, True)
    assert [(f.file, f.code) for f in found.findings] == [("optimizer.pt", "removed-after-save")]
    assert script("verify", run).returncode == 0
    assert script("latest", run).stdout == f"{run}/checkpoint-100\n"
    assert "intact, weights only" in script("prune", run, "--dry-run").stdout


def test_with_nothing_but_slimmed_ones_what_takes_their_weights_is_told_and_can_be_pasted(
    slimmed: Callable[..., str],
) -> None:
    run = slimmed(TWO, 100, 200)
    done = script("latest", run)
    weights = f"to train on from weights alone: {CHECKOUT}/bin/latest {run} --weights-only-ok"
    assert done.returncode == 4 and weights in done.stderr
    done = script("recover", run)
    assert done.returncode == 4 and f"bin/latest {run} --weights-only-ok" in done.stderr
    assert script("latest", run, "--weights-only-ok").stdout == f"{run}/checkpoint-200\n"


def test_optimizer_removed_by_hand_is_kept_where_a_rule_keeps_it_and_goes_as_an_intact_one_that_none_keeps(
    slimmed: Callable[..., str],
) -> None:
    run = slimmed(THREE | {400: "intact"}, 100, 200)
    rules: dict[str, Any] = {"keep_last": 2, "keep_every": 200}
    assert actions(public.plan(run, **rules)) == {100: "delete", 200: "keep", 300: "keep", 400: "keep"}
    (going,) = public.plan(run, **rules).deletions
    assert going.verdict.state == "intact" and going.codes == {"released"}
    assert [reason.message for reason in going.reasons] == ["no rule keeps it"]


def test_optimizer_removed_by_hand_is_never_the_floor_that_can_be_resumed_from(slimmed: Callable[..., str]) -> None:
    run = slimmed(THREE, 200, 300)
    done = script("prune", run, "--keep-last", "1", "-y")
    assert done.returncode == 0 and names(run) == ["checkpoint-100", "checkpoint-300"]
    assert latest(run).path == f"{run}/checkpoint-100"


# --- pickles ----------------------------------------------------------------------------------------------------------

# What ran in the field: protocol 4, the module is harmless, the name walks from it to os.
RANDOM_OS = b"\x80\x04\x8c\x06random\x8c\x0a_os.system\x93\x8c\x04true\x85R."
MINE = b"\x80\x04\x8c\x08pkg.mine\x8c\x08Schedule\x93)\x81."
LOADED = {  # each file that a resume loads as a pickle, and the run in which it lies
    "scheduler.pt": "lora",
    "optimizer.pt": "lora",
    "rng_state.pth": "lora",
    "adapter_model.bin": "lora",
    "pytorch_model.bin": "full",
}


def repickle(file: Path, raw: bytes, source: Path | None = None) -> None:
    """The torch archive with another pickle in it, its CRC-32 right. source: the archive to take, default itself."""
    old = io.BytesIO((source or file).read_bytes())
    with zipfile.ZipFile(old) as read, zipfile.ZipFile(file, "w") as written:
        for record in read.namelist():
            content = raw if record.endswith("data.pkl") else read.read(record)
            written.writestr(zipfile.ZipInfo(record), content)


def plant(run: str, step: int, name: str, raw: bytes) -> None:
    """Put the pickle into that file of the checkpoint; weights become torch's, as old transformers saved them."""
    path = Path(run, f"checkpoint-{step}")
    if name.endswith("model.bin"):
        for old in path.glob("*model.safetensors"):
            old.unlink()
        repickle(path / name, raw, path / "optimizer.pt")
    else:
        repickle(path / name, raw)


@pytest.fixture(params=LOADED)
def refused(request: pytest.FixtureRequest, run_of: RunOf) -> str:
    """Two good ones, and the newest names random._os.system in a file that a resume loads."""
    run = run_of(THREE, LOADED[request.param])
    plant(run, 300, request.param, RANDOM_OS)
    return aged(run)


@pytest.mark.parametrize("level", LEVELS)
def test_pickle_that_names_random_os_system_is_refused_at_every_level_and_trust_lifts_it(
    refused: str, level: Level
) -> None:
    found = verdict(refused, 300, level)
    assert (found.state, found.refused) == ("intact", True), found.findings
    assert any("random._os.system" in f.message for f in found.findings)
    assert latest(refused, level=level).path == f"{refused}/checkpoint-200"
    assert not verdict(refused, 300, level, trust=("random._os.*",)).refused
    assert latest(refused, level=level, trust=("random._os.*",)).path == f"{refused}/checkpoint-300"


def test_pickle_that_names_random_os_system_is_handed_out_by_no_verb_and_verify_exits_4(refused: str) -> None:
    assert script("verify", refused).returncode == 4
    for level in LEVELS:
        done = script("latest", refused, "--level", level)
        assert done.stdout == f"{refused}/checkpoint-200\n" and "random._os.system" in done.stderr
    done = script("recover", refused, "--dry-run", "--keep-last", "3")
    assert done.stdout.splitlines()[-1] == f"{TYPED} {refused}/checkpoint-200"
    trusting = script("latest", refused, "--trust", "random._os.*")
    assert trusting.stdout == f"{refused}/checkpoint-300\n"


def test_pickle_that_names_random_os_system_is_never_deleted_for_it_and_the_older_good_one_stays(refused: str) -> None:
    done = script("prune", refused, "--keep-last", "1", "-y")
    assert done.returncode == 0 and names(refused) == ["checkpoint-200", "checkpoint-300"]


def test_pickle_that_names_random_os_system_in_training_args_is_told_and_the_checkpoint_stays_resumable(
    run_of: RunOf,
) -> None:
    run = run_of(TWO)
    plant(run, 200, "training_args.bin", RANDOM_OS)
    for level in ("full", "deep"):
        found = verdict(aged(run), 200, level)
        assert found.resumable and not found.refused
        assert [(f.file, f.code) for f in found.findings] == [("training_args.bin", "unsafe-pickle")]
    assert script("verify", run, "--level", "full").returncode == 0
    assert script("latest", run, "--level", "full").stdout == f"{run}/checkpoint-200\n"


def test_verify_counts_the_refused_ones_and_preflight_says_which_one_a_resume_skips_and_why(refused: str) -> None:
    assert (
        "3 of 3 checkpoints are intact at level quick; a resume refuses 1 of them" in script("verify", refused).stdout
    )
    page = script("preflight", refused, "--keep-last", "3").stdout
    assert "resumes from checkpoint-200; skipped: checkpoint-300 (refused: " in page


def test_with_nothing_but_a_refused_one_latest_names_the_flag_that_takes_it(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    plant(run, 100, "scheduler.pt", RANDOM_OS)
    done = script("latest", aged(run))
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "--trust" in done.stderr and not done.stdout
    with pytest.raises(NoIntactCheckpoint, match=r"random\._os\.system"):
        latest(run)


@pytest.mark.parametrize("how", ["flag", "file", "another package"])
def test_own_class_in_scheduler_pt_is_refused_until_its_package_is_trusted(run_of: RunOf, how: str) -> None:
    run = run_of(TWO)
    plant(run, 200, "scheduler.pt", MINE)
    assert script("verify", aged(run)).returncode == 4
    done = script("latest", run)
    assert done.stdout == f"{run}/checkpoint-100\n" and "pkg.mine.Schedule" in done.stderr
    if how == "file":
        Path(run, "ckptkit.toml").write_text('trust = ["pkg.*"]\n')
    words = {"flag": ("--trust", "pkg.*"), "file": (), "another package": ("--trust", "mine.*")}[how]
    lifted = how != "another package"
    assert script("latest", run, *words).stdout == f"{run}/checkpoint-{200 if lifted else 100}\n"
    assert script("verify", run, *words).returncode == (0 if lifted else 4)


# As Debian 12's Python 3.11.2 pickles a member of an Enum: getattr(Class, "NAME").
ENUMS = {
    "of transformers": (b"\x8c\x1etransformers.training_args", b"\x8c\x0eOptimizerNames", b"\x8c\x0bADAMW_TORCH"),
    "of trl": (b"\x8c\x17trl.trainer.dpo_config", b"\x8c\x15FDivergenceConstants", b"\x8c\x12ALPHA_DIVERGENCE_C"),
}


@pytest.mark.parametrize("whose", ENUMS)
@pytest.mark.parametrize("level", LEVELS)
def test_enum_pickled_as_python_3_11_2_does_in_training_args_leaves_it_resumable(
    run_of: RunOf, whose: str, level: Level
) -> None:
    module, name, member = ENUMS[whose]
    run = run_of(TWO)
    enum = b"\x8c\x08builtins\x8c\x07getattr\x93" + module + name + b"\x93" + member + b"\x86R"
    plant(run, 200, "training_args.bin", b"\x80\x04}\x8c\x05optim" + enum + b"s.")
    found = verdict(aged(run), 200, level)
    assert found.resumable and found.state == "intact" and not found.refused, found.findings
    assert script("latest", run, "--level", level).stdout == f"{run}/checkpoint-200\n"


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def diverged(run_of: RunOf) -> str:
    """Three with manifests that tell of their values; in the newest a weight became NaN."""
    from safetensors import numpy, safe_open

    run = run_of(THREE)
    file = f"{run}/checkpoint-300/adapter_model.safetensors"
    tensors, metadata = numpy.load_file(file), safe_open(file, "np").metadata()
    next(iter(tensors.values())).flat[0] = float("nan")
    numpy.save_file(tensors, file, metadata)
    assert script("verify", aged(run), "--write").returncode == 0
    return run


def test_weights_that_became_nan_are_skipped_by_every_verb_that_resumes_unless_it_is_told_to_take_them(
    diverged: str,
) -> None:
    for words, step in (((), 200), (("--allow-nonfinite",), 300)):
        assert script("latest", diverged, *words).stdout == f"{diverged}/checkpoint-{step}\n"
        done = script("recover", diverged, "--keep-last", "3", "--dry-run", *words)
        assert done.stdout.splitlines()[-1] == f"{TYPED} {diverged}/checkpoint-{step}"
        done = script("preflight", diverged, "--keep-last", "3", *words)
        assert f"resumes from checkpoint-{step}" in done.stdout
        assert ("skipped: checkpoint-300 (NaN or Inf in weights" in done.stdout) is (step == 200)


@pytest.mark.parametrize("before", ["intact", "corrupt"])
def test_who_reads_the_newest_whole_reads_back_to_finite_values_where_nobody_looked(diverged: str, before: str) -> None:
    for manifest in Path(diverged).glob("checkpoint-*/.ckptkit-manifest*"):
        manifest.unlink()
    if before == "corrupt":
        Path(diverged, "checkpoint-200/optimizer.pt").write_bytes(b"PK\3\4")
    step = 200 if before == "intact" else 100
    done = script("latest", aged(diverged), "--level", "full")
    assert done.stdout == f"{diverged}/checkpoint-{step}\n" and "NaN or Inf" in done.stderr
    done = script("recover", diverged, "--keep-last", "3", "--dry-run")
    assert done.stdout.splitlines()[-1] == f"{TYPED} {diverged}/checkpoint-{step}"
    done = script("latest", diverged, "--level", "full", "--allow-nonfinite")
    assert done.stdout == f"{diverged}/checkpoint-300\n"


def test_weights_that_became_nan_never_push_out_the_last_finite_one(diverged: str) -> None:
    done = script("prune", diverged, "--keep-last", "1", "-y")
    assert done.returncode == 0 and names(diverged) == ["checkpoint-200", "checkpoint-300"]
    assert "the last one with finite values" in done.stdout


# --- from Python ------------------------------------------------------------------------------------------------------

NONSENSE: dict[str, tuple[Callable[[str], object], str]] = {
    "Rules(Range(3, 1))": (lambda run: public.prune(run, public.Rules(public.Range(3, 1))), "low=3"),
    "Range(-1, -1)": (lambda run: public.prune(run, public.Rules(public.Range(-1, -1))), "low=-1"),
    "keep_within=-5": (lambda run: public.prune(run, public.Rules(None, keep_within=-5)), "keep_within=-5"),
    "keep_within=-5 by name": (lambda run: public.prune(run, keep_within=-5), "keep_within=-5"),
    "verify(level='bogus')": (lambda run: public.verify(run, level="bogus"), "level='bogus'"),  # type: ignore[arg-type]
    "latest(level='bogus')": (lambda run: public.latest(run, level="bogus"), "level='bogus'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_from_python_is_one_line_that_names_the_argument_and_deletes_nothing(run_of: RunOf, line: str) -> None:
    run = run_of(THREE)
    before = tree(run)
    call, named = NONSENSE[line]
    with pytest.raises(UsageError, match="must") as caught:
        call(run)
    assert named in str(caught.value) and "\n" not in str(caught.value) and tree(run) == before


def test_prune_quiet_true_never_deletes_the_save_in_progress(run_of: RunOf) -> None:
    run = run_of(TWO | {300: "young"})
    before = tree(run)
    with pytest.raises((TypeError, CkptkitError)):
        public.prune(run, quiet=True)  # type: ignore[call-arg]
    assert tree(run) == before
