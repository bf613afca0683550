"""One replay: a volume, a training on it in a process of its own, a watch, a saboteur; and what came of it."""

import json
import os
import re
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import ckptkit
from benchmarks.replay.sabotage import Saboteur
from benchmarks.replay.training import KEEP
from benchmarks.replay.volume import small_volume
from benchmarks.replay.watch import NAME, Watch
from ckptkit.errors import CkptkitError

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Another user, who may read what is root's (the checkout may lie in a closed home) and write only what is its own.
READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
OTHER_USER = ("--reuid=65534", "--clear-groups", *READS_ALL)
# What a full disk says: safetensors, or torch's zip writer, which names no error number.
FULL = re.compile(r"os error 28|No space left on device|unexpected pos \d+ vs \d+|failed writing file")
TOLD = re.compile(r"ckptkit: (can't delete .*|\S+ stays: .*)")


class Scenario(NamedTuple):
    """mode: how deletion fails; kind: baseline or guarded; steps and save_steps as the Trainer takes them."""

    mode: str
    kind: str
    steps: int
    save_steps: int


class Training(NamedTuple):
    """How a training ended: told, the lines about deletions that failed; stalls in seconds, one a save."""

    steps: int
    error: str | None
    stalls: list[float]
    skipped: int
    told: list[str]


def replay(scenario: Scenario) -> dict[str, Any]:
    """One training on a volume of its own; returns its row. Raises what broke the watch or the sabotage."""
    filesystem = "ext4" if scenario.mode == "immutable" else "tmpfs"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with small_volume(folder, filesystem) as mount:
            run = os.path.join(mount, "run")
            os.mkdir(run)
            os.chmod(run, 0o777)
            ended, watch = _watched(run, scenario)
            return _row(scenario, ended, watch) | _left(run)


def _watched(run: str, scenario: Scenario) -> tuple[Training, Watch]:
    saboteur = Saboteur(scenario.mode)
    watch = Watch(run, KEEP[scenario.kind], saboteur.take)
    saboteur.start()
    watch.start()
    ended = _train(run, scenario)
    watch.finish()
    saboteur.finish()
    return ended, watch


def _train(run: str, scenario: Scenario) -> Training:
    """Run it, as another user where the mode needs that; it dies with us."""
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chmod(elsewhere, 0o777)
        report = os.path.join(elsewhere, "report.json")
        who = OTHER_USER if scenario.mode == "permission" else ()
        numbers = (str(scenario.steps), str(scenario.save_steps))
        script = (
            sys.executable,
            "-m",
            "benchmarks.replay.training",
            run,
            *numbers,
            scenario.kind,
            scenario.mode,
            report,
        )
        done = subprocess.run(
            ("setpriv", "--pdeathsig=KILL", *who, *script),
            cwd="/", env=_environment(elsewhere), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not os.path.exists(report):
            sys.exit(f"replay: the training process ended without a report:\n{done.stderr}")
        with open(report) as file:
            return Training(told=TOLD.findall(done.stderr), **json.load(file))


def _environment(home: str) -> dict[str, str]:
    """Nothing is written beside the volume but in `home`, which goes."""
    own = dict.fromkeys(("HOME", "TMPDIR", "CKPTKIT_STATE"), home)
    return os.environ | own | {"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1"}


def _row(scenario: Scenario, ended: Training, watch: Watch) -> dict[str, Any]:
    stalls = ended.stalls
    return {
        "mode": f"{scenario.kind} {scenario.mode}",
        "steps": ended.steps,
        "of_steps": scenario.steps,
        "peak_checkpoints": watch.peak_checkpoints,
        "peak_used_bytes": watch.peak_used_bytes,
        "volume_bytes": watch.volume_bytes,
        "uses": watch.uses,
        "longest_surplus_seconds": round(watch.longest_surplus, 3),
        "stall_seconds": round(sum(stalls) / len(stalls), 4) if stalls else None,
        "longest_stall_seconds": max(stalls, default=None),
        "told": len({name for line in ended.told for name in NAME.findall(line)}),
        "first_told": ended.told[0] if ended.told else None,
        "skipped_saves": ended.skipped,
        "error": ended.error,
        "as_expected": as_expected(scenario, ended, watch.peak_checkpoints),
    }


def as_expected(scenario: Scenario, ended: Training, peak: int) -> bool:
    """Alone: dead of a full disk (but for busy: see the README). Guarded: all steps; ≤ 2, or told what stands."""
    finished = ended.error is None and ended.steps == scenario.steps
    if scenario.kind == "baseline":
        return finished if scenario.mode == "busy" else FULL.search(ended.error or "") is not None
    if scenario.mode == "silent":
        return finished and peak <= 2 and not ended.told and not ended.skipped
    return finished and bool(ended.told)


def _left(run: str) -> dict[str, Any]:
    """What a person finds afterwards: the size of a checkpoint, and the step that a resume would go on from."""
    checkpoints = ckptkit.scan(run).checkpoints
    try:
        newest = int(ckptkit.latest(run).path.rpartition("-")[2])
    except CkptkitError:
        newest = 0
    return {"checkpoint_bytes": max(c.allocated_bytes for c in checkpoints), "newest_intact_step": newest}
