"""ckptkit diskreport, and with --since or --audit what was recorded of the past."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.ops import record
from ckptkit.ops.diskreport import report as ops_report
from ckptkit.ops.diskreport import write_page
from ckptkit.ops.monitor import duration
from ckptkit.ops.read import rules_for, trust_for
from ckptkit.render import audit, charts
from ckptkit.units import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ckptkit.cli.output import Output
    from ckptkit.ops.diskreport import Report

AUDIT_DAYS = "3650d"  # without --since
EXAMPLES = """\
  {diskreport}                            the runs below this directory, and what fills their disk
  {diskreport} RUN --no-eaters            fast: does not look for the largest directories and files
  {diskreport} / --depth 5 --top 30       look deeper
  {diskreport} RUN --html report.html     write a page for a browser too
  {diskreport} /workspace --json          for a script
  {diskreport} --since 24h                how full the disk was over the last day
  {diskreport} --audit RUN                what was deleted there: when, by whom and why"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Show what fills the disk. First what needs attention, each with the command that fixes it, and how much "
        "could be freed; then volumes, each run's checkpoints with what prune would do and why, the largest "
        "directories and files, caches, deleted files that are still open, and live trainings. Changes nothing.",
        EXAMPLES,
        (0, 1, 2, 3, 10),
    )
    parser.add_argument("paths", nargs="*", default=["."], metavar="PATH", help="runs, or directories above runs")
    parser.add_argument(
        "--no-eaters",
        action="store_true",
        help="skip the search for the largest directories and files (-q skips it too)",
    )
    parser.add_argument(
        "--depth", type=flags.count, default=3, metavar="N", help="list directories down to this depth (default 3)"
    )
    top = "list this many directories, and as many files (default 10)"
    parser.add_argument("--top", type=flags.count, default=10, metavar="N", help=top)
    parser.add_argument("--html", metavar="FILE", help="write the report to this file too, as a page for a browser")
    flags.add_rules(parser)
    _add_past(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Report. Flags are no failure; a run that can't be read is: it is named, and the exit code is 2."""
    if options.audit or options.since:
        return _tell_the_past(options, output)
    if options.html:
        from ckptkit.render import html

        html.environment()  # without Jinja2, say so before the walk, which may take minutes
    typed = flags.typed_rules(options)
    # Cron asks every few minutes and only wants what is red: no walk over a volume for that.
    depth = 0 if options.no_eaters or output.quiet else options.depth
    with _progress(depth, output) as progress:
        report = ops_report(
            options.paths,
            lambda path: rules_for(path, typed, options.config),
            depth=depth,
            top=options.top,
            progress=progress,
            trust_of=lambda path: trust_for(path, (), options.config),
        )
    for path, fault in report.errors:
        output.message(printable(f"{path}: {fault}"))
    _show(report, output)
    written = _write(report, options.html, output) if options.html else 0
    return 2 if report.errors else written


def _write(report: Report, path: str, output: Output) -> int:
    from ckptkit.render import html

    try:
        write_page(path, html.page(report))
    except OSError as error:
        output.message(printable(f"can't write {path}: {error.strerror}; the file is unchanged"))
        return 3
    output.routine(f"wrote {printable(path)}")
    return 0


def _show(report: Report, output: Output) -> None:
    if output.json:
        from ckptkit.render import json

        output.document(json.reported(report))
        return
    if output.quiet and not any(flag.level == "red" for flag in report.flags):
        return
    from ckptkit.render.board import board

    output.result(board(report, output.use_colour(), columns()))


def columns() -> int | None:
    """The width of the terminal that shows the result; None where there is none, and COLUMNS does not say."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


@contextmanager
def _progress(depth: int, output: Output) -> Iterator[Callable[[int, str], None] | None]:
    """Yield what takes the walk's progress, or None where nobody is at a terminal."""
    if not depth or not output.shows_progress():
        yield None
        return
    from ckptkit.cli.terminal import spinner

    with spinner() as progress:
        yield progress


def _add_past(parser: argparse.ArgumentParser) -> None:
    """Add the flags; with one of them the report is about the past."""
    group = parser.add_argument_group("the past (as monitor, prune and the guard recorded it)")
    group.add_argument("--since", metavar="DURATION", help="show how full the disk was over the last 24h, 7d, ...")
    audit_help = "list each deletion: when, by whom, why and how large (--since limits it)"
    group.add_argument("--audit", action="store_true", help=audit_help)


def _tell_the_past(options: argparse.Namespace, output: Output) -> int:
    """Show the past, also of paths that are gone. Exit 3 if the history can't be read."""
    since = time.time() - duration("since", options.since or AUDIT_DAYS)
    if options.audit:
        deletions, fault = record.deletions(options.paths, since)
        page, document = audit.page(deletions), audit.document(deletions)
    else:
        samples, fault = record.samples(options.paths, since)
        page, document = charts.page(samples, since, columns()), charts.document(samples, since)
    if fault:
        output.message(printable(fault))
    output.result(page)
    output.document(document | {"errors": [{"message": fault}] if fault else []})
    return 3 if fault else 0
