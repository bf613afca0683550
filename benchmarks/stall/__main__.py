"""`python -m benchmarks.stall`: for how long a save holds up training, guarded, as a multiple of the Trainer alone.

    python -m benchmarks.stall                     checkpoints of 3 GB, saves further apart than what follows each
    python -m benchmarks.stall --slow-fsync 1      small ones, 5 s apart, on a disk whose every fsync takes a second

Real trainings in pairs, `save_total_limit=2` against `ckptkit.guard(trainer, keep_last=2)`, each first in every second
pair, so that a busy machine burdens both alike. Without --slow-fsync all of the run is on disk before each save, for
both: nothing of an earlier one is left to be written.

The stall of a save is from the Trainer's call of `_save_checkpoint` to its return; the median of a training counts,
from the third save on, when each has an older one to delete. With --slow-fsync the whole of `train()` counts, its end
included, and strace delays the calls of both. The ratio is the median of the pairs'. Exits 1 if the target is missed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.stall.training import COUNTED_FROM, Training
from benchmarks.verify.turns import CHECKOUT

FAR_APART, SLOW_FSYNC = 1.05, 1.2  # the targets
SMALL_MEGABYTES = 3.0
Pair = dict[str, dict[str, Any]]  # {alone, guarded}: what each training came to


def main() -> int:
    """Exit 0 if the target is met."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="stall-") as folder:
        pairs = [pair(folder, options, number) for number in range(options.pairs)]
    found = document(pairs, options)
    print(json.dumps(found) if options.json else table(found))
    return 0 if found["met"] else 1


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--gb", type=float, default=3.0, help="of a checkpoint, without --slow-fsync (default 3)")
    made.add_argument("--slow-fsync", type=float, metavar="SECONDS", help="how long each fsync takes at least")
    made.add_argument("--apart", type=float, default=5.0, help="seconds between saves, with --slow-fsync (default 5)")
    made.add_argument("--pairs", type=int, default=5, help="how often both are measured (default 5)")
    made.add_argument("--saves", type=int, default=9, help="of each training, at least three (default 9)")
    made.add_argument("--dir", help="where to write; needs 4 times --gb (default: the temporary directory)")
    made.add_argument("--json", action="store_true", help="one document on stdout, times in seconds")
    return made


def pair(folder: str, options: argparse.Namespace, number: int) -> Pair:
    """Both trainings, one after the other."""
    kinds = ("alone", "guarded") if number % 2 == 0 else ("guarded", "alone")
    measured = {kind: train(folder, options, kind == "guarded") for kind in kinds}
    print(f"pair {number + 1}: {line(measured, slow=options.slow_fsync is not None)}", file=sys.stderr)
    return measured


def train(folder: str, options: argparse.Namespace, guarded: bool) -> dict[str, Any]:
    """One training, of which nothing stays; what it came to. Exits if it fails."""
    if options.slow_fsync is None:
        training, before = Training(guarded, options.saves, options.gb * 1e3), ()
    else:
        training = Training(guarded, options.saves, SMALL_MEGABYTES, options.apart, settle=False)
        before = slowed(options.slow_fsync)
    command = (*before, sys.executable, "-m", "benchmarks.stall.training", folder, json.dumps(training._asdict()))
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"benchmarks.stall: the training ended with {done.returncode}:\n{done.stdout}")
    shutil.rmtree(os.path.join(folder, "run"))
    with open(os.path.join(folder, "report.json")) as file:
        return came_to(json.load(file))


def slowed(seconds: float) -> tuple[str, ...]:
    """What is typed before a command to hold back each of its fsyncs."""
    calls = "fsync,fdatasync"
    delay = f"inject={calls}:delay_enter={round(seconds * 1e6)}"
    return ("strace", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", f"trace={calls}", "-e", delay)


def came_to(report: dict[str, Any]) -> dict[str, Any]:
    """Given a training's report, return the medians of its saves and the seconds of it all.

    before, write, rotation, after: the parts of the stall; the Trainer's own save is the two in the middle.
    """
    counted = [parts(save) for save in report["saves"][COUNTED_FROM:]]
    medians = {name: statistics.median(save[name] for save in counted) for name in counted[0]}
    return {
        **medians,
        "shortest": min(save["stall"] for save in counted),
        "stood_still": sum(save["stall"] for save in report["saves"]),
        "train": report["seconds"],
    }


def parts(save: dict[str, float]) -> dict[str, float]:
    """Given a save's clocks, return its seconds and what they went to."""
    before = save["write_began"] - save["stall_began"]
    return {
        "stall": save["stall"],
        "before": before,
        "write": save["write"] - save["rotation"],
        "rotation": save["rotation"],
        "after": save["stall"] - before - save["write"],
    }


def document(pairs: list[Pair], options: argparse.Namespace) -> dict[str, Any]:
    """The pairs, and what they say together."""
    slow = options.slow_fsync is not None
    what, best, target = ("train", "train", SLOW_FSYNC) if slow else ("stall", "shortest", FAR_APART)
    ratio = statistics.median(p["guarded"][what] / p["alone"][what] for p in pairs)
    of_best = min(p["guarded"][best] for p in pairs) / min(p["alone"][best] for p in pairs)
    together = {"ratio": ratio, "ratio_of_best": of_best, "target": target, "met": ratio <= target}
    return {"slow_fsync": options.slow_fsync, "saves": options.saves, "pairs": pairs, **together}


def table(found: dict[str, Any]) -> str:
    """The document as a person reads it."""
    slow = found["slow_fsync"] is not None
    lines = [f"{number:>4}  {line(one, slow)}" for number, one in enumerate(found["pairs"], 1)]
    last = (
        f"median ratio {found['ratio']:.3f}, best by best {found['ratio_of_best']:.3f}, "
        f"target: at most {found['target']:.2f}{'' if found['met'] else '  MISSED'}"
    )
    return "\n".join([heading(slow), *lines, last])


def heading(slow: bool) -> str:
    """Over the lines."""
    more = "saves stood still: alone, guarded" if slow else "alone: write, rotation; guarded: before, write, after"
    return f"pair  {'alone':>9}{'guarded':>9}{'ratio':>7}   {more}"


def line(measured: Pair, slow: bool) -> str:
    """One pair."""
    what = "train" if slow else "stall"
    alone, guarded = measured["alone"], measured["guarded"]
    if slow:
        more = f"{alone['stood_still']:.2f} s, {guarded['stood_still']:.2f} s"
    else:
        more = "; ".join(
            ", ".join(f"{of[name]:.2f} s" for name in names)
            for of, names in ((alone, ("write", "rotation")), (guarded, ("before", "write", "after")))
        )
    return f"{alone[what]:>7.3f} s{guarded[what]:>7.3f} s{guarded[what] / alone[what]:>7.3f}   {more}"


if __name__ == "__main__":
    sys.exit(main())
