"""The same training, on volumes of its own, with the guard and without: in nothing is the guarded one worse.

Run as a script, as root: python -m tests.faults.never_worse [--json] SEED... plays the scenario of each seed and tells
what the guard broke in it; the exit code is 1 if anything. One process imports torch, each training is forked from it.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guard"))  # watch.py

from watch import Watch

from ckptkit.errors import NoSuchRun
from ckptkit.model.checkpoint import SAVING
from ckptkit.ops.read import judge, scan
from tests.faults.disturbed import Life
from tests.faults.scenarios import IN_A_SAVE, Scenario, described, draw, inherited

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CLONE_NEWNS = 0x20000
SILENCE_SECONDS = 240  # of a training of which a step takes milliseconds: above all that any wait in it may take
SCRATCH_BYTES = 1 << 30
EARLIER_SECONDS = 3600.0


class Lived(NamedTuple):
    """What one process told: the highest step, {step: loss}, events seen, the guard's words, how it ended."""

    steps: int
    losses: dict[int, float]
    did: frozenset[int]
    told: list[str]
    error: str
    killed: bool


class Outcome(NamedTuple):
    """What one training came to.

    newest, count: of the resumable checkpoints (of the intact ones, where the Trainer saves models only), 0 if there
    is none. peak: the most checkpoints at any instant; before: how many were there when it began. names: all that was
    in the run at the end. marked: the highest step whose save is under way for all that the guard's mark says.
    """

    steps: int
    newest: int
    count: int  # type: ignore[assignment]
    peak: int
    before: int
    error: str
    losses: tuple[dict[int, float], ...]
    names: list[str]
    told: list[str]
    marked: int = 0


# --- what must hold --------------------------------------------------------------------------------------------------


def worse(scenario: Scenario, plain: Outcome, guarded: Outcome) -> Iterator[str]:
    """Each promise that the guarded training broke."""
    if guarded.steps < min(plain.steps, scenario.max_steps):
        yield f"{guarded.steps} steps were done, {plain.steps} without the guard"
    if guarded.error and not _nothing_to_resume(scenario, guarded):
        yield f"the training died: {guarded.error}"
    if guarded.newest < _newest(scenario, plain) and not _ended_with_best(scenario, plain, guarded):
        yield f"the newest resumable step is {guarded.newest}, {plain.newest} without the guard"
    alike = not _went_astray(scenario, plain)
    if alike and guarded.count < min(plain.count - scenario.eaten, scenario.keep_last - 1):
        yield f"{guarded.count} intact resumable ones are left, {plain.count} without the guard"
    if guarded.peak > max(scenario.announced, guarded.before):
        yield f"{guarded.peak} checkpoints were on disk at once, {scenario.announced} are announced"
    yield from _other_losses(scenario, plain, guarded)


def _newest(scenario: Scenario, plain: Outcome) -> int:
    """The step that the guarded one must come to. Of one that the plain one never reached, an earlier training's, some
    intact one must be left; what nobody can judge is written over once a training comes to that step.
    """
    if plain.newest > plain.steps:
        return 1 if scenario.judged else 0
    return min(plain.newest, _written_over_from(scenario, plain))


