"""What the history knows, for whoever asks: use over time, and the audit of deletions."""

import os
from collections.abc import Sequence

from ckptkit.history import records
from ckptkit.model.events import Deletion, Sample
from ckptkit.system import volumes


def samples(paths: Sequence[str], since: float) -> tuple[list[Sample], str]:
    """Given directories, return samples of their volumes and the runs at or below them, oldest first; and the fault."""
    tops = [os.path.realpath(path) for path in paths]
    mounts = {volumes.volume(top).mount for top in tops if os.path.exists(top)}
    found, fault = records.recall(Sample, since)
    return [s for s in found if (s.mount in mounts if not s.run else _below(s.run, tops))], fault


def deletions(paths: Sequence[str], since: float) -> tuple[list[Deletion], str]:
    """Given directories that may be gone by now, return what was deleted at or below them; and the fault."""
    found, fault = records.recall(Deletion, since)
    tops = [os.path.realpath(path) for path in paths]
    return [gone for gone in found if _below(gone.run, tops)], fault


def _below(path: str, tops: Sequence[str]) -> bool:
    return any((path + "/").startswith(top.rstrip("/") + "/") for top in tops)
