"""ckptkit move."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.cli import terminal
from ckptkit.ops.move import destination
from ckptkit.ops.move import move as ops_move
from ckptkit.ops.read import bytes_at, rules_for, trust_for
from ckptkit.render import move

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output
    from ckptkit.model.checkpoint import Checkpoint
    from ckptkit.model.decision import Moved

EXAMPLES = """\
  {move} RUN /mnt/second/RUN --dry-run          what would be copied, and whether it fits
  {move} RUN /mnt/second/RUN                    the newest intact one first; DEST becomes the new output_dir
  {move} RUN ssh:me@box:/data/RUN               to another box, by this box's own ssh and rsync
  {move} RUN /mnt/second/RUN --delete-source    then delete here what is proved there"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Copy a run's intact checkpoints to another volume or another box: the newest that can be resumed from first, "
        "then what the rules keep. Each is proved there, then the line that resumes there is printed. "
        "Calling it again goes on where it broke off, and copies nothing twice.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 5, 10, 11, 75),
    )
    parser.add_argument("run", metavar="RUN", help="the Trainer's output_dir")
    parser.add_argument("dest", metavar="DEST", help="the run's new directory on another volume, or ssh:HOST:PATH")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the plan; touches nothing here or there")
    parser.add_argument(
        "--delete-source", action="store_true",
        help="then delete from RUN what is proved at DEST; nothing that is pinned or open, or while a training runs",
    )  # fmt: skip
    parser.add_argument(
        "--ssh-command", default="", metavar="COMMAND", help="how to call ssh, such as 'ssh -p 2222' (or RSYNC_RSH)"
    )
    flags.add_lock(parser)
    flags.add_config(flags.add_keeping(parser))
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Copy, prove, delete if that was asked for, and say what resumes there."""
    trust = trust_for(options.run, options.trust, options.config)
    rules = rules_for(options.run, flags.typed_rules(options), options.config)
    shown = output.shows_progress() and not options.dry_run
    remote = options.dest.startswith("ssh:")
    size = bytes_at(options.run) if shown and not remote else 0
    with terminal.bar(size) if size else nullcontext() as progress:
        place = destination(
            options.dest, options.run, ssh_command=options.ssh_command, asks=output.can_ask(), shown=shown,
            trust=trust, progress=progress or (lambda _: None), lock_timeout=options.lock_timeout,
        )  # fmt: skip
        moved = ops_move(
            options.run, place, rules, dry_run=options.dry_run, delete_source=options.delete_source, trust=trust,
            lock_timeout=options.lock_timeout, announce=lambda plan: output.routine(move.plan(plan, options.dry_run)),
            tell=lambda what, checkpoint: _say(what, checkpoint, output), by="ckptkit move",
        )  # fmt: skip
    code = _tell(moved, output)
    output.document(move.document(moved) if output.json else {})
    return code


def _say(what: str, checkpoint: Checkpoint, output: Output) -> None:
    """The proof of each is told as it comes: the rest may take hours."""
    if what == "proved":
        output.routine(f"{checkpoint.name} is proved there")
    else:
        output.detail(f"{'comparing' if what == 'compare' else 'copying'} {checkpoint.path}")


def _tell(moved: Moved, output: Output) -> int:
    """Say what came of it and return the exit code."""
    if not moved.done:
        for line in move.lacking(moved) if moved.plan.waiting else ():
            output.message(line)
        return 5 if moved.plan.waiting else 0
    output.routine(move.outcome(moved))
    for line in move.complaints(moved):
        output.message(line)
    output.routine(move.still_there(moved))
    output.routine(move.resume(moved))
    if moved.missing_bytes:
        return 5
    if not moved.resume:
        output.message(f"nothing at {moved.plan.dest} can be resumed from")
        return 4
    failed = moved.failures or moved.stays or (moved.deleted and moved.deleted.failures)
    held = moved.blocked or any(why.code == "held-open" for _, why in moved.stays)
    return 11 if held else 3 if failed else 0
