"""What the layout does not ask for decides nothing: no bystander changes a verdict, a plan or `latest`."""

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.ops.latest import latest
from ckptkit.ops.read import plan as ops_plan
from ckptkit.ops.read import verify
from ckptkit.ops.verify import write_manifest
from ckptkit.policy.rules import Range, Rules
from tests.faults.trials import SEED
from tests.fuzz.harness import MEMORY
from tests.support import random_trees
from tests.support.runs import make_run, set_age, somebody_else

KINDS = ("lora", "full")
RESUMABLE = ("lora", "full", "sharded", "ranks")
EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
THREE = {100: "intact", 200: "intact", 300: "intact"}  # the plan that keeps one has something to delete


# --- what is said of a run --------------------------------------------------------------------------------------------


def said(run: str, now: float) -> list[object]:
    """Verdicts at two levels, the plan that keeps one, and what a resume takes."""
    verdicts = [
        [(j.checkpoint.name, j.verdict.state, j.verdict.resumable, j.verdict.weights_intact, j.verdict.refused)
         for j in verify(run, level=level, now=now)]
        for level in ("quick", "full")
    ]  # fmt: skip
    plan = ops_plan(run, Rules(keep_last=Range(1, 1)), now=now)
    decisions = [(d.checkpoint.name, d.action, d.reasons) for d in plan.decisions]
    return [*verdicts, decisions, _latest(run, now, False), _latest(run, now, True)]


def _latest(run: str, now: float, weights_only_ok: bool) -> str | None:
    try:
        return os.path.basename(latest(run, now=now, weights_only_ok=weights_only_ok).path)
    except NoIntactCheckpoint:
        return None


