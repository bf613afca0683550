"""bin/diskreport --since and --audit: what the history knows."""

import argparse
import time

from ckptkit import ops
from ckptkit.cli.output import Output
from ckptkit.report import audit, over_time, text

AUDIT_DAYS = "3650d"  # without --since


def add(made: argparse.ArgumentParser) -> None:
    """The flags; with one of them the report is about the past."""
    group = made.add_argument_group("the past (as bin/monitor, bin/prune and the guard recorded it)")
    group.add_argument("--since", metavar="DURATION", help="draw use over the last 24h, 7d, ...")
    group.add_argument("--audit", action="store_true", help="each deletion: when, by whom, why, bytes (with --since)")


def asked_for(options: argparse.Namespace) -> bool:
    """Whether the past is asked for."""
    return bool(options.audit or options.since)


def run(options: argparse.Namespace, output: Output) -> int:
    """Show it. Of paths that are gone, too: their deletions are still known. Exit 3 if the history can't be read."""
    since = time.time() - ops.duration("since", options.since or AUDIT_DAYS)
    if options.audit:
        gone, fault = ops.deletions(options.paths, since)
        page, document = audit.page(gone), audit.document(gone)
    else:
        taken, fault = ops.samples(options.paths, since)
        page, document = over_time.page(taken, since), over_time.document(taken, since)
    if fault:
        output.message(text.printable(fault))
    output.result(page)
    output.document(document | {"errors": [{"message": fault}] if fault else []})
    return 3 if fault else 0
