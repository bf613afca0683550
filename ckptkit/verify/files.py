"""What the set of names tells: whether the save finished, what it promises and lacks, and whose checkpoint it is.

`incomplete` needs evidence that this layout's writer broke off. Where there is none the checkpoint is somebody else's,
or a person's, and nobody here can judge it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit import layouts
from ckptkit.formats import HINTS, TORN
from ckptkit.layouts import Layout, fits
from ckptkit.model.checkpoint import OURS, Checkpoint, Finding
from ckptkit.system import small_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptkit.verify.facts import CheckpointParts

TWO_WRITERS = "two programs wrote here"
SHOWN = 3  # names of what was found, so that a person knows what it is


class SettingsFacts(NamedTuple):
    """What the file of settings tells: the class that it holds, how many ranks there are, who keeps whose files."""

    made_by: str = ""
    world: int = 0
    each_node: bool = False


def name_findings(checkpoint: Checkpoint, layout: Layout, parts: CheckpointParts) -> Iterator[Finding]:
    """Given a checkpoint and what its parts tell, yield what its names say against it."""
    names = frozenset(file.name for file in checkpoint.files)
    yield from _debris(layout, names)
    if layout.single or layout.marker in names:
        yield from _finished(checkpoint, layout, names, parts)
    else:
        yield from _unfinished(checkpoint, layout, names, parts)


def _debris(layout: Layout, names: frozenset[str]) -> Iterator[Finding]:
    for name in sorted(names):
        if fits(layout.debris, name):
            yield Finding(name, "debris", "is a temporary file of a writer that was killed")


# --- the marker is there ----------------------------------------------------------------------------------------------


def _finished(
    checkpoint: Checkpoint, layout: Layout, names: frozenset[str], parts: CheckpointParts
) -> Iterator[Finding]:
    yield from _marked(checkpoint, layout)
    gaps = layout.resume_gaps(names)
    # One that resumes as the Trainer alone writes it is the Trainer's, whatever else lies in it.
    mixed = bool(layout.foreign) and (gaps or layout.resume[0][0] not in names)
    alien = layouts.alien(layout, (*checkpoint.directories, *sorted(names))) if mixed else None
    if alien:
        yield Finding(alien, "foreign-layout", f"belongs to another framework than {layout.marker}: {TWO_WRITERS}")
        return
    yield from _weights_missing(layout, names, parts)
    yield from _ranks_lost(checkpoint, layout, names)
    if layout.holds_optimizer(names):
        for name in gaps:
            message = "was removed after the save: only the weights can be used"
            yield Finding(name, "removed-after-save", message)


def _marked(checkpoint: Checkpoint, layout: Layout) -> Iterator[Finding]:
    """Marks of a save that is not finished. Ours goes a moment after the marker came, and then says nothing more:

    unless it is newer than the marker, which is then of the save before, or the marker is not written last.
    """
    times = {file.name: file.modified_at for file in checkpoint.files}
    for name in layout.incomplete:
        over = name.startswith(OURS) and layout.is_last and times.get(name, 0.0) <= times.get(layout.marker, 0.0)
        if name in times and not over:
            yield Finding(name, "unfinished", "marks a save that did not finish")


def strange_findings(checkpoint: Checkpoint, layout: Layout, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Given what is wrong with a checkpoint that is not the Trainer's, yield who else was at work there.

    What is whole is whole, whatever lies beside it; of what is not, nobody can say which of the two broke off.
    """
    if layout.state or all(finding.code in HINTS for finding in findings):
        return
    name = next((file.name for file in checkpoint.files if fits(layout.others, file.name)), None)
    if name:
        yield Finding(name, "foreign-layout", f"belongs to another framework than {layout.marker}: {TWO_WRITERS}")


def _ranks_lost(checkpoint: Checkpoint, layout: Layout, names: frozenset[str]) -> Iterator[Finding]:
    settings = _settings(checkpoint, layout, names) if layout.rank_files(names) else SettingsFacts()
    for name in layout.ranks_lost(names, settings.world, settings.each_node):
        yield Finding(name, "missing", "is missing, and the other ranks' files say that this rank saved too")