@pytest.fixture
def a_run(real: str, tmp_path: Path) -> Callable[..., str]:
    """a_run("lora") makes some of a kind, an hour old. "ranks": of two ranks, each with random states of its own."""

    def make(kind: str, states: dict[int, str] = THREE) -> str:
        run = make_run(real, str(tmp_path / kind), states, "lora" if kind == "ranks" else kind)
        for checkpoint in Path(run).iterdir() if kind == "ranks" else ():
            shutil.copy2(checkpoint / "rng_state.pth", checkpoint / "rng_state_1.pth")
            (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
        return run

    return make


# --- by name ----------------------------------------------------------------------------------------------------------


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ema/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("ema/version", b"3\n")


def one_tensor(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\1" * 8)


def link(target: str) -> Callable[[Any], Any]:
    return lambda path: path.symlink_to(target)


def node(kind: int) -> Callable[[Any], None]:
    return lambda path: os.mknod(path, 0o600 | kind)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "optimizer.pt").write_bytes(b"x")
    (path / "model.safetensors").write_bytes(b"")


def plain_files(checkpoint: Path) -> list[Path]:
    """Copied alone: a link to a device has no end."""
    return [path for path in checkpoint.iterdir() if path.is_file() and not path.is_symlink()]


def cut_copies(path: Path) -> None:
    """A person's copy of the files of this checkpoint that ran out of room."""
    path.mkdir()
    for file in plain_files(path.parent):
        (path / file.name).write_bytes(file.read_bytes()[:-7])


def whole_checkpoint(path: Path) -> None:
    """An older checkpoint, moved into this one by mistake; the state is of another step."""
    path.mkdir()
    for file in plain_files(path.parent):
        shutil.copy2(file, path)
    (path / "trainer_state.json").write_text('{"global_step": 50}')


def stranger(path: Path) -> None:
    """Weights and random states of DeepSpeed and FSDP, with all of their signs."""
    for name in (
        "global_step5/mp_rank_00_model_states.pt",
        "pytorch_model_fsdp_0/__0_0.distcp",
        "optimizer_0/a.distcp",
    ):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_bytes(b"x")
    path.write_text("global_step5")


def words(path: Path) -> None:
    path.mkdir()
    (path / "run-1").mkdir()
    (path / "run-1" / "wandb-summary.json").write_bytes(b"")
    (path / "latest-run").symlink_to("run-1")


NAMED: dict[str, bytes | Callable[[Path], object]] = {
    # what people and tools leave there
    "best_metric.json": b"0.93\n",
    "note.json": b"null",
    "empty.json": b"",
    "bom.json": b"\xef\xbb\xbf{}",
    "comment.json": b"// mine\n{}",
    "wandb/run-1/wandb-summary.json": b"",
    "._config.json": b"\0\5\x16\7",
    "._adapter_model.safetensors": b"\0\5\x16\7",
    "._optimizer.pt": b"\0\5\x16\7",
    "feat.safetensors": one_tensor,
    "cache/emb.safetensors": b"x" * 9,
    "backup/optimizer.pt": b"x",
    "ema.pt": zipped,
    "value_head.bin": zipped,
    "language_model/5gram.bin": b"\\data\\\n",
    "1_Pooling/config.json": b"",
    "last.ckpt": zipped,
    "latest": b"checkpoint-1\n",
    "wandb/latest-run": link("run-1"),
    # odd entries
    "dangling": link("nowhere"),
    "adapter_model.safetensors.link": link("adapter_model.safetensors"),
    "round": link("round"),
    "here": link("."),
    "device": link("/dev/null"),
    "fifo.pt": node(stat.S_IFIFO),
    "logs/fifo.json": node(stat.S_IFIFO),
    "socket.safetensors": node(stat.S_IFSOCK),
    # directories
    "optimizer.pt.bak": folder,
    "backup": cut_copies,
    "checkpoint-50": whole_checkpoint,
    "wandb": words,
    ".git/HEAD": b"ref: refs/heads/main\n",
    ".git/objects/pack/pack-1.pack": b"PACK",
    "mine/adapter_config.json": b"null",
    "mine/adapter_model.safetensors": b"garbage",
    # names like those of the layout
    "optimizer.pt.bak/optimizer.pt": b"",
    "optimizer.pt~": b"",
    "OPTIMIZER.PT": b"x",
    "rng_state_07.pth": b"x",
    "model-00001-of-00009.safetensors": b"x",
    "trainer_state.json.tmp": b"{",
    "training_args.bin.old": b"x",
}  # fmt: skip


def put(checkpoint: Path, name: str, content: bytes | Callable[[Path], object]) -> None:
    path = checkpoint / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else content(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMED)
def test_bystander_changes_nothing(a_run: Callable[..., str], kind: str, name: str) -> None:
    run, now = a_run(kind), time.time()
    before = said(run, now)
    put(Path(run, "checkpoint-300"), name, NAMED[name])
    assert said(run, now) == before
    set_age(run, now, 3600)
    assert said(run, now) == before


# Weights of another kind of model: not what a resume of this kind asks for.
OTHERS_WEIGHTS = [
    ("lora", "model.safetensors"),
    ("lora", "pytorch_model.bin"),
    ("lora", "config.json"),
    ("full", "adapter_model.safetensors"),
    ("full", "pytorch_model.bin"),
    ("full", "pytorch_model.bin.index.json"),
]


@pytest.mark.parametrize("kind, name", OTHERS_WEIGHTS)
@pytest.mark.parametrize("content", [b"", b"garbage", one_tensor], ids=["empty", "garbage", "whole"])
def test_weights_of_another_kind_change_nothing(
    a_run: Callable[..., str], kind: str, name: str, content: bytes | Callable[[Any], None]
) -> None:
    run, now = a_run(kind), time.time()
    before = said(run, now)
    put(Path(run, "checkpoint-300"), name, content)
    assert said(run, now) == before


@pytest.mark.parametrize("kind", RESUMABLE)
def test_all_signs_of_another_framework_change_nothing_beside_what_the_trainer_alone_resumes_from(
    a_run: Callable[..., str], kind: str
) -> None:
    run, now = a_run(kind), time.time()
    before = said(run, now)
    put(Path(run, "checkpoint-300"), "latest", stranger)
    assert said(run, now) == before


@pytest.mark.parametrize("kind", ["ranks", "only"])
@pytest.mark.parametrize("name", ["rng_state_07.pth", "rng_state_00.pth", "RNG_STATE_7.pth", "backup/rng_state_7.pth"])
def test_a_number_that_the_trainer_does_not_write_is_no_rank(a_run: Callable[..., str], kind: str, name: str) -> None:
    run, now = a_run(kind), time.time()
    before = said(run, now)
    put(Path(run, "checkpoint-300"), name, b"x")
    assert said(run, now) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_that_nobody_may_list_changes_nothing(a_run: Callable[..., str], kind: str, tmp_path: Path) -> None:
    run, now = a_run(kind), time.time()
    subprocess.run(["chmod", "-R", "a+rX", run], check=True)
    before = said(run, now)
    put(Path(run, "checkpoint-300"), "private/adapter_model.safetensors", b"x")
    os.chmod(f"{run}/checkpoint-300/private", 0)
    with somebody_else(Path(run), os.geteuid() == 0):
        assert said(run, now) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_makes_no_bystander_count(a_run: Callable[..., str], kind: str) -> None:
    run, now = a_run(kind), time.time()
    assert all(write_manifest(judged) for judged in verify(run, level="full"))
    before = said(run, now)
    for name in NAMED:
        if not os.path.lexists(f"{run}/checkpoint-300/{name}"):
            put(Path(run, "checkpoint-300"), name, NAMED[name])
    assert said(run, now) == before


# --- a hundred thousand -----------------------------------------------------------------------------------------------

MANY = 100_000
MOST_OF_THE_PEAK = 6  # times what it takes without them: a name and five numbers a file, and no file opened


def peak(run: str, *words: Any) -> tuple[int, Any]:
    """Peak memory in KiB of a command on the run, and what it said."""
    code = "import resource, subprocess, sys\ncode = subprocess.run([sys.executable, '-m', 'ckptkit', *sys.argv[1:]])"
    code += ".returncode\nprint(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    command = [sys.executable, "-c", code, words[0], run, *words[1:], "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]), json.loads(done.stdout)


