"""PURE: where a training's own script deletes checkpoints, and by which order it chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.scripts import python, shell
from ckptkit.scripts.python import NoScriptError

if TYPE_CHECKING:
    from ckptkit.model.advice import Cleanup

SHELL = (".sh", ".bash", ".slurm", ".sbatch")
SUFFIXES = (".py", *SHELL)


def is_shell(name: str, text: str) -> bool:
    """Whether a script is the shell's, by its name or by its first line."""
    first = text.partition("\n")[0]
    return name.endswith(SHELL) or (first.startswith("#!") and first.rstrip().endswith("sh"))


def places(name: str, text: str) -> tuple[Cleanup, ...]:
    """Given a script's name and text, return where it deletes checkpoints, by line. Raises NoScriptError."""
    return shell.places(text) if is_shell(name, text) else python.places(text)


__all__ = ["SUFFIXES", "NoScriptError", "is_shell", "places"]