def _weights_missing(layout: Layout, names: frozenset[str], parts: CheckpointParts) -> Iterator[Finding]:
    if not parts.weights:
        yield Finding(
            "", "no-weights", f"holds none of the weights that ckptkit knows: {', '.join(_weight_names(layout))}"
        )
    for weights in parts.weights:
        for name in weights.needed:
            if name not in names:
                yield Finding(name, "no-weights", "is missing, and the weights can't be loaded without it")


def _weight_names(layout: Layout) -> list[str]:
    return [name for model in layout.models for name in model.files]


# --- it is not --------------------------------------------------------------------------------------------------------


def _unfinished(
    checkpoint: Checkpoint, layout: Layout, names: frozenset[str], parts: CheckpointParts
) -> Iterator[Finding]:
    mark = next((name for name in layout.incomplete if name in names), None)
    if mark:
        yield Finding(layout.marker, "missing", layout.unmarked)
        yield Finding(mark, "unfinished", "was written when the save began, and is removed at its end")
        return
    there = (*checkpoint.directories, *sorted(names))
    other = next((name for name in there if fits(layout.others, name)), None)
    if other is not None:
        message = (
            f"no {layout.marker}, and {other} was written by another program, which alone can tell whether it is whole"
        )
        yield Finding("", "not-recognized", message)
    elif _broke_off(checkpoint, layout, names, parts):
        yield Finding(layout.marker, "missing", layout.unmarked)
        for name in layout.shards_promised(names):
            yield Finding(name, "missing", "is missing, and the other shards' names say that it should be there")
    else:
        yield Finding("", "not-recognized", _not_recognized(layout, names))


def _broke_off(checkpoint: Checkpoint, layout: Layout, names: frozenset[str], parts: CheckpointParts) -> bool:
    """Whether anything shows that this layout's writer was at work here, and did not come to its end.

    A file that is cut, empty or zeroed does; one in another format shows that somebody else wrote it.
    """
    there = (*checkpoint.directories, *names)
    if any(fits(layout.witness, name) or fits(layout.debris, name) for name in there):
        return True
    own_facts = (
        facts for name, facts in parts.facts.items() if name not in layout.first
    )  # everybody writes a config.json
    if any(code in TORN for facts in own_facts for code, _ in facts.faults):
        return True
    made_by = _settings(checkpoint, layout, names).made_by
    if layout.shards_promised(names) or (layout.trainers and made_by.endswith(layout.trainers)):
        return True
    return not checkpoint.directories and {name for name in names if not name.startswith(OURS)} <= layout.first


def _not_recognized(layout: Layout, names: frozenset[str]) -> str:
    shown = [name for name in sorted(names) if not name.startswith(OURS)]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    what = f"it holds {', '.join(shown[:SHOWN])}{more}" if shown else "it is not empty"
    return f"no {layout.marker}, and nothing shows that {layout.title} wrote this; {what}"


# --- the settings -----------------------------------------------------------------------------------------------------


def _settings(checkpoint: Checkpoint, layout: Layout, names: frozenset[str]) -> SettingsFacts:
    """What the settings' pickle tells, followed and never loaded; nothing where it can't be read."""
    name = next((name for name in layout.settings if name in names), None)
    if name is None:
        return SettingsFacts()
    from ckptkit.formats import training_args

    try:
        with small_files.opened(os.path.join(checkpoint.folder, name)) as file:
            made_by, values = training_args.content(file, os.fstat(file.fileno()).st_size)
    except OSError:
        return SettingsFacts()
    return SettingsFacts(made_by, _world(values), values.get("save_on_each_node") is True)


def _world(values: dict[str, Any]) -> int:
    """How many ranks trained: accelerate's state, which `TrainingArguments` carries (`accelerate/state.py`)."""
    from ckptkit.formats.inert import InertCall

    shared = values.get("distributed_state")
    state = shared.state if type(shared) is InertCall else None
    count = state.get("num_processes") if type(state) is dict else 0
    return count if type(count) is int and 0 < count < 100_000 else 0
