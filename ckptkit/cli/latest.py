"""ckptkit latest."""

import argparse

from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.ops.latest import latest
from ckptkit.ops.read import trust_for
from ckptkit.render import text
from ckptkit.units import printable

EXAMPLES = """\
  python train.py --resume_from_checkpoint "$({latest} RUN)"
  {latest} RUN --weights-only-ok     weights to go on from where nothing is resumable"""


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(
        verb,
        "Print the absolute path of the newest intact resumable checkpoint, and nothing else, on stdout. "
        "On stderr: each newer one that it skipped, and why.",
        EXAMPLES,
        (0, 1, 2, 4, 10),
    )
    made.add_argument("run", metavar="RUN", help="the Trainer's output_dir")
    made.add_argument("--weights-only-ok", action="store_true", help="also one whose weights alone are there or intact")
    made.add_argument("--level", choices=("quick", "full", "deep"), default="quick", help="as in verify")
    flags.add_nonfinite(made)
    flags.add_trust(made)
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Find it; what was skipped is told even under -q: it is why the newest is not the newest."""
    found = latest(
        options.run, weights_only_ok=options.weights_only_ok, level=options.level,
        trust=trust_for(options.run, options.trust), allow_nonfinite=options.allow_nonfinite,
    )  # fmt: skip
    for passed in found.passed_over:
        output.message(text.passed_over(passed.checkpoint, passed.reason.message))
    if not found.verdict.intact:
        output.message(f"{printable(found.path)} is {found.verdict.state}: load its weights, don't resume from it")
    output.result(found.path)
    passed_over = [
        {"path": p.checkpoint.path, "verdict": p.verdict.state, "reason": p.reason._asdict()} for p in found.passed_over
    ]
    kind = {"verdict": found.verdict.state, "resumable": found.verdict.resumable}
    output.document({"path": found.path, **kind, "passed_over": passed_over})
    return 0
