"""A plan of strips and what came of it: lines for a person, and JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.model.decision import Outcome, Strip, StripPlan
from ckptkit.model.reason import reason_words
from ckptkit.render.text import table
from ckptkit.units import count, human, printable

if TYPE_CHECKING:
    from ckptkit.render.json import Document


def plan(made: StripPlan, dry_run: bool) -> str:
    """Given a plan, return it line by line: what happens to each checkpoint, what that frees, and why."""
    rows = [
        (d.action, d.checkpoint.name, human(d.part.allocated_bytes) if d.part else "-", d.verdict.state, _why(d))
        for d in made.decisions
    ]
    would = "would free" if dry_run else "to free"
    return "\n".join([f"{printable(made.run)}: {would} {human(made.expected_freed_bytes)}", *table(rows)])


def _why(decision: Strip) -> str:
    going = ", ".join(file.name for file in decision.part.files) if decision.part else ""
    return reason_words(decision.reasons) + (f" (removes {going})" if going else "")


def outcome(made: StripPlan, done: Outcome) -> str:
    """Given a plan and what came of it, return what is weights-only now, and what that really freed."""
    run = printable(made.run)
    if not made.strips:
        kept = sum(d.action == "keep" for d in made.decisions)
        return f"{run}: nothing to strip; {kept} of {len(made.decisions)} kept as they are"
    told = f"{run}: stripped {count(len(done.deleted), 'checkpoint')}, freed {human(done.freed_bytes)}"
    return "\n".join([told, *(f"  note: {printable(note)}" for note in done.notes)])


def document(made: StripPlan, done: Outcome | None, stopped: str = "") -> Document:
    """One run of `ckptkit.strip/1`."""
    from ckptkit.render.json import failure  # only where JSON is asked for

    return {
        "run": made.run,
        "dry_run": done is None,
        "decisions": [_decision(d) for d in made.decisions],
        "expected_freed_bytes": made.expected_freed_bytes,
        "freed_bytes": done.freed_bytes if done else 0,
        "failures": [failure(f) for f in done.failures] if done else [],
        "notes": list(done.notes) if done else [stopped] if stopped else [],
    }


def _decision(made: Strip) -> Document:
    checkpoint, verdict, action, reasons, part = made
    return {
        "name": checkpoint.name,
        "path": checkpoint.path,
        "step": checkpoint.step,
        "verdict": verdict.state,
        "resumable": verdict.resumable,
        "action": action,
        "reasons": [reason._asdict() for reason in reasons],
        "files": [file.name for file in part.files] if part else [],
        "expected_freed_bytes": part.allocated_bytes if part else 0,
        "allocated_bytes": checkpoint.allocated_bytes,
    }
