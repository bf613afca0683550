"""Keep fine-tuning runs alive on small disks. `ckptkit.guard(trainer)` is the one line that a training script adds.

The names load on first use: `python -m ckptkit prune` must not pay for what a notebook wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ckptkit.guard
import ckptkit.verify  # noqa: F401 - see below
from ckptkit.version import __version__ as __version__

if TYPE_CHECKING:
    from ckptkit.api import latest, monitor, pin, plan, preflight, prune, recover, report, scan, strip, unpin, verify
    from ckptkit.errors import CkptkitError, LockHeld, MassDelete, NoIntactCheckpoint, NoSuchRun, UsageError
    from ckptkit.guard.entry import guard
    from ckptkit.guard.lightning import lightning_guard
    from ckptkit.policy.rules import Range, Rules

__all__ = [
    "CkptkitError",
    "LockHeld",
    "MassDelete",
    "NoIntactCheckpoint",
    "NoSuchRun",
    "Range",
    "Rules",
    "UsageError",
    "guard",
    "latest",
    "lightning_guard",
    "monitor",
    "pin",
    "plan",
    "preflight",
    "prune",
    "recover",
    "report",
    "scan",
    "strip",
    "unpin",
    "verify",
]


ERRORS = ("CkptkitError", "LockHeld", "MassDelete", "NoIntactCheckpoint", "NoSuchRun", "UsageError")
HOMES = dict.fromkeys(ERRORS, "errors") | {
    "Range": "policy.rules", "Rules": "policy.rules", "guard": "guard.entry", "lightning_guard": "guard.lightning",
}  # fmt: skip

# Two rooms have names of public functions. Loading a room puts it here under its name, once: now, and out again, so
# that `ckptkit.verify` stays the function whatever is imported later.
del guard, verify


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ckptkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ckptkit.{HOMES.get(name, 'api')}"), name)
