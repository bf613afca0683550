"""ckptkit discard."""

import argparse
import os

from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.errors import UsageError
from ckptkit.model.decision import PrunePlan
from ckptkit.ops.discard import discard_named
from ckptkit.ops.prune import Pruned
from ckptkit.ops.read import trust_for
from ckptkit.render import text
from ckptkit.units import human, printable

EXAMPLES = """\
  {discard} RUN/checkpoint-400 --dry-run         what would go, and what that frees
  {discard} RUN/checkpoint-400                   asks on a terminal
  {discard} RUN/set-aside-checkpoint-400 -y      without a question; mv gives it its old name back instead"""


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(
        verb,
        "Delete one checkpoint that you name in full, also one that is damaged or that nobody can judge. Never the "
        "last intact one of a run, never a pinned one, nor one that a process has open.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10, 11),
    )
    made.add_argument("checkpoint", metavar="CKPT", help="RUN/checkpoint-N, or RUN/set-aside-checkpoint-N")
    flags.add_acting(made, "don't ask; needed where there is no terminal")
    flags.add_trust(made)
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Show it, ask, delete it; a no is no failure."""
    trust = trust_for(os.path.dirname(os.path.abspath(options.checkpoint)), options.trust)
    shown = discard_named(options.checkpoint, dry_run=True, trust=trust)
    output.routine(text.plan(shown.plan, options.dry_run))
    if options.dry_run or not (options.yes or _agreed(shown.plan, output)):
        output.document(_document(shown, output))
        return 0
    done = discard_named(
        options.checkpoint, agreed=shown.plan, lock_timeout=options.lock_timeout, trust=trust, by="ckptkit discard"
    )
    acting.say_outcome(done.outcome, "", lambda outcome: text.outcome(done.plan, outcome), output)
    output.document(_document(done, output))
    return 3 if done.outcome and done.outcome.failures else 0


def _agreed(shown: PrunePlan, output: Output) -> bool:
    """Whether a person says yes. Raises UsageError where nobody can be asked."""
    if not shown.decisions:  # what a kill left of it is no checkpoint any more
        return True
    checkpoint, verdict, *_ = shown.decisions[0]
    what = f"{printable(checkpoint.path)} ({verdict.state}, {human(checkpoint.allocated_bytes)})"
    if not output.can_ask():
        raise UsageError(f"{what} would be deleted for good, and nobody can be asked here: nothing deleted; add -y")
    yes = output.ask(f"delete {what} for good?")
    if not yes:
        output.routine("nothing deleted")
    return yes


def _document(pruned: Pruned, output: Output) -> dict[str, object]:
    if not output.json:
        return {}
    from ckptkit.render import json

    return json.pruned(*pruned)
