"""bin/diskreport --since and --audit: what was recorded."""

import argparse
import time

from ckptkit.cli.output import Output
from ckptkit.ops.monitor import duration
from ckptkit.ops.record import deletions, samples
from ckptkit.render import audit, charts
from ckptkit.units import printable

AUDIT_DAYS = "3650d"  # without --since


def add(made: argparse.ArgumentParser) -> None:
    """Add the flags; with one of them the report is about the past."""
    group = made.add_argument_group("the past (as monitor, prune and the guard recorded it)")
    group.add_argument("--since", metavar="DURATION", help="show how full the disk was over the last 24h, 7d, ...")
    audited = "list each deletion: when, by whom, why and how large (--since limits it)"
    group.add_argument("--audit", action="store_true", help=audited)


def asked_for(options: argparse.Namespace) -> bool:
    """Return whether one of the flags was given."""
    return bool(options.audit or options.since)


def run(options: argparse.Namespace, output: Output, columns: int | None) -> int:
    """Show the past, also of paths that are gone. Exit 3 if the history can't be read."""
    since = time.time() - duration("since", options.since or AUDIT_DAYS)
    if options.audit:
        gone, fault = deletions(options.paths, since)
        page, document = audit.page(gone), audit.document(gone)
    else:
        taken, fault = samples(options.paths, since)
        page, document = charts.page(taken, since, columns), charts.document(taken, since)
    if fault:
        output.message(printable(fault))
    output.result(page)
    output.document(document | {"errors": [{"message": fault}] if fault else []})
    return 3 if fault else 0
