"""Each errno, by each call that a save, its admission, its follow-up and its pruning make: training goes on.

A real file system in FUSE (failing_disk.py) answers the call itself, so nothing of Python, torch or Rust is patched.
Where it is refused is drawn from all places at which a good training calls it. `--exhaustive` takes each errno once and
for ever by each call; else another sample is drawn in each run. A failure tells the seed: CKPTKIT_SEED=that does the
same again.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.faults.disk_under_test import CHECKOUT, NOT_BY_FUSE, Disk, Place, Refusal, failing_disk
from tests.faults.failing_disk import ARRIVES
from tests.faults.save_trials import KINDS, SAVES, Ended, Known, broken, faults, known
from tests.support.typed import Mount

SEED = os.environ.get("CKPTKIT_SEED") or os.urandom(4).hex()
ERRNOS = range(1, 134)
EVER = ("for ever", "everywhere")

# What the kernel itself would answer a program: injected by strace into the calls on one file.
TRACED = [
    ("openat", "ENOSYS", "trainer_state.json"),
    ("openat", "EOWNERDEAD", "rng_state.pth"),
    ("close", "ENOSYS", "rng_state.pth"),
    ("close", "EIO", "training_args.bin"),
    ("close", "EDQUOT", "tokenizer.json"),
    ("fsync", "ENOSYS", "optimizer.pt"),
    ("fsync", "ENOLINK", "scheduler.pt"),
    ("write", "ETIMEDOUT", "optimizer.pt"),
    ("write", "ESHUTDOWN", "training_args.bin"),
]

pytestmark = pytest.mark.mounts


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """A disk that can be told what to refuse. The module's: each trial has a run of its own."""
    with failing_disk(str(tmp_path_factory.mktemp("failing"))) as disk:
        yield disk


@pytest.fixture(scope="module")
def trainings(disk: Disk, tmp_path_factory: pytest.TempPathFactory, exhaustive: bool) -> list[Known]:
    """What is right, for each kind of training, or for one of them."""
    kinds = KINDS if exhaustive else random.Random(SEED).sample(KINDS, 1)
    folder = tmp_path_factory.mktemp("right")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CKPTKIT_STATE", str(folder / "state"))
        return [known(disk, str(folder), kind) for kind in kinds]


def codes(call: str) -> list[int]:
    """Each errno that the disk can answer that call with."""
    return [code for code in ERRNOS if call not in NOT_BY_FUSE.get(code, ())]


def refusals(
    call: str, trainings: list[Known], rng: random.Random, exhaustive: bool
) -> Iterator[tuple[Known, Refusal]]:
    """(what is right, refusal) of each trial by that call."""
    places = [(right, place) for right in trainings for place in right.places[call]]
    rng.shuffle(places)
    chosen = codes(call) if exhaustive else [rng.choice(codes(call))]
    for number, (code, how) in enumerate((code, how) for code in chosen for how in ("once", rng.choice(EVER))):
        right, place = places[number % len(places)]
        if code != errno.EINTR or how == "once":  # for ever, a program may ask for ever
            yield right, Refusal(place, rng.randrange(place.times), code, how)


@pytest.mark.parametrize("call", ARRIVES)
def test_a_refused_call_costs_no_training_and_no_save_without_a_word(
    call: str, disk: Disk, trainings: list[Known], tally: Tally, exhaustive: bool
) -> None:
    chosen = refusals(call, trainings, random.Random(f"{SEED} {call}"), exhaustive)
    for number, (right, refusal) in enumerate(chosen):
        for fault in broken(disk, f"{call}{number}", refusal, right):
            tally.violation(f"a save's {call}", f"{refusal}, {right.kind}, seed {SEED}: {fault}")
        tally.ran(f"a save's {call}")


def asking(call: str, path: str, fd: int) -> Callable[[], object]:
    """A program's call, on a file or a directory that it has open."""
    calls: dict[str, Callable[[], object]] = {
        "mkdir": partial(os.mkdir, f"{path}/made"),
        "open": partial(os.open, f"{path}/file", os.O_RDONLY),
        "write": partial(os.write, fd, b"written"),
        "ftruncate": partial(os.ftruncate, fd, 5),
        "fsync": partial(os.fsync, fd),
        "close": partial(os.close, fd),
        "rename": partial(os.rename, f"{path}/file", f"{path}/renamed"),
        "unlink": partial(os.unlink, f"{path}/file"),
        "rmdir": partial(os.rmdir, path),
        "statvfs": partial(os.statvfs, path),
    }
    return calls[call]


@pytest.mark.parametrize("call", [call for call in ARRIVES if call not in ("getdents", "stat")])
def test_the_errno_of_the_disk_is_what_a_program_sees(call: str, disk: Disk) -> None:
    """Else the trials would be of something else. EINTR is left out: Python asks again by itself."""
    for code in (code for code in codes(call) if code != errno.EINTR):
        path = f"{disk.mount}/{call}-{code}"
        os.mkdir(path)
        fd = os.open(f"{path}/file", os.O_CREAT | os.O_RDWR)
        disk.be(Refusal(Place(call, "", 1), 0, code, "once").fault(".*"))
        with pytest.raises(OSError) as raised:
            asking(call, path, fd)()
        disk.be()
        assert raised.value.errno == code
        if call != "close":
            os.close(fd)
        shutil.rmtree(path)


def traced(run: str, kind: str, call: str, error: str, path: str, ever: bool) -> subprocess.CompletedProcess[str]:
    """A training in a process of its own under strace, which refuses that call on one file of its second save."""
    inject = f"inject={call}:error={error}:when=1{'+' if ever else ''}"
    strace = ["strace", "-f", "--seccomp-bpf", "-o", f"{run}.log", "-P", f"{run}/checkpoint-{SAVES[1]}/{path}"]
    alone = [sys.executable, "-m", "tests.faults.saving_alone", run, run, kind, "nothing"]
    words = [*strace, "-e", f"trace={call}", "-e", inject, *alone]
    return subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_the_kernels_own_answers_are_no_other(
    trainings: list[Known], mount: Mount, tally: Tally, exhaustive: bool
) -> None:
    """By strace: what FUSE can't say (ENOSYS), what it says in another way (close), and some of the rest."""
    rng, volume, right = random.Random(f"{SEED} strace"), mount("tmpfs", "size=64m"), trainings[0]
    every = [(*one, ever) for one in TRACED for ever in (False, True)]
    for number, (call, error, path, ever) in enumerate(every if exhaustive else rng.sample(every, 1)):
        run = f"{volume}/run{number}"
        done = traced(run, right.kind, call, error, path, ever)
        what = f"{call} of {path}: {error} {'for ever' if ever else 'once'}, seed {SEED}"
        lines = done.stdout.splitlines()
        if "INJECTED" not in Path(f"{run}.log").read_text():
            tally.violation("a save under strace", f"{what}: the trial itself failed")
        elif done.returncode or lines[-1:] != ["exits"]:
            tally.violation("a save under strace", f"{what}: exit {done.returncode}, {done.stderr[-1000:]}")
        else:
            for fault in faults(Ended.parsed(lines[-2]), run, right, recovers=True):
                tally.violation("a save under strace", f"{what}: {fault}")
        tally.ran("a save under strace")
