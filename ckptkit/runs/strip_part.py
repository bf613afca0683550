"""The part of a checkpoint that strip removes: what only continues training. And what a killed strip left of one."""

import os
from collections.abc import Container

from ckptkit import layouts
from ckptkit.model.checkpoint import OURS, Checkpoint, Leftover
from ckptkit.model.decision import PrunePlan, StripPart
from ckptkit.runs.discover import allocated


def strip_part(checkpoint: Checkpoint) -> StripPart | None:
    """Given a checkpoint, return the part that strip removes, or None if there is none, or no model would be left.

    The smallest file takes the mark's name, the largest goes first: where one of them resists, most is freed all the
    same, and what stays as the mark is small. The mark lies beside the marker, not in a directory that goes empty.
    """
    layout = layouts.by_name(checkpoint.layout)
    names = frozenset(file.name for file in checkpoint.files)
    begun = layout.mark(names)
    going = sorted((f for f in checkpoint.files if layout.only_continues(f.name)), key=lambda f: f.apparent_bytes)
    beside = (file for file in going if "/" not in file.name)
    first = [file for file in checkpoint.files if file.name == begun] if begun else [*beside][:1]
    if not first or not layout.weights(names - {file.name for file in going}):
        return None
    mark = begun or layouts.STRIPPED + first[0].name
    # Of an earlier strip that another save wrote over.
    others = [file for file in checkpoint.files if file.name.startswith(layouts.STRIPPED) and file.name != mark]
    files = (*first, *(file for file in reversed(going) if file not in first), *others)
    return StripPart(files, mark, allocated(checkpoint, files), bool(begun))


def strip_leftovers(plan: PrunePlan, held: Container[str], before: float) -> list[Leftover]:
    """Given a plan, return what killed strips left in those that it keeps, but in nothing that is held.

    before: seconds since the epoch; where a file is younger, somebody may be saving there again.
    """
    untouched = (
        decision.checkpoint
        for decision in plan.decisions
        if decision.action == "keep"
        and decision.checkpoint.name not in held
        and is_untouched(decision.checkpoint, before)
    )
    begun = ((checkpoint, part) for checkpoint in untouched if (part := strip_part(checkpoint)) and part.begun)
    return [
        Leftover(os.path.join(checkpoint.path, part.mark), f"{checkpoint.name}/{part.mark}", part.allocated_bytes)
        for checkpoint, part in begun
    ]


def is_untouched(checkpoint: Checkpoint, before: float) -> bool:
    """Whether nobody has written a file of it since."""
    return all(f.modified_at <= before for f in checkpoint.files if not f.name.startswith(OURS))
