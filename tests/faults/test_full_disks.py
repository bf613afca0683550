"""Full disks, for real: each kind of volume filled to its last byte or inode, with the log, TMPDIR, HOME and the state
on it too; prune and recover as cron calls them, the guard around a real Trainer (all of its rounds: see guarded.py).
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.replay.scenario import OTHER_USER
from tests.faults import volumes
from tests.faults.conftest import Tally
from tests.faults.mutants import broken
from tests.faults.volumes import Kind
from tests.support.bare import bare
from tests.support.runs import make_run, names
from tests.support.typed import Mount

CHECKOUT = Path(__file__).resolve().parent.parent.parent
BIN = CHECKOUT / "bin"
SLACK = 128 * 1024  # the directories that went, and metadata
pytestmark = pytest.mark.mounts


@pytest.fixture
def folder() -> Iterator[str]:
    """Where another user gets in, as pytest's own folders do not let him."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield path


@pytest.fixture
def volume(request: pytest.FixtureRequest, folder: str, mount: Mount) -> str:
    return volumes.mounted(request.param, mount, folder)


def some_run(real: str, volume: str, rng: random.Random) -> tuple[str, dict[int, str]]:
    """Two to six checkpoints, at least one of them intact, of any kind; returns its path and their states."""
    states = {100 * n: rng.choice(("intact", "intact", "torn", "corrupt")) for n in range(1, rng.randrange(3, 8))}
    states[rng.choice(list(states))] = "intact"
    return make_run(real, os.path.join(volume, "run"), states, rng.choice(("lora", "full", "bf16"))), states


def newest(states: dict[int, str], count: int) -> list[str]:
    return [f"checkpoint-{step}" for step in sorted(s for s in states if states[s] == "intact")[-count:]]


def what_runs_out(kind: Kind, rng: random.Random) -> Any:
    """Root's own rounds on a reserve that root ate: what a deletion gives back refills it first."""
    return rng.choice(("bytes", *(("inodes",) if kind.inodes else ()), *(("reserve",) if kind.user else ())))


def called(
    volume: str, user: bool, verb: str, run: str, program: list[str] | None = None, **environment: Any
) -> subprocess.CompletedProcess[str]:
    """The verb, its messages in a log on the volume, its document to us."""
    environment = {"CKPTKIT_PYTHON": sys.executable} | environment
    command = [*(("setpriv", *OTHER_USER) if user else ()), *(program or [str(BIN / verb)]), run, "-y", "--json"]
    if verb == "prune":
        command += ["--log-to", f"{volume}/ckptkit.log"]
    with open(f"{volume}/cron.log", "ab") as log:
        # Not under `bare` for `out`: stderr alone goes to the volume, so that the document is ours to judge.
        wrapped = ["sh", "-c", 'exec "$@" 2>>"$0"', log.name, *command]
        return bare(volume, *wrapped, **environment)


def sweep(
    real: str,
    volume: str,
    kind: Kind,
    rng: random.Random,
    verb: str,
    program: list[str] | None = None,
    **environment: Any,
) -> Iterator[str]:
    """One round of prune or recover; yields what it broke."""
    run, states = some_run(real, volume, rng)
    for name in ("cron.log", "ckptkit.log"):  # they are there already, empty: the first line takes the block
        Path(volume, name).touch(mode=0o666)
        os.chmod(Path(volume, name), 0o666)
    if kind.user:
        subprocess.run(["chown", "-R", "65534", run], check=True)
    what = what_runs_out(kind, rng)
    volumes.fill(volume, what, rng)
    if not volumes.is_full(volume, what):
        yield f"{what} did not run out: nothing was tried"
    before, beside = volumes.free(volume), volumes.written(volume, run)
    done = called(volume, kind.user, verb, run, program, **environment)
    said = f"{done.stdout[-800:]} {Path(volume, 'cron.log').read_text()[-800:]}"
    told = f"{verb} of {states} without {what}: exit {done.returncode}, {said}"
    if "Traceback" in told:
        yield told
    if names(run) != newest(states, 2):
        yield f"left {names(run)}; {told}"
    document = json.loads(done.stdout or "{}")
    if "error" in document or not document:
        yield told
        return
    pruned = document["runs"][0] if verb == "prune" else document["pruned"]
    gained = volumes.free(volume) - before + volumes.written(volume, run) - beside
    yield from (f"{fault}; {told}" for fault in account(pruned, gained))
    yield from (f"{fault}; {told}" for fault in EXIT[verb](document, done.returncode, run, newest(states, 1)))


