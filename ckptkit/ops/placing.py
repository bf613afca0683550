"""Models that are no checkpoints: verified by their weights, put in place whole, their drafts removed."""

import os

from ckptkit import delete, layouts
from ckptkit.model.checkpoint import ASIDE, Finding, Leftover
from ckptkit.model.plan import Failure
from ckptkit.runs import discover
from ckptkit.verify.verdict import weights_findings as findings_of_weights

# Inside the directory that the model is for, so on its file system; a killed writer's is removed by the next one.
DRAFT = f"{ASIDE}draft"


def weights_findings(directory: str) -> tuple[Finding, ...]:
    """Given a directory with a saved model, return what is wrong with its weights; () means they are whole."""
    return findings_of_weights(discover.directory(directory))


def remove_draft(draft: str) -> list[Failure]:
    """Remove a draft, if it is there; only one that carries the aside name."""
    if not os.path.basename(draft).startswith(ASIDE):
        return [Failure(draft, "is not a draft of ours: left alone")]
    if not os.path.lexists(draft):
        return []
    parent = os.open(os.path.dirname(draft), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return delete.remove_leftover(parent, Leftover(draft, os.path.basename(draft), 0), list(delete.RETRY_SECONDS))
    finally:
        os.close(parent)


def put_in_place(draft: str, directory: str) -> list[Failure]:
    """Give the draft's files their names in `directory`; nothing else there is touched. Raises OSError.

    An earlier model's weights go first: broken off here, no model is found, and never a mix of two.
    """
    layout = layouts.LAYOUTS[0]
    written = frozenset(os.listdir(draft))
    delete.remove_files(directory, layout.superseded(frozenset(os.listdir(directory)), written))
    for parent, _, names in os.walk(draft):
        target = os.path.join(directory, os.path.relpath(parent, draft))
        os.makedirs(target, exist_ok=True)
        for name in names:
            os.replace(os.path.join(parent, name), os.path.join(target, name))
    return remove_draft(draft)
