"""What the set of names alone tells: missing parts, a marker of an unfinished save, another framework's files."""

import os
from collections.abc import Iterator

from ckptkit.layouts import Layout
from ckptkit.model import Checkpoint, Finding


def name_findings(checkpoint: Checkpoint, layout: Layout, names: frozenset[str]) -> Iterator[Finding]:
    """Given a checkpoint and the names in it, yield what its layout misses, or does not know."""
    if layout.incomplete in names:
        yield Finding(layout.incomplete, "missing", "the writer's own mark of a save that it did not finish")
    if layout.marker not in names:
        yield Finding(layout.marker, "missing", "is written last, so the save did not finish")
    alien = [n for n in (*checkpoint.directories, *sorted(names)) if layout.foreign.fullmatch(n)]
    if alien:
        yield Finding(alien[0], "foreign-layout", "weights of a layout that can't be judged yet")
    elif layout.weights_file(names) is None:
        yield Finding(layout.weights[0], "missing", f"no weights: neither {' nor '.join(layout.weights)}")
    for name in layout.missing(names):
        yield Finding(name, "missing", "the weights can't be loaded without it")
    if layout.holds_optimizer(names) and not alien:
        for name in layout.resume_gaps(names):
            yield Finding(name, "missing", "without it a resume is silently no resume")
    for name in sorted(names):
        if layout.debris.fullmatch(os.path.basename(name)):
            yield Finding(name, "debris", "a killed writer's temporary file")
