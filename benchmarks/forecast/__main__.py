"""`python -m benchmarks.forecast`: real first saves of every kind, beside the bytes that were told before.

A real Trainer on the CPU; models of 0.1 to 30 million parameters. Kinds that need bitsandbytes are saved where it is
installed (it is no dependency), and told as skipped where not. Exits 1 if one is more than 1 % off.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from typing import Any

from benchmarks.forecast import patterns
from benchmarks.forecast.kinds import KINDS, Kind
from benchmarks.forecast.saves import compare, skipped

TARGET = 0.01


def main() -> int:
    """Exit 0 if every kind that was saved is within the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND", help="of kinds.py (default all)")
    parser.add_argument("--json", action="store_true", help="a list of rows, bytes as integers")
    parser.add_argument("--files", action="store_true", help="each file, predicted and real")
    parser.add_argument("--patterns", action="store_true", help="no saves: the volumes that fill, and what was told")
    options = parser.parse_args()
    if options.patterns:
        print("\n".join(patterns.rows()))
        return 0
    rows = [row(name, KINDS[name], options.files) for name in options.kinds]
    print(json.dumps(rows) if options.json else "\n".join(table(rows)))
    return 0 if all(abs(r["error"] or 0) <= TARGET for r in rows) else 1


def row(name: str, kind: Kind, files: bool) -> dict[str, Any]:
    """One kind, saved and predicted. The Trainer's own words go nowhere: stdout is the table's."""
    described = {"kind": name, "family": kind.family, "rank": kind.rank, "dtype": kind.dtype, "optim": kind.optimizer}
    if reason := skipped(kind):
        return described | {"predicted_bytes": None, "real_bytes": None, "error": None, "skipped": reason}
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["TQDM_DISABLE"] = "1"
        found = compare(kind, folder)
    if files:
        _show(found.predicted.files, found.files)
    sizes = {"predicted_bytes": found.predicted.apparent_bytes, "real_bytes": found.apparent_bytes}
    return described | sizes | {"error": found.error, "skipped": ""}


def _show(predicted: tuple[tuple[str, int], ...], real: dict[str, int]) -> None:
    told = dict(predicted)
    for name in sorted({*told, *real}):
        print(f"{name:<40}{told.get(name, 0):>12}{real.get(name, 0):>12}", file=sys.stderr)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown, as docs/forecast.md has them."""
    lines = ["| kind | what | dtype | optimizer | predicted | real | error |", "|---|---|---|---|---:|---:|---:|"]
    for r in rows:
        what = f"{r['family']}, LoRA r{r['rank']}" if r["rank"] else r["family"]
        sizes = (
            f"skipped: {r['skipped']} | | |"
            if r["skipped"]
            else f"{r['predicted_bytes']:,} | {r['real_bytes']:,} | {r['error']:+.2%} |"
        )
        lines.append(f"| {r['kind']} | {what} | {r['dtype']} | {r['optim']} | {sizes}")
    done = [abs(r["error"]) for r in rows if not r["skipped"]]
    return [*lines, "", f"{len(done)} real saves, the largest error is {max(done, default=0):.2%}."]


if __name__ == "__main__":
    sys.exit(main())
