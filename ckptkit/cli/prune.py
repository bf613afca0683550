"""ckptkit prune."""

import argparse

from ckptkit.calling import command
from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.errors import UsageError
from ckptkit.model.decision import PrunePlan
from ckptkit.ops.prune import Pruned, prune
from ckptkit.ops.read import find_runs, rules_for, trust_for, unnamed
from ckptkit.render import text
from ckptkit.units import human

EXAMPLES = """\
  {prune} RUN --dry-run              what would go, and why
  {prune} RUN --keep-last 3          keep the newest 3 intact ones
  {prune} RUN --keep-last 2..5 --free-target 20%
  {prune} --recursive /workspace -q  every run below; for cron"""


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(
        verb,
        "Delete the checkpoints that every rule releases. The newest intact one always stays; torn ones never count.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 5, 10, 11, 25),
    )
    made.add_argument("runs", nargs="*", metavar="RUN", help="the Trainer's output_dir")
    made.add_argument("--recursive", metavar="ROOT", help="every run at or below ROOT")
    flags.add_deleting(made)
    flags.add_trust(made)
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Prune each run; one that fails does not keep the others from being pruned."""
    if bool(options.runs) == bool(options.recursive):
        raise UsageError(f"name RUN..., or --recursive ROOT; {unnamed()}")
    runs = options.runs or find_runs(options.recursive)
    if not runs:
        output.detail(f"no run below {options.recursive!r} yet")

    def act(path: str) -> tuple[int, dict[str, object]]:
        pruned = _prune(path, options, output)
        return _tell(pruned, output), _document(pruned, output)

    return acting.each(runs, act, output)


def _prune(path: str, options: argparse.Namespace, output: Output) -> Pruned:
    def announce(made: PrunePlan) -> None:
        if options.dry_run or made.deletions or made.leftovers:
            output.routine(text.plan(made, options.dry_run))

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
    made, done, stopped = pruned
    acting.say_outcome(done, stopped, lambda done: text.outcome(made, done), output)
    if done is None:
        return 0
    stop = acting.say_stopped(pruned, output)
    unread = acting.say_unread(made.decisions, output)
    if made.unreached_bytes:
        output.message(
            f"{made.run}: {human(made.unreached_bytes)} short of the free target; the rules release no more; "
            f"what else fills the disk: {command('diskreport', made.run)}"
        )
    return 3 if done.failures or unread else stop or (5 if made.unreached_bytes else 0)


def _document(pruned: Pruned, output: Output) -> dict[str, object]:
    if not output.json:
        return {}
    from ckptkit.render import json

    return json.pruned(*pruned)
