"""What the checkpoints of each framework look like. Data first: a new framework is a new module and a line here."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from ckptkit.layouts import accelerate, dcp, deepspeed, fsdp, hf_trainer, lightning, others
from ckptkit.layouts.layout import STRIPPED, Layout, Weights, fits

# Where a name leaves it open, the first is the one whose evidence is asked for.
LAYOUTS: tuple[Layout, ...] = (
    hf_trainer.LAYOUT, fsdp.LAYOUT, deepspeed.LAYOUT, accelerate.OWN, accelerate.BY_STEP, dcp.LAYOUT, dcp.EXPORT,
    lightning.FILE, lightning.SHARDED, *others.LAYOUTS,
)  # fmt: skip


def by_name(name: str) -> Layout:
    """Given a layout's name as a Checkpoint carries it, return the layout. Raises KeyError."""
    return {layout.name: layout for layout in LAYOUTS}[name]


@lru_cache(maxsize=10_000)  # whoever asks what others train looks through the same directories again and again
def named(entry: str) -> tuple[tuple[Layout, ...], int]:
    """Given the name of a directory entry, return the layouts whose checkpoints are named so, and the step; ((), 0)."""
    matches = [(layout, match) for layout in LAYOUTS if (match := layout.named(entry))]
    return tuple(layout for layout, _ in matches), int(matches[0][1][1] or 0) if matches else 0


def step_of(entry: str) -> tuple[Layout, int] | None:
    """Given the name of a directory entry, return its first layout and its step; None if the name leaves it open."""
    layouts, step = named(entry)
    return next(((layout, step) for layout in layouts if layout.clear), None)


def recognized(candidates: Sequence[Layout], names: Iterable[str]) -> Layout | None:
    """Given the layouts that a name leaves open and the names in a checkpoint, return the one that these show, or None.

    What two layouts claim is the first one's, which then finds the other's files in it.
    """
    there = frozenset(names)
    by_state = [layout for layout in candidates if layout.state and layout.state in there]
    candidates = by_state or candidates
    if by_state and not by_state[0].resume_gaps(there) and by_state[0].resume[0][0] in there:
        return by_state[0]  # one that resumes as the Trainer alone writes it, whatever else lies in it
    signed = [layout for layout in candidates if layout.sign(there)]
    own = [layout for layout in signed if layout.marker in there]
    if len(own or signed) == 1:
        return (own or signed)[0]
    return (by_state or signed)[0] if by_state or signed else None


def alien(layout: Layout, names: Iterable[str]) -> str | None:
    """Given a checkpoint's layout and the names in it, return one that belongs to a framework it can't share with."""
    there = tuple(names)
    return next(filter(None, (by_name(other).sign(there) for other in layout.foreign)), None)


__all__ = ["LAYOUTS", "STRIPPED", "Layout", "Weights", "alien", "by_name", "fits", "named", "recognized", "step_of"]
