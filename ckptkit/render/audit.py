"""What was deleted: when, by whom, why, and what that gave back."""

from collections.abc import Sequence

from ckptkit.model.events import Deletion
from ckptkit.model.reason import reason_words
from ckptkit.render.json import Document, iso
from ckptkit.units import human, printable


def page(deletions: Sequence[Deletion]) -> str:
    """Given deletions, oldest first, return three lines for each: what, who, why."""
    return "\n".join(line for deletion in deletions for line in _lines(deletion)) or "no deletion is on record"


def _lines(deletion: Deletion) -> tuple[str, str, str]:
    sizes = f"{human(deletion.expected_bytes)}; its sweep freed {human(deletion.sweep_freed_bytes)}"
    return (
        f"{iso(deletion.at)}  {printable(deletion.run)}/{printable(deletion.checkpoint)}  {sizes}",
        f"    by  {printable(who(deletion))}",
        f"    why {printable(reason_words(deletion.reasons))}",
    )


def who(deletion: Deletion) -> str:
    """Given a deletion, return who did it in words."""
    via = f", started by {deletion.via}" if deletion.via == "cron" else f", at {deletion.via}" if deletion.via else ""
    return f"{deletion.user}, with {deletion.program} (process {deletion.pid}){via}"


def document(deletions: Sequence[Deletion]) -> Document:
    """Given deletions, oldest first, return them as JSON values."""
    return {"deletions": [_deletion(deletion) for deletion in deletions]}


def _deletion(deletion: Deletion) -> Document:
    return deletion._asdict() | {"at": iso(deletion.at), "reasons": [reason._asdict() for reason in deletion.reasons]}
