"""ckptkit discard."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.errors import UsageError
from ckptkit.ops.discard import discard_named
from ckptkit.ops.read import trust_for
from ckptkit.render import text
from ckptkit.units import human, printable

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output
    from ckptkit.model.decision import PrunePlan
    from ckptkit.ops.prune import Pruned
    from ckptkit.render.json import Document

EXAMPLES = """\
  {discard} RUN/checkpoint-400 --dry-run         what would go, and what that frees
  {discard} RUN/checkpoint-400                   asks on a terminal
  {discard} RUN/set-aside-checkpoint-400 -y      without a question; mv gives it its old name back instead"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Delete one checkpoint that you name in full, also one that is damaged or that nobody can judge. Never the "
        "last intact one of a run, never a pinned one, nor one that a process has open.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10, 11),
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="RUN/checkpoint-N, or RUN/set-aside-checkpoint-N")
    flags.add_acting(parser, "don't ask; needed where there is no terminal")
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Show it, ask, delete it; a no is no failure."""
    trust = trust_for(os.path.dirname(os.path.abspath(options.checkpoint)), options.trust)
    planned = discard_named(options.checkpoint, dry_run=True, trust=trust)
    output.routine(text.plan(planned.plan, options.dry_run))
    if options.dry_run or not (options.yes or _agreed(planned.plan, output)):
        output.document(_document(planned, output))
        return 0
    pruned = discard_named(
        options.checkpoint, agreed=planned.plan, lock_timeout=options.lock_timeout, trust=trust, by="ckptkit discard"
    )
    acting.say_outcome(pruned.outcome, "", lambda outcome: text.outcome(pruned.plan, outcome), output)
    output.document(_document(pruned, output))
    return 3 if pruned.outcome and pruned.outcome.failures else 0


def _agreed(plan: PrunePlan, output: Output) -> bool:
    """Whether a person says yes. Raises UsageError where nobody can be asked."""
    if not plan.decisions:  # what a kill left of it is no checkpoint any more
        return True
    checkpoint, verdict, *_ = plan.decisions[0]
    what = f"{printable(checkpoint.path)} ({verdict.state}, {human(checkpoint.allocated_bytes)})"
    if not output.can_ask():
        raise UsageError(f"{what} would be deleted for good, and nobody can be asked here: nothing deleted; add -y")
    yes = output.ask(f"delete {what} for good?")
    if not yes:
        output.routine("nothing deleted")
    return yes


def _document(pruned: Pruned, output: Output) -> Document:
    if not output.json:
        return {}
    from ckptkit.render import json

    return json.pruned(*pruned)
