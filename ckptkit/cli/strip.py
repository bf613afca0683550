"""ckptkit strip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.ops.read import trust_for
from ckptkit.ops.strip import keep_resumable
from ckptkit.ops.strip import strip as ops_strip
from ckptkit.render import strip

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output
    from ckptkit.model.decision import StripPlan
    from ckptkit.ops.strip import Stripped
    from ckptkit.render.json import Document

EXAMPLES = """\
  {strip} RUN --dry-run              which would become weights-only, and what that frees
  {strip} RUN --keep-resumable 2     all but the newest 2; pinned ones and those in use stay as they are
  {strip} RUN/checkpoint-5000        that one; refused if it is the newest that can be resumed from
  {latest} RUN --weights-only-ok     finds stripped ones too"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Make old checkpoints weights-only: optimizer, scheduler, scaler and random states go, for good; weights, "
        "adapter, tokenizer, configuration and trainer_state.json stay. The newest intact resumable one stays whole.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10, 11, 25),
    )
    parser.add_argument(
        "paths", nargs="+", metavar="RUN|CHECKPOINT", help="the Trainer's output_dir, or one checkpoint"
    )
    flags.add_acting(parser, "strip more than half of the resumable ones although --keep-resumable is not set")
    group = parser.add_argument_group("settings (defaults < RUN/ckptkit.toml < CKPTKIT_* < flags)")
    group.add_argument("--keep-resumable", metavar="N", help="the newest N intact ones stay resumable (default 1)")
    flags.add_config(group)
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Strip each; one that fails does not keep the others from being stripped."""

    def act(path: str) -> tuple[int, Document]:
        stripped = _strip(path, options, output)
        return _tell(stripped, output), strip.document(*stripped) if output.json else {}

    return acting.each(options.paths, act, output)


def _strip(path: str, options: argparse.Namespace, output: Output) -> Stripped:
    def announce(plan: StripPlan) -> None:
        if options.dry_run or plan.strips:
            output.routine(strip.plan(plan, options.dry_run))

    keep = keep_resumable(path, {"keep_resumable": options.keep_resumable}, options.config)
    return ops_strip(
        path,
        keep,
        trust=trust_for(path, options.trust, options.config),
        dry_run=options.dry_run,
        yes=options.yes,
        lock_timeout=options.lock_timeout,
        announce=announce,
        by="ckptkit strip",
    )


def _tell(stripped: Stripped, output: Output) -> int:
    """Say what came of it and return the exit code."""
    plan, outcome, stopped = stripped
    acting.say_outcome(outcome, stopped, lambda outcome: strip.outcome(plan, outcome), output)
    unread = acting.say_unread(plan.decisions, output) if outcome else 0
    return 3 if outcome and outcome.failures else unread