def told(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Verdicts or decisions, whichever the document has."""
    if "checkpoints" in document:
        return [(c["name"], c["verdict"], c["resumable"]) for c in document["checkpoints"]]
    return [(d["name"], d["action"]) for run in document["runs"] for d in run["decisions"]]


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where the system has such: a disk takes a quarter of a minute to make so many files."""
    with tempfile.TemporaryDirectory(dir=MEMORY or tmp_path) as folder:
        yield Path(folder)


def test_100000_bystanders_change_nothing_and_take_little_memory(real: str, in_memory: Path) -> None:
    run = make_run(real, f"{in_memory}/lora", THREE)
    commands = [("verify", "--level", "full"), ("prune", "--keep-last", "1", "--dry-run", "-y")]
    before = [peak(run, *words) for words in commands]
    for number in range(MANY):
        folder = f"{run}/checkpoint-300/cache-{number // 1000 * 1000}"
        if number % 1000 == 0:
            os.mkdir(folder)
        os.mknod(f"{folder}/optimizer.pt.{number}", 0o600 | stat.S_IFREG)
    set_age(run, time.time(), 3600)
    after = [peak(run, *words) for words in commands]
    assert [told(document) for _, document in after] == [told(document) for _, document in before]
    ratios = [more / less for (more, _), (less, _) in zip(after, before, strict=True)]
    assert max(ratios) < MOST_OF_THE_PEAK, ratios


# --- drawn at random --------------------------------------------------------------------------------------------------

TREES = 500
MUTATED = range(0, TREES, 2)  # trees whose names are made of the layout's own


def sample(kind: str) -> Sequence[int]:
    """The numbers of the trees for a kind of checkpoint: all of them, or a few, others for each kind."""
    return range(TREES) if EXHAUSTIVE else sorted(random.Random(f"{SEED}/{kind}").sample(range(TREES), 24))


@pytest.mark.parametrize("kind", [*RESUMABLE, "only"])
def test_random_trees_change_nothing(a_run: Callable[..., str], kind: str, real: str, tmp_path: Path) -> None:
    run, now = a_run(kind, {200: "intact", 300: "intact"}), time.time()
    originals = [path.read_bytes() for path in sorted(Path(real).glob("*/checkpoint-100/*"))]
    newest = Path(run, "checkpoint-300")
    whole = shutil.copytree(newest, tmp_path / "whole")
    before, changed = said(run, now), {}
    numbers = sample(kind)
    for number in numbers:
        tree = random_trees.tree(f"{SEED}/{number}", number in MUTATED, originals)
        random_trees.lay(tree, newest, now)
        if (after := said(run, now)) != before:
            changed[number] = ([(entry.name, entry.content) for entry in tree], after)
        shutil.rmtree(newest)
        shutil.copytree(whole, newest)
    assert changed == {}, f"{len(changed)} of {len(numbers)} trees, CKPTKIT_SEED={SEED}: {changed}"