def _written_over_from(scenario: Scenario, plain: Outcome) -> int:
    """The last step with room of its own, where the plain one wrote its newest over an earlier training's of that name.

    That took no room on the volume that a neighbour had filled. The guard had deleted the earlier one, so it lay in
    what the neighbour took: he fills to a rest, and takes more where more is free.
    """
    fills: list[int] = []
    for event in scenario.events:  # in the order of their steps; what he took may come back before the newest
        if event.step <= plain.newest:
            fills = [] if event.rest is None else [*fills, event.step - (event.moment in IN_A_SAVE)]
    if not fills or plain.newest > scenario.earlier:
        return plain.newest
    return max(1, min(fills) // scenario.save_steps * scenario.save_steps)


def _went_astray(scenario: Scenario, outcome: Outcome) -> bool:
    """Whether it was killed, and went on from what the training before it had left, past steps that it never did.

    Then it met other events than it would have, and counts that one's checkpoints as its own.
    """
    first = min((step for life in outcome.losses[1:] for step in life), default=0)
    return scenario.kill is not None and first > scenario.kill.step + 1


def _ended_with_best(scenario: Scenario, plain: Outcome, guarded: Outcome) -> bool:
    """Whether the Trainer deleted all but the best, as it does at an end with limit 1, which it did not reach alone."""
    rotates_itself = not scenario.judged and scenario.best and scenario.keep_last == 1
    return bool(rotates_itself and plain.error and not guarded.error)


def _nothing_to_resume(scenario: Scenario, guarded: Outcome) -> bool:
    """Whether it died at once when it was started again, and had to: nothing whole is there to go on from.

    Where nobody can judge, the Trainer's own way holds: it takes the highest number, whole or not. But none that the
    guard's mark calls a mix of an older one and a save over it that broke off.
    """
    if len(guarded.losses) < 2 or guarded.losses[1]:
        return False
    steps = [int(name.removeprefix("checkpoint-")) for name in guarded.names if name.startswith("checkpoint-")]
    newest = max(steps, default=1)
    return guarded.newest == 0 if scenario.judged else guarded.newest < newest or guarded.marked == newest


def _other_losses(scenario: Scenario, plain: Outcome, guarded: Outcome) -> Iterator[str]:
    """To the last digit; after a kill too, but where models alone are saved: that resume begins a new optimizer."""
    lives = 1 if scenario.only_model else 2
    for one, other in zip(plain.losses[:lives], guarded.losses[:lives], strict=False):
        if odd := [step for step in one.keys() & other.keys() if one[step] != other[step]]:
            step = min(odd)
            yield f"the loss of step {step} is {other[step]!r}, {one[step]!r} without the guard"


# --- one scenario ----------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """A scenario, what it came to without the guard and with it, and what was worse."""

    scenario: Scenario
    plain: Outcome
    guarded: Outcome
    faults: list[str]


def play(scenario: Scenario, scratch: str) -> Played:
    """Both trainings, one after the other."""
    size = checkpoint_bytes(scenario.kind, scenario.only_model, scenario.ranks, scratch)
    template = earlier_run(scenario, scratch) if scenario.earlier else None
    plain = training(scenario, scratch, size, template, guarded=False)
    guarded = training(scenario, scratch, size, template, guarded=True)
    return Played(scenario, plain, guarded, list(worse(scenario, plain, guarded)))


@lru_cache
def checkpoint_bytes(kind: str, only_model: bool, ranks: int, scratch: str) -> int:
    """What such a checkpoint takes: of a real one."""
    scenario = draw(0)._replace(kind=kind, only_model=only_model, ranks=ranks, best="", save_steps=2, max_steps=2)
    run = _trained(scenario, os.path.join(scratch, "size"), 2)
    (checkpoint,) = scan(run).checkpoints
    shutil.rmtree(run)
    return checkpoint.allocated_bytes


def earlier_run(scenario: Scenario, scratch: str) -> str:
    """A run of the same settings, ended at some step an hour ago, of which the volume holds the newest checkpoints."""
    run = _trained(scenario, os.path.join(scratch, "earlier"), scenario.earlier)
    wanted = [f"checkpoint-{step}" for step in inherited(scenario)]
    for checkpoint in scan(run).checkpoints:
        if checkpoint.name not in wanted:
            shutil.rmtree(checkpoint.path)
    for path in [Path(run), *Path(run).rglob("*")]:
        moment = path.stat().st_mtime - EARLIER_SECONDS
        os.utime(path, (moment, moment))
    return run


def _trained(scenario: Scenario, run: str, stop_at: int) -> str:
    from tests.faults.disturbed import Life

    shutil.rmtree(run, ignore_errors=True)
    os.makedirs(run)
    scenario = scenario._replace(events=(), kill=None)
    lived = launched(Life(scenario, run, guarded=False, size=0, stop_at=stop_at))
    assert not lived.error, lived.error
    return run


def training(scenario: Scenario, scratch: str, size: int, template: str | None, guarded: bool) -> Outcome:
    """On a volume of its own; killed and started again if the scenario says so."""
    from tests.faults.disturbed import Life

    volume = tempfile.mkdtemp(dir=scratch)
    mount(volume, int(scenario.room * size))
    run = os.path.join(volume, "run")
    os.mkdir(run)
    if template:
        shutil.copytree(template, run, dirs_exist_ok=True)
    watch = Watch(run)
    before = watch.peak
    life = Life(scenario, run, guarded, size, kill=scenario.kill is not None)
    lives = [launched(life)]
    if lives[0].killed:
        lives.append(launched(life._replace(resume=True, done=lives[0].did, kill=False)))
    whole = resumable(scenario, run)
    outcome = Outcome(
        steps=max(lived.steps for lived in lives),
        newest=max(whole, default=0),
        count=len(whole),
        peak=watch.peak,
        before=before,
        error=lives[-1].error,
        losses=tuple(lived.losses for lived in lives),
        names=sorted(os.listdir(run)),
        told=[line for lived in lives for line in lived.told],
        marked=max((int(mark.parent.name[11:]) for mark in Path(run).glob(f"checkpoint-*/{SAVING}")), default=0),
    )
    watch.close()
    subprocess.run(["umount", "-l", volume], check=True)
    return outcome


def mount(volume: str, size: int) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", volume], check=True)


def resumable(scenario: Scenario, run: str) -> list[int]:
    """The steps of the checkpoints that are whole: to ckptkit, or by the files that their own writer writes."""
    try:
        judged = judge(scan(run), level="full", quiet=0)
    except NoSuchRun:
        return []
    if not scenario.judged:
        return [j.checkpoint.step for j in judged if _has_all_shards(j.checkpoint.path)]
    verdicts = {j.checkpoint.step: j.verdict for j in judged}
    return [step for step, verdict in verdicts.items() if verdict.intact and (scenario.only_model or verdict.resumable)]


def _has_all_shards(path: str) -> bool:
    """Its trainer_state.json comes last, whole; of each part .metadata comes last, by a rename."""
    from tests.faults.disturbed import SHARDED_FILES

    try:
        json.loads(Path(path, "trainer_state.json").read_text())
        return all(Path(path, name).stat().st_size for name in SHARDED_FILES)
    except (OSError, ValueError):
        return False


# --- one process -----------------------------------------------------------------------------------------------------


def launched(life: Life) -> Lived:
    """Fork the ranks, read what the first tells until it ends, and end the others with it."""
    with tempfile.TemporaryDirectory() as place:
        others = [_forked(life, rank, place, -1) for rank in range(1, life.scenario.ranks)]
        reading, writing = os.pipe()
        first = _forked(life, 0, place, writing)
        os.close(writing)
        lines, silent = _read(reading)
        os.close(reading)
        if silent:
            os.kill(first, signal.SIGKILL)
        _, status = os.waitpid(first, 0)
        for pid in others:
            _ended(pid, at_once=bool(status) or any("error" in line for line in lines))
    killed = os.WIFSIGNALED(status) and not silent
    assert not killed or os.WTERMSIG(status) == signal.SIGKILL, f"signal {os.WTERMSIG(status)}, {lines[-3:]}"
    return _lived(lines, "hung" if silent else "", killed)


def _forked(life: Life, rank: int, place: str, pipe: int) -> int:
    """The process of one rank; what it prints goes nowhere: all that counts is told."""
    from tests.faults.disturbed import live

    if pid := os.fork():
        return pid
    nowhere = os.open(os.environ.get("NEVER_WORSE_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for fd in (1, 2):
        os.dup2(nowhere, fd)
    live(life, rank, os.path.join(place, "meeting"), pipe)
    raise AssertionError("a life does not return")


def _read(pipe: int) -> tuple[list[dict[str, Any]], bool]:
    """The lines until the other end closes; and whether it fell silent instead."""
    received = b""
    while True:
        if not select.select([pipe], [], [], SILENCE_SECONDS)[0]:
            return _parsed(received), True
        block = os.read(pipe, 1 << 16)
        if not block:
            return _parsed(received), False
        received += block


def _parsed(received: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in received.splitlines() if line.endswith(b"}")]


def _ended(pid: int, at_once: bool) -> None:
    """Wait for another rank, which ends with the first; where that died it would wait for it."""
    deadline = time.monotonic() + (0 if at_once else 60)
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _lived(lines: list[dict[str, Any]], error: str, killed: bool) -> Lived:
    return Lived(
        steps=max((line["step"] for line in lines if "step" in line), default=0),
        losses={line["of"]: line["loss"] for line in lines if "of" in line},
        did=frozenset(line["did"] for line in lines if "did" in line),
        told=[line["told"] for line in lines if "told" in line],
        error=error or next((line["error"] for line in lines if "error" in line), ""),
        killed=killed,
    )


# --- for a person ----------------------------------------------------------------------------------------------------


def told(played: Played) -> str:
    """The whole of a scenario: its facts, what it came to, what the guard said, what was worse."""
    lines = [f"seed {played.scenario.seed}:", described(played.scenario)]
    for name in ("plain", "guarded"):
        outcome: Outcome = getattr(played, name)
        end = f"newest {outcome.newest}, {outcome.count} whole, peak {outcome.peak}, left {outcome.names}"
        lines.append(f"  {name}: {outcome.steps} steps, {end} {' '.join(outcome.error.split())[-300:]}")
    lines += [f"    | {line}" for line in played.guarded.told]
    lines += [f"  WORSE: {fault}" for fault in played.faults] or ["  not worse"]
    return "\n".join([*lines, f"  again: python -m tests.faults.never_worse {played.scenario.seed}"])


def main(*words: str) -> int:
    """Play each seed's scenario in a mount namespace of our own: whatever ends us, no mount is left behind."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        sys.exit("never_worse: mounts file systems, so it needs root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # before torch is imported: a process with more can't be forked
    bad = False
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CKPTKIT_STATE"] = os.path.join(scratch, "state")
        mount(scratch, SCRATCH_BYTES)
        try:
            os.mkdir(os.environ["CKPTKIT_STATE"])
            for seed in [int(word) for word in words if word != "--json"]:
                played = play(draw(seed), scratch)
                bad |= bool(played.faults)
                line = {"seed": seed, "faults": played.faults, "told": told(played)}
                print(json.dumps(line) if "--json" in words else line["told"], flush=True)
        finally:
            subprocess.run(["umount", "-l", scratch], check=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
