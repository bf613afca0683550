"""Which checkpoint a training goes on from, where it is not named: the newest that will do, told what was skipped."""

from ckptkit import discover, ops
from ckptkit.guard.room import Room, inform, warn
from ckptkit.model import SAVING, Judged
from ckptkit.policy import first_finding
from ckptkit.report import text


def newest(room: Room) -> str | None:
    """The checkpoint to go on from; None on a first run. Raises NoIntactCheckpoint if there are, but none will do.

    A disk that can't be read raises too: nobody may guess that there is nothing.
    """
    if discover.is_gone(room.run) or not discover.scan(room.run).checkpoints:
        inform(f"no checkpoint in {room.run} yet: starting at step 0")
        return None
    path = _unjudged(room) or _intact(room)
    inform(f"resuming from {path}")
    return path


def _intact(room: Room) -> str:
    found = ops.latest(room.run, trust=room.settings.trust)
    for passed in found.passed_over:
        warn(text.passed_over(passed.checkpoint, passed.reason))
    return found.path


def _unjudged(room: Room) -> str:
    """Where nobody here can judge what this Trainer saves: the newest, as the Trainer itself takes. "" elsewhere.

    None of which it is known that its save broke off.
    """
    judged = sorted(ops.judge(ops.scan(room.run), quiet=0), key=lambda j: -j.checkpoint.step)
    if room.rotates and any(j.verdict.intact or j.verdict.unread for j in judged):
        return ""
    number = next((number for number, one in enumerate(judged) if _may_be_whole(one)), None)
    if number is None:
        return ""
    for skipped in judged[:number]:
        warn(text.passed_over(skipped.checkpoint, f"{skipped.verdict.state}: {first_finding(skipped)}"))
    return judged[number].checkpoint.path


def _may_be_whole(judged: Judged) -> bool:
    """Whether nobody here can judge it, and the guard's own mark does not say that its save broke off."""
    is_marked = any(file.name == SAVING for file in judged.checkpoint.files)
    return judged.verdict.state == "unknown" and not judged.verdict.unread and not is_marked