def account(pruned: Any, gained: int) -> Iterator[str]:
    """What it says that it freed against what the volume has."""
    expected = pruned["expected_freed_bytes"]
    if pruned["freed_bytes"] > gained + SLACK:
        yield f"says {pruned['freed_bytes']} bytes freed, the volume gained {gained}"
    if pruned["freed_bytes"] < 0.9 * expected and not pruned["notes"]:
        yield f"freed {pruned['freed_bytes']} of {expected} bytes without a word"
    if pruned["failures"]:
        yield f"failed: {pruned['failures']}"


def pruned_exit(document: dict[str, Any], code: int, run: str, newest: Any) -> Iterator[str]:
    if code:
        yield f"exit {code}"


def recovered_exit(document: dict[str, Any], code: int, run: str, newest: Any) -> Iterator[str]:
    """4 where something stands against a start, as a volume that its neighbour filled; the line all the same."""
    if code != (4 if any(check["state"] == "no-go" for check in document["checks"]) else 0):
        yield f"exit {code}"
    if document["resume"] != f"python YOUR_SCRIPT.py --resume_from_checkpoint {run}/{newest[0]}":
        yield f"resumes by {document['resume']!r}"


EXIT = {"prune": pruned_exit, "recover": recovered_exit}


def guarded(volume: str, kind: Kind, seeds: list[str]) -> Iterator[tuple[str, str]]:
    """Rounds of the guard, each with a real Trainer; as the user in a process of his own. Yields (seed, fault)."""
    if not kind.user:
        from tests.faults.guarded import guarded_round

        for seed in seeds:
            yield from ((seed, fault) for fault in guarded_round(volume, random.Random(seed), kind.inodes))
        return
    command = ["setpriv", *OTHER_USER, sys.executable, "-m", "tests.faults.guarded", volume, *seeds]
    done = bare(volume, "env", "-C", CHECKOUT, *command, PYTHONPATH=CHECKOUT, PYTHONDONTWRITEBYTECODE="1")
    if done.returncode or len(done.stdout.splitlines()) != len(seeds):
        yield seeds[0], f"the training process ended with {done.returncode}: {done.stderr[-2000:]}"
    for seed, line in zip(seeds, done.stdout.splitlines(), strict=False):
        yield from ((seed, fault) for fault in json.loads(line))


@pytest.mark.slow
@pytest.mark.parametrize("name, volume", [(name, name) for name in volumes.KINDS], indirect=["volume"])
def test_prune_recover_and_the_guard_succeed_on_a_full(
    name: Any, volume: str, real: str, tally: Tally, exhaustive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, what = volumes.KINDS[name], f"full disks: {name}"
    seeds = [f"{name} {number}" for number in range(50 if exhaustive else 3)]
    by_guard = seeds[::3] if exhaustive else seeds[:1]
    for seed in seeds:
        if seed not in by_guard:
            verb = ("prune", "recover")[seeds.index(seed) % 2]
            for fault in sweep(real, volume, kind, random.Random(seed), verb):
                tally.violation(what, f"seed {seed!r}: {fault}")
            tally.ran(what)
            volumes.empty(volume)
    for variable in ("HOME", "TMPDIR", "CKPTKIT_STATE"):
        monkeypatch.setenv(variable, volume)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for seed, fault in guarded(volume, kind, by_guard):
        tally.violation(what, f"seed {seed!r}: {fault}")
    tally.ran(what, len(by_guard))


CREATES = (
    "delete/checkpoint.py",
    "    aside = _free_aside_name(run_fd, checkpoint.name)\n",
    "    aside = _free_aside_name(run_fd, checkpoint.name); os.mkdir('.trash', dir_fd=run_fd)\n",
)


@pytest.mark.parametrize("volume", ["tmpfs"], indirect=True)
def test_a_prune_that_creates_something_first_goes_red(volume: str, real: str, tmp_path: Path) -> None:
    path = broken(tmp_path, *CREATES)
    rng = random.Random("creates")
    program = ["env", "-C", "/", sys.executable, "-m", "ckptkit", "prune"]
    for _ in range(20):
        faults = list(sweep(real, volume, volumes.KINDS["tmpfs"], rng, "prune", program, PYTHONPATH=path))
        volumes.empty(volume)
        if faults:
            return
    pytest.fail("the suite did not notice")
