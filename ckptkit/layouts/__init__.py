"""What the checkpoints of each framework look like. Data first: a new framework is a new module and a line here."""

from ckptkit.layouts import hf_trainer
from ckptkit.layouts.layout import STRIPPED, Layout, Weights

LAYOUTS: tuple[Layout, ...] = (hf_trainer.LAYOUT,)


def by_name(name: str) -> Layout:
    """Given a layout's name as a Checkpoint carries it, return the layout. Raises KeyError."""
    return {layout.name: layout for layout in LAYOUTS}[name]


def step_of(entry: str) -> tuple[Layout, int] | None:
    """Given the name of a directory entry, return its layout and step, or None if it is no checkpoint's name."""
    for layout in LAYOUTS:
        if match := layout.pattern.fullmatch(entry):
            return layout, int(match.group(1))
    return None


__all__ = ["LAYOUTS", "STRIPPED", "Layout", "Weights", "by_name", "step_of"]
