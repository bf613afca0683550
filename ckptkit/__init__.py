"""Keep fine-tuning runs alive on small disks. `ckptkit.guard(trainer)` is the one line that a training script adds.

The names load on first use: `python -m ckptkit prune` must not pay for what a notebook wants.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ckptkit.version import __version__

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
    "__version__",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ckptkit' has no attribute {name!r}")
    from importlib import import_module

    elsewhere = {"guard": "ckptkit.guard.entry", "lightning_guard": "ckptkit.guard.lightning"}
    room = {**elsewhere, "Range": "ckptkit.policy.rules", "Rules": "ckptkit.policy.rules"}.get(name, "ckptkit.api")
    if name[0].isupper() and room == "ckptkit.api":
        room = "ckptkit.errors"
    return getattr(import_module(room), name)


class _Package(ModuleType):
    """Importing the room `ckptkit.report` would put it in the place of the function of that name, for good."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
