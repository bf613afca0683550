"""ckptkit prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.errors import UsageError
from ckptkit.ops.prune import prune
from ckptkit.ops.read import find_runs, rules_for, trust_for, unnamed
from ckptkit.render import text
from ckptkit.units import human

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output
    from ckptkit.model.decision import PrunePlan
    from ckptkit.ops.prune import Pruned
    from ckptkit.render.json import Document

EXAMPLES = """\
  {prune} RUN --dry-run              what would go, and why
  {prune} RUN --keep-last 3          keep the newest 3 intact ones
  {prune} RUN --keep-last 2..5 --free-target 20%
  {prune} --recursive /workspace -q  every run below; for cron"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Delete the checkpoints that every rule releases. The newest intact one always stays; torn ones never count.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 5, 10, 11, 25),
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="the Trainer's output_dir")
    parser.add_argument("--recursive", metavar="ROOT", help="every run at or below ROOT")
    flags.add_deleting(parser)
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Prune each run; one that fails does not keep the others from being pruned."""
    if bool(options.runs) == bool(options.recursive):
        raise UsageError(f"name RUN..., or --recursive ROOT; {unnamed()}")
    runs = options.runs or find_runs(options.recursive)
    if not runs:
        output.detail(f"no run below {options.recursive!r} yet")

    def act(path: str) -> tuple[int, Document]:
        pruned = _prune(path, options, output)
        return _tell(pruned, output), _document(pruned, output)

    return acting.each(runs, act, output)


def _prune(path: str, options: argparse.Namespace, output: Output) -> Pruned:
    def announce(plan: PrunePlan) -> None:
        if options.dry_run or plan.deletions or plan.leftovers:
            output.routine(text.plan(plan, options.dry_run))

    rules = rules_for(path, flags.typed_rules(options), options.config)
    return prune(
        path,
        rules,
        trust=trust_for(path, options.trust, options.config),
        dry_run=options.dry_run,
        yes=options.yes,
        ask=acting.asks(options, output),
        lock_timeout=options.lock_timeout,
        announce=announce,
        by="ckptkit prune",
    )


def _tell(pruned: Pruned, output: Output) -> int:
    """Say what came of it and return the exit code."""
    plan, outcome, stopped = pruned
    acting.say_outcome(outcome, stopped, lambda outcome: text.outcome(plan, outcome), output)
    if outcome is None:
        return 0
    stop = acting.say_stopped(pruned, output)
    unread = acting.say_unread(plan.decisions, output)
    if plan.unreached_bytes:
        output.message(
            f"{plan.run}: {human(plan.unreached_bytes)} short of the free target; the rules release no more; "
            f"what else fills the disk: {command('diskreport', plan.run)}"
        )
    return 3 if outcome.failures or unread else stop or (5 if plan.unreached_bytes else 0)


def _document(pruned: Pruned, output: Output) -> Document:
    if not output.json:
        return {}
    from ckptkit.render import json

    return json.pruned(*pruned)
