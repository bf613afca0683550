"""`python -m benchmarks.replay`: replay the crash, with and without the guard, and print what happened.

    python -m benchmarks.replay --baseline                   the Trainer alone: dies at step 9,000
    python -m benchmarks.replay                              the guard: 28,000 of 28,000, in every mode
    python -m benchmarks.replay --steps 2800 --save-steps 100 --mode silent
    python -m benchmarks.replay --picture docs/disk.svg      README's picture, from both

Needs root, for the mounts; they are made in a mount namespace of its own. Exits 0 if every replay ended as it should.
"""

import argparse
import json
import os
import signal
import sys
from typing import Any

from benchmarks.replay.sabotage import MODES
from benchmarks.replay.scenario import Scenario, replay

PRIVATE = "CKPTKIT_REPLAY_PRIVATE"
HEADINGS = (
    "run", "steps", "peak checkpoints", "peak use", "too many for", "stall mean / max", "told", "skipped", "resumes at"
)  # fmt: skip


def main() -> int:
    """Exit 0 if every replay ended as it should."""
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("replay: needs root, for its mounts: sudo python -m benchmarks.replay")
    if PRIVATE not in os.environ:  # so that nothing outside sees the mounts, and a kill leaves none
        os.environ[PRIVATE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, "-m", "benchmarks.replay", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C: through every `finally`
    if options.picture:
        return draw(options)
    kind = "baseline" if options.baseline else "guarded"
    modes = options.mode or (("silent",) if options.baseline else MODES)
    rows = [told(replay(Scenario(mode, kind, options.steps, options.save_steps))) for mode in modes]
    print(json.dumps(rows) if options.json else table(rows))
    return 0 if all(row["as_expected"] for row in rows) else 1


def arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true", help="the Trainer alone, save_total_limit=3")
    parser.add_argument(
        "--mode", action="append", choices=MODES, help="how deletion fails; default: all, with --baseline silent"
    )
    parser.add_argument("--steps", type=int, default=28000)
    parser.add_argument("--save-steps", type=int, default=1000)
    parser.add_argument("--picture", metavar="FILE", help="replay both, and draw the use of the volume as SVG")
    parser.add_argument("--json", action="store_true", help="one document on stdout: a list of rows, sizes in bytes")
    return parser.parse_args()


def draw(options: argparse.Namespace) -> int:
    """Replay silent failure with the Trainer alone and with the guard, and draw both."""
    from benchmarks.replay.picture import picture

    kinds = ("baseline", "guarded")
    alone, guarded = (told(replay(Scenario("silent", kind, options.steps, options.save_steps))) for kind in kinds)
    with open(options.picture, "w", encoding="utf-8") as file:
        file.write(picture(alone, guarded))
    return 0 if alone["as_expected"] and guarded["as_expected"] else 1


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Say on stderr what this replay ended with, as soon as it has: the next one takes a minute. Returns the row."""
    line = row["error"] or f"{row['steps']} of {row['of_steps']} steps"
    more = f"; first told: {row['first_told']}" if row["first_told"] else ""
    print(f"{row['mode']}: {line}{more}", file=sys.stderr)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a person reads them."""
    cells = [HEADINGS, *map(shown, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """One row's cells, in the order of the headings."""
    stalls = row["stall_seconds"], row["longest_stall_seconds"]
    return (
        row["mode"] + ("" if row["as_expected"] else "  NOT AS EXPECTED"),
        f"{row['steps']:,} of {row['of_steps']:,}" + (" died" if row["error"] else ""),
        str(row["peak_checkpoints"]),
        f"{row['peak_used_bytes'] / 1e6:.1f} of {row['volume_bytes'] / 1e6:.0f} MB",
        f"{row['longest_surplus_seconds']:.3f} s",
        "-" if None in stalls else "{:.3f} / {:.3f} s".format(*stalls),
        str(row["told"]),
        str(row["skipped_saves"]),
        f"{row['newest_intact_step']:,}",
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
