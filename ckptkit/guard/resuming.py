"""Which checkpoint a training goes on from, where it is not named: the newest that will do, told what was skipped."""

import os
from functools import partial

from ckptkit import layouts
from ckptkit.errors import NoIntactCheckpoint
from ckptkit.guard import ranks
from ckptkit.guard.messages import inform, warn
from ckptkit.guard.room import Room
from ckptkit.model.checkpoint import SAVING, Judged
from ckptkit.ops.latest import latest
from ckptkit.ops.read import judge, scan, verify
from ckptkit.policy.keep import first_finding
from ckptkit.render import text
from ckptkit.runs import discover


def newest(room: Room, leads: bool, models_only: bool) -> str | None:
    """The checkpoint to go on from; None on a first run. Raises NoIntactCheckpoint if there are, but none will do.

    leads: whether this rank looks after a disk. Nodes with disks of their own go on from one step, or not at all.
    models_only: the Trainer saves nothing but models, and goes on from those.
    A disk that can't be read raises too: nobody may guess that there is nothing. Every rank must call it.
    """
    paths = ranks.ask(partial(_newest, room, models_only), leads)
    path = min(paths, key=step_of)
    if any(step_of(other) != step_of(path) for other in paths):
        if not path or not all(ranks.ask(partial(room.sound, os.path.basename(path)), leads)):
            names = ", ".join(os.path.basename(other) if other else "none" for other in paths)
            raise NoIntactCheckpoint(f"{room.run}: no intact checkpoint that all nodes have; the newest are: {names}")
        warn(f"{room.run}: the newest that all nodes have is {os.path.basename(path)}")
    line = f"resuming from {path}" if path else f"no checkpoint in {room.run} yet: starting at step 0"
    ranks.decide(partial(inform, line))
    return path


def _newest(room: Room, models_only: bool) -> str | None:
    """On this rank's disk."""
    if discover.is_gone(room.run) or not discover.scan(room.run).checkpoints:
        return None
    return _unjudged(room) or _intact(room, models_only)


def step_of(path: str | None) -> int:
    """Of a checkpoint, by its name; -1 of none."""
    candidates, step = layouts.named(os.path.basename(path)) if path else ((), 0)
    return step if candidates else -1


def is_checkpoint(path: str) -> bool:
    """Whether something of that name can be a checkpoint."""
    return step_of(path) >= 0


def _intact(room: Room, models_only: bool) -> str:
    try:
        answer = latest(room.run, trust=room.settings.trust)
    except NoIntactCheckpoint:
        if models_only and (path := _model(room)):
            warn(f"{path} holds only a model (save_only_model): the optimizer starts from scratch")
            return path
        raise
    for skipped in answer.passed_over:
        warn(text.passed_over(skipped.checkpoint, skipped.reason.message))
    return answer.path


def _model(room: Room) -> str:
    """The newest one that is intact and holds nothing that a resume would refuse, "" if there is none."""
    judged = verify(room.run, trust=room.settings.trust)
    models = [j.checkpoint for j in judged if j.verdict.intact and not j.verdict.refused]
    return max(models, key=lambda checkpoint: checkpoint.step).path if models else ""


def _unjudged(room: Room) -> str:
    """Where nobody here can judge what this Trainer saves: the newest, as the Trainer itself takes. "" elsewhere.

    None of which it is known that its save broke off.
    """
    judged = sorted(judge(scan(room.run), quiet=0), key=lambda j: -j.checkpoint.step)
    if room.rotates and any(j.verdict.intact or j.verdict.unread for j in judged):
        return ""
    number = next((number for number, each in enumerate(judged) if _may_be_whole(each)), None)
    if number is None:
        return ""
    for skipped in judged[:number]:
        warn(text.passed_over(skipped.checkpoint, f"{skipped.verdict.state}: {first_finding(skipped)}"))
    return judged[number].checkpoint.path


def _may_be_whole(judged: Judged) -> bool:
    """Whether nobody here can judge it, and the guard's own mark does not say that its save broke off.

    Where the Trainer rotates it writes over an older one of that name. One that a kill left with the mark, and with no
    file as new as that, is the older one still.
    """
    files = judged.checkpoint.files
    marked_at = next((file.modified_at for file in files if file.name == SAVING), None)
    torn = marked_at is not None and any(f.modified_at >= marked_at for f in files if f.name != SAVING)
    resumes = any(file.name == "trainer_state.json" for file in files)  # else the Trainer itself dies of it
    return judged.verdict.state == "unknown" and not judged.verdict.unread and resumes and not torn
