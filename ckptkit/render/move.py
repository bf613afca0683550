"""What `move` will do and what came of it: lines for a person, and JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.model.decision import Moved, MoveItem, MovePlan
from ckptkit.model.reason import reason_words
from ckptkit.render.text import fault, finding_words, table, verdict_words
from ckptkit.units import count, human, printable

MOST_NAMED = 10

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.render.json import Document

WORDS = {"copy": "copy", "compare": "compare", "wait": "no room", "skip": "skip"}


def plan(made: MovePlan, dry_run: bool) -> str:
    """Given a plan, return it line by line: what happens to each checkpoint and why, and what else goes along."""
    would = "would copy" if dry_run else "to copy"
    copies = [item for item in made.items if item.step == "copy"]
    size = human(sum(item.need_bytes for item in copies))
    head = f"{made.run}: {would} {count(len(copies), 'checkpoint')}, {size}, to {made.dest}"
    lines = [printable(f"{head} ({human(made.available_bytes)} free there)"), *table([_row(i) for i in made.items])]
    lines += [f"  goes along: {_named(made.belongings)}"] if made.belongings else []
    lines += [f"  stays here: {_named(made.left)}"] if made.left else []
    return "\n".join(lines)


def _row(item: MoveItem) -> tuple[str, ...]:
    checkpoint, verdict, step, reasons, _ = item
    # The state has a column of its own.
    why = reason_words(reasons) if verdict.intact else " ".join(map(finding_words, verdict.findings[:1]))
    why = {"compare": "is there already: compared only", "wait": "does not fit there"}.get(step, why)
    return WORDS[step], checkpoint.name, human(checkpoint.apparent_bytes), verdict_words(verdict), why


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return printable(", ".join(names[:MOST_NAMED])) + more


def outcome(moved: Moved) -> str:
    """Given what came of it, return what is proved where, how it was proved, and what left the source."""
    made = moved.plan
    lines = []
    if moved.proved:
        copied = f"{len(moved.copied)} copied just now"
        lines += [f"{count(len(moved.proved), 'checkpoint')} proved at {made.dest}, {copied}", f"  proof: {made.proof}"]
    if moved.deleted:
        told = f"{made.run}: deleted {count(len(moved.deleted.deleted), 'checkpoint')}"
        lines.append(f"{told}, freed {human(moved.deleted.freed_bytes)}")
        lines += [f"  note: {note}" for note in moved.deleted.notes]
    return "\n".join(map(printable, lines))


def resume(moved: Moved) -> str:
    """Given what came of it, return the line that goes on there, and where to type it."""
    where = f"on {moved.plan.host}" if moved.plan.host else "there"
    if not moved.resume or not moved.newer:
        return printable(f"resume {where} with: {moved.resume}") if moved.resume else ""
    lines = (
        f"the newest that this call proved: {moved.resume}",
        f"{moved.newer} lies there too, is newer, and was not compared by this call;",
        f"if an earlier call proved it, or a training there saved it, resume {where} with: {moved.resume_newer}",
    )
    return "\n".join(map(printable, lines))


def still_there(moved: Moved) -> str:
    """Given what came of it, return what is intact at the source still because no rule keeps it, and how it moves."""
    made = moved.plan
    names = [i.checkpoint.name for i in made.items if i.step == "skip" and i.verdict.intact]
    names = [name for name in names if name not in moved.proved]
    if moved.deleted is None or not names:
        return ""
    more = command("move", made.run, made.dest, "--delete-source", "--keep-every", "1")
    return printable(f"still at {made.run}, since no rule keeps it: {_named(names)}; to move it too: {more}")


def complaints(moved: Moved) -> list[str]:
    """Given what came of it, return a line for each thing that is not as it was asked for, and what to do."""
    made = moved.plan
    lines = [f"{failure.path} was not copied: {fault(failure)}" for failure in moved.failures]
    lines += lacking(moved) if moved.missing_bytes else []
    lines += [f"{made.run}/{name} stays: {reason_words((why,))}" for name, why in moved.stays]
    lines += [moved.blocked] if moved.blocked else []
    lines += [
        f"can't delete {failure.path}: {fault(failure)}"
        for failure in (moved.deleted.failures if moved.deleted else ())
    ]
    return lines


def lacking(moved: Moved) -> list[str]:
    """Given what came of it, or a plan alone, return what does not fit at DEST, and by how much."""
    made = moved.plan
    waiting = [item.checkpoint.name for item in made.waiting]
    which = f"{_named(waiting)} " if waiting else ""
    need = f"all of it needs {human(made.need_bytes)}, {human(made.available_bytes)} were free"
    told = f"{which}did not fit at {made.dest}: {human(moved.missing_bytes)} are missing ({need})"
    return [f"{told}; make room there, or name another volume, and run it again"]


def document(moved: Moved) -> Document:
    """The content of `ckptkit.move/1`."""
    from ckptkit.render.json import failure  # only where JSON is asked for

    made, deleted = moved.plan, moved.deleted
    return {
        "run": made.run,
        "dest": made.dest,
        "host": made.host,
        "folder": made.folder,
        "proof": made.proof,
        "dry_run": not moved.done,
        "checkpoints": [_item(item, moved) for item in made.items],
        "belongings": list(made.belongings),
        "left": list(made.left),
        "need_bytes": made.need_bytes,
        "available_bytes": made.available_bytes,
        "missing_bytes": moved.missing_bytes or made.missing_bytes,
        "failures": [failure(f) for f in (*moved.failures, *(deleted.failures if deleted else ()))],
        "deleted": list(deleted.deleted) if deleted else [],
        "freed_bytes": deleted.freed_bytes if deleted else 0,
        "stays": [{"name": name, "reason": why._asdict()} for name, why in moved.stays],
        "blocked": moved.blocked,
        "notes": list(deleted.notes) if deleted else [],
        "resume": moved.resume,
        "newer": moved.newer,
        "resume_newer": moved.resume_newer,
    }


def _item(item: MoveItem, moved: Moved) -> Document:
    checkpoint, verdict, step, reasons, need = item
    return {
        "name": checkpoint.name,
        "path": checkpoint.path,
        "step": checkpoint.step,
        "verdict": verdict.state,
        "resumable": verdict.resumable,
        "action": step,
        "reasons": [reason._asdict() for reason in reasons],
        "bytes": checkpoint.apparent_bytes,
        "need_bytes": need,
        "proved": checkpoint.name in moved.proved,
    }
