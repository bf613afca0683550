"""`python -m benchmarks.stall`: for how long a save holds up training, guarded, as a multiple of the Trainer alone.

    python -m benchmarks.stall                     checkpoints of 3 GB, saves further apart than what follows each
    python -m benchmarks.stall --slow-fsync 1      small ones, 5 s apart, on a disk whose every fsync takes a second

Real trainings, `save_total_limit=2` against `ckptkit.guard(trainer, keep_last=2)`, in pairs of which each second one
has the guard first, so that a busy machine burdens both alike. The ratio is the median of the pairs'. Exits 1 if the
target is missed.

A pair is two saves, one right after the other, of two trainings that wait for each other; all that a save leaves to be
done or written is done before the next. What counts is from the Trainer's call of `_save_checkpoint` to its return,
from the third save on, when each has an older one to delete. With --slow-fsync a pair is two trainings, the whole of
`train()` counts, its end included, and strace delays the calls of both.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.stall.children import alternating, one_by_one
from benchmarks.stall.training import KINDS, Training

FAR_APART, SLOW_FSYNC = 1.05, 1.2  # the targets
SMALL_GB = 0.003
UNCOUNTED = 2  # saves that have no older one to delete
COLUMNS = (
    ("alone", "write"), ("alone", "rotation"), ("guarded", "before"), ("guarded", "write"), ("guarded", "after"),
    ("alone", "stood still"), ("guarded", "stood still"),
)  # fmt: skip
Pair = dict[str, dict[str, float]]  # {alone, guarded}: seconds of one save, or of one training


def main() -> int:
    """Exit 0 if the target is met."""
    options = parser().parse_args()
    is_slow = options.slow_fsync is not None
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="stall-") as folder:
        pairs = list((trainings if is_slow else saves)(folder, options))
    found = document(pairs, is_slow)
    print(json.dumps(found) if options.json else table(found))
    return 0 if found["met"] else 1


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--gb", type=float, default=3.0, help="of a checkpoint, without --slow-fsync (default 3)")
    made.add_argument("--slow-fsync", type=float, metavar="SECONDS", help="how long each fsync takes at least")
    made.add_argument("--apart", type=float, default=5.0, help="seconds between saves, with --slow-fsync (default 5)")
    made.add_argument("--saves", type=int, default=9, help="of each training, with --slow-fsync (default 9)")
    made.add_argument("--pairs", type=int, default=7, help="how many are measured (default 7)")
    made.add_argument("--dir", help="where to write; needs 7 times --gb (default: the temporary directory)")
    made.add_argument("--json", action="store_true", help="one document on stdout, times in seconds")
    return made


def saves(folder: str, options: argparse.Namespace) -> Iterator[Pair]:
    """Pairs of saves."""
    reports = alternating(folder, [Training(kind, options.pairs + UNCOUNTED, options.gb) for kind in KINDS])
    for number in range(UNCOUNTED, UNCOUNTED + options.pairs):
        yield {kind: parts(report["saves"][number]) for kind, report in zip(KINDS, reports, strict=True)}


def parts(save: dict[str, float]) -> dict[str, float]:
    """Given a save's clocks, return its seconds and what they went to; the Trainer's own are write and rotation."""
    before = save["write_began"] - save["stall_began"]
    return {
        "seconds": save["stall"],
        "before": before,
        "write": save["write"] - save["rotation"],
        "rotation": save["rotation"],
        "after": save["stall"] - before - save["write"],
    }


def trainings(folder: str, options: argparse.Namespace) -> Iterator[Pair]:
    """Pairs of trainings."""
    for number in range(options.pairs):
        kinds = KINDS if number % 2 == 0 else KINDS[::-1]
        reports = one_by_one(
            folder, [Training(k, options.saves, SMALL_GB, options.apart) for k in kinds], options.slow_fsync
        )
        yield {
            kind: {"seconds": report["seconds"], "stood still": sum(save["stall"] for save in report["saves"])}
            for kind, report in zip(kinds, reports, strict=True)
        }


def document(pairs: list[Pair], is_slow: bool) -> dict[str, Any]:
    """The pairs, and what they say together."""
    alone, guarded = ([pair[kind]["seconds"] for pair in pairs] for kind in KINDS)
    ratio = statistics.median(g / a for g, a in zip(guarded, alone, strict=True))
    target = SLOW_FSYNC if is_slow else FAR_APART
    return {
        "pairs": pairs,
        "ratio": ratio,
        "ratio_of_medians": statistics.median(guarded) / statistics.median(alone),
        "ratio_of_best": min(guarded) / min(alone),
        "target": target,
        "met": ratio <= target,
    }


def table(found: dict[str, Any]) -> str:
    """The document as a person reads it: each pair, and its parts."""
    pairs = found["pairs"]
    columns = [(kind, name) for kind, name in COLUMNS if name in pairs[0][kind]]
    names = "".join(f"{f'{kind} {name}':>21}" for kind, name in columns)
    head = f"{'pair':<6}{'alone':>9}{'guarded':>9}{'ratio':>7}{names}"
    lines = [line(number, pair, columns) for number, pair in enumerate(pairs, 1)]
    last = (
        f"median ratio {found['ratio']:.3f} (of medians {found['ratio_of_medians']:.3f}, of the best "
        f"{found['ratio_of_best']:.3f}), target: at most {found['target']:.2f}{'' if found['met'] else '  MISSED'}"
    )
    return "\n".join([head, *lines, last])


def line(number: int, pair: Pair, columns: Sequence[tuple[str, str]]) -> str:
    """One pair."""
    alone, guarded = (pair[kind]["seconds"] for kind in KINDS)
    parts = "".join(f"{pair[kind][name]:>19.3f} s" for kind, name in columns)
    return f"{number:<6}{alone:>7.3f} s{guarded:>7.3f} s{guarded / alone:>7.3f}{parts}"


if __name__ == "__main__":
    sys.exit(main())
