"""What was deleted: when, by whom, why, and what that gave back."""

from collections.abc import Sequence

from ckptkit.model.events import Deletion
from ckptkit.model.reason import reason_words
from ckptkit.render.json import Document, iso
from ckptkit.units import human, printable


def page(deletions: Sequence[Deletion]) -> str:
    """Given deletions, oldest first, return three lines for each: what, who, why."""
    return "\n".join(line for gone in deletions for line in _lines(gone)) or "no deletion is on record"


def _lines(gone: Deletion) -> tuple[str, str, str]:
    sizes = f"{human(gone.expected_bytes)}; its sweep freed {human(gone.sweep_freed_bytes)}"
    return (
        f"{iso(gone.at)}  {printable(gone.run)}/{printable(gone.checkpoint)}  {sizes}",
        f"    by  {printable(who(gone))}",
        f"    why {printable(reason_words(gone.reasons))}",
    )


def who(gone: Deletion) -> str:
    """Given a deletion, return who did it in words."""
    via = f", started by {gone.via}" if gone.via == "cron" else f", at {gone.via}" if gone.via else ""
    return f"{gone.user}, with {gone.program} (process {gone.pid}){via}"


def document(deletions: Sequence[Deletion]) -> Document:
    """Given deletions, oldest first, return them as JSON values."""
    return {"deletions": [_deletion(gone) for gone in deletions]}


def _deletion(gone: Deletion) -> Document:
    return gone._asdict() | {"at": iso(gone.at), "reasons": [reason._asdict() for reason in gone.reasons]}
