"""What `move` will do and what came of it: lines for a person, and JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.model.reason import reason_words
from ckptkit.render.text import fault, finding_words, table, verdict_words
from ckptkit.units import count, human, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.model.decision import Moved, MoveItem, MovePlan, Step
    from ckptkit.render.json import Document

MOST_NAMED = 10

WORDS: dict[Step, str] = {"copy": "copy", "compare": "compare", "wait": "no room", "skip": "skip"}


def plan(plan: MovePlan, dry_run: bool) -> str:
    """Given a plan, return it line by line: what happens to each checkpoint and why, and what else goes along.

    dry_run: nothing will be copied.
    """
    would = "would copy" if dry_run else "to copy"
    copies = [item for item in plan.items if item.step == "copy"]
    size = human(sum(item.need_bytes for item in copies))
    head = f"{plan.run}: {would} {count(len(copies), 'checkpoint')}, {size}, to {plan.dest}"
    lines = [printable(f"{head} ({human(plan.available_bytes)} free there)"), *table([_row(i) for i in plan.items])]
    lines += [f"  goes along: {_name_list(plan.belongings)}"] if plan.belongings else []
    lines += [f"  stays here: {_name_list(plan.left)}"] if plan.left else []
    return "\n".join(lines)


def _row(item: MoveItem) -> tuple[str, ...]:
    checkpoint, verdict, step, reasons, _ = item
    # The state has a column of its own.
    why = reason_words(reasons) if verdict.intact else " ".join(map(finding_words, verdict.findings[:1]))
    why = {"compare": "is there already: compared only", "wait": "does not fit there"}.get(step, why)
    return WORDS[step], checkpoint.name, human(checkpoint.apparent_bytes), verdict_words(verdict), why


def _name_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return printable(", ".join(names[:MOST_NAMED])) + more


def outcome(moved: Moved) -> str:
    """Given what came of it, return what is proved where, how it was proved, and what left the source."""
    plan = moved.plan
    lines = []
    if moved.proved:
        copied = f"{len(moved.copied)} copied just now"
        lines += [f"{count(len(moved.proved), 'checkpoint')} proved at {plan.dest}, {copied}", f"  proof: {plan.proof}"]
    if moved.deleted:
        sentence = f"{plan.run}: deleted {count(len(moved.deleted.deleted), 'checkpoint')}"
        lines.append(f"{sentence}, freed {human(moved.deleted.freed_bytes)}")
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
    plan = moved.plan
    names = [i.checkpoint.name for i in plan.items if i.step == "skip" and i.verdict.intact]
    names = [name for name in names if name not in moved.proved]
    if moved.deleted is None or not names:
        return ""
    more = command("move", plan.run, plan.dest, "--delete-source", "--keep-every", "1")
    return printable(f"still at {plan.run}, since no rule keeps it: {_name_list(names)}; to move it too: {more}")


def complaints(moved: Moved) -> list[str]:
    """Given what came of it, return a line for each thing that is not as it was asked for, and what to do."""
    plan = moved.plan
    lines = [f"{failure.path} was not copied: {fault(failure)}" for failure in moved.failures]
    lines += lacking(moved) if moved.missing_bytes else []
    lines += [f"{plan.run}/{name} stays: {reason_words((why,))}" for name, why in moved.stays]
    lines += [moved.blocked] if moved.blocked else []
    lines += [
        f"can't delete {failure.path}: {fault(failure)}"
        for failure in (moved.deleted.failures if moved.deleted else ())
    ]
    return lines


def lacking(moved: Moved) -> list[str]:
    """Given what came of it, or a plan alone, return what does not fit at DEST, and by how much."""
    plan = moved.plan
    waiting = [item.checkpoint.name for item in plan.waiting]
    which = f"{_name_list(waiting)} " if waiting else ""
    need = f"all of it needs {human(plan.need_bytes)}, {human(plan.available_bytes)} were free"
    sentence = f"{which}did not fit at {plan.dest}: {human(moved.missing_bytes)} are missing ({need})"
    return [f"{sentence}; make room there, or name another volume, and run it again"]


def document(moved: Moved) -> Document:
    """The content of `ckptkit.move/1`."""
    from ckptkit.render.json import failure  # only where JSON is asked for

    plan, deleted = moved.plan, moved.deleted
    return {
        "run": plan.run,
        "dest": plan.dest,
        "host": plan.host,
        "folder": plan.folder,
        "proof": plan.proof,
        "dry_run": not moved.done,
        "checkpoints": [_item(item, moved) for item in plan.items],
        "belongings": list(plan.belongings),
        "left": list(plan.left),
        "need_bytes": plan.need_bytes,
        "available_bytes": plan.available_bytes,
        "missing_bytes": moved.missing_bytes or plan.missing_bytes,
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
    from ckptkit.render.json import considered  # only where JSON is asked for

    checkpoint, verdict, step, reasons, need = item
    return {
        **considered(checkpoint, verdict, step, reasons),
        "bytes": checkpoint.apparent_bytes,
        "need_bytes": need,
        "proved": checkpoint.name in moved.proved,
    }
