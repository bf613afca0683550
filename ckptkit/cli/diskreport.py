"""bin/diskreport."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit import ops
from ckptkit.cli import audit
from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.report import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXAMPLES = """\
  bin/diskreport                            the runs below this directory, and what eats its volume
  bin/diskreport RUN --no-eaters            at once: without the walk over the volume
  bin/diskreport / --depth 5 --top 30       look deeper
  bin/diskreport RUN --html report.html     one page for a browser, to send or to keep
  bin/diskreport /workspace --json          for a script
  bin/diskreport --since 24h                use over the last day, drawn
  bin/diskreport --audit RUN                what was deleted there, when, by whom and why"""


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(
        verb,
        "Show what fills the disk: volumes, the largest directories and files, caches, deleted files that are still "
        "open, live trainings, each run's checkpoints with what prune would do and why; first of all, flags with the "
        "command that mends each. Changes nothing.",
        EXAMPLES,
        (0, 1, 2, 3, 10),
    )
    made.add_argument("paths", nargs="*", default=["."], metavar="PATH", help="runs, or directories above runs")
    made.add_argument("--no-eaters", action="store_true", help="don't walk the volume (nor does -q)")
    made.add_argument("--depth", type=flags.count, default=3, metavar="N", help="name directories so deep (default 3)")
    made.add_argument(
        "--top", type=flags.count, default=10, metavar="N", help="name so many of them, and of files (default 10)"
    )
    made.add_argument("--html", metavar="FILE", help="write the report there too, as one page")
    flags.add_rules(made)
    audit.add(made)
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Report; a flag is no failure, a run that could not be read is told and gives the exit code."""
    if audit.asked_for(options):
        return audit.run(options, output)
    typed = flags.typed_rules(options)
    # Cron asks every few minutes, and red alone interests it: no walk over a volume for that.
    depth = 0 if options.no_eaters or output.quiet else options.depth
    with _progress(depth, output) as told:
        found = ops.report(
            options.paths,
            lambda path: ops.rules_for(path, typed, options.config),
            depth=depth,
            top=options.top,
            told=told,
            trust_of=lambda path: ops.trust_for(path, (), options.config),
        )
    for path, fault in found.errors:
        output.message(text.printable(f"{path}: {fault}"))
    _show(found, output)
    written = _write(found, options.html, output) if options.html else 0
    return 2 if found.errors else written


def _write(found: ops.Report, path: str, output: Output) -> int:
    from ckptkit.cli import page
    from ckptkit.report import html

    try:
        page.write(path, html.page(found))
    except OSError as error:
        output.message(text.printable(f"can't write {path}: {error.strerror}; what was there is as it was"))
        return 3
    output.routine(f"wrote {text.printable(path)}")
    return 0


def _show(found: ops.Report, output: Output) -> None:
    if output.json:
        from ckptkit.report import reported

        output.document(reported.reported(found))
        return
    if output.quiet and not any(flag.level == "red" for flag in found.flags):
        return
    try:
        from ckptkit.report.board import board

        page = board(found, output.use_colour(), shutil.get_terminal_size((120, 40)).columns)
    except ImportError:  # nothing is installed on this box yet
        from ckptkit.report import plain

        page = plain.board(found)
    output.result(page)


@contextmanager
def _progress(depth: int, output: Output) -> "Iterator[Any]":
    """What to tell the walk's progress to; a line where a person is looking at a terminal."""
    if not depth or not output.shows_progress():
        yield None
        return
    from ckptkit.cli.progress import spinner

    with spinner() as told:
        yield told
