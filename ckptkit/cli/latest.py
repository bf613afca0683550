"""ckptkit latest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.ops.latest import latest
from ckptkit.ops.read import trust_for
from ckptkit.render import text
from ckptkit.units import printable

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output

EXAMPLES = """\
  python train.py --resume_from_checkpoint "$({latest} RUN)"
  {latest} RUN --weights-only-ok     weights to go on from where nothing is resumable"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Print the absolute path of the newest intact resumable checkpoint, and nothing else, on stdout. "
        "On stderr: each newer one that it skipped, and why.",
        EXAMPLES,
        (0, 1, 2, 4, 10),
    )
    parser.add_argument("run", metavar="RUN", help="the Trainer's output_dir")
    parser.add_argument(
        "--weights-only-ok", action="store_true", help="also one whose weights alone are there or intact"
    )
    parser.add_argument("--level", choices=("quick", "full", "deep"), default="quick", help="as in verify")
    flags.add_nonfinite(parser)
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Find it; what was skipped is told even under -q: it is why the newest is not the newest."""
    newest = latest(
        options.run, weights_only_ok=options.weights_only_ok, level=options.level,
        trust=trust_for(options.run, options.trust), allow_nonfinite=options.allow_nonfinite,
    )  # fmt: skip
    for skipped in newest.passed_over:
        output.message(text.passed_over(skipped.checkpoint, skipped.reason.message))
    if not newest.verdict.intact:
        output.message(f"{printable(newest.path)} is {newest.verdict.state}: load its weights, don't resume from it")
    output.result(newest.path)
    passed_over = [
        {"path": p.checkpoint.path, "verdict": p.verdict.state, "reason": p.reason._asdict()}
        for p in newest.passed_over
    ]
    kind = {"verdict": newest.verdict.state, "resumable": newest.verdict.resumable}
    output.document({"path": newest.path, **kind, "passed_over": passed_over})
    return 0
