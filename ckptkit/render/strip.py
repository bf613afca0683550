"""A plan of strips and what came of it: lines for a person, and JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.model.reason import reason_words
from ckptkit.render.text import table
from ckptkit.units import count, human, printable

if TYPE_CHECKING:
    from ckptkit.model.decision import Outcome, Strip, StripPlan
    from ckptkit.render.json import Document


def plan(plan: StripPlan, dry_run: bool) -> str:
    """Given a plan, return it line by line: what happens to each checkpoint, what that frees, and why.

    dry_run: nothing will be removed.
    """
    rows = [
        (d.action, d.checkpoint.name, human(d.part.allocated_bytes) if d.part else "-", d.verdict.state, _why(d))
        for d in plan.decisions
    ]
    would = "would free" if dry_run else "to free"
    return "\n".join([f"{printable(plan.run)}: {would} {human(plan.expected_freed_bytes)}", *table(rows)])


def _why(decision: Strip) -> str:
    going = ", ".join(file.name for file in decision.part.files) if decision.part else ""
    return reason_words(decision.reasons) + (f" (removes {going})" if going else "")


def outcome(plan: StripPlan, outcome: Outcome) -> str:
    """Given a plan and what came of it, return what is weights-only now, and what that really freed."""
    run = printable(plan.run)
    if not plan.strips:
        kept = sum(d.action == "keep" for d in plan.decisions)
        return f"{run}: nothing to strip; {kept} of {len(plan.decisions)} kept as they are"
    head = f"{run}: stripped {count(len(outcome.deleted), 'checkpoint')}, freed {human(outcome.freed_bytes)}"
    return "\n".join([head, *(f"  note: {printable(note)}" for note in outcome.notes)])


def document(plan: StripPlan, outcome: Outcome | None, stopped: str = "") -> Document:
    """One run of `ckptkit.strip/1`. outcome: None in a dry run. stopped: what the real run stops at, or ""."""
    from ckptkit.render.json import failure  # only where JSON is asked for

    return {
        "run": plan.run,
        "dry_run": outcome is None,
        "decisions": [_decision(d) for d in plan.decisions],
        "expected_freed_bytes": plan.expected_freed_bytes,
        "freed_bytes": outcome.freed_bytes if outcome else 0,
        "failures": [failure(f) for f in outcome.failures] if outcome else [],
        "notes": list(outcome.notes) if outcome else [stopped] if stopped else [],
    }


def _decision(decision: Strip) -> Document:
    from ckptkit.render.json import considered  # only where JSON is asked for

    checkpoint, verdict, action, reasons, part = decision
    return {
        **considered(checkpoint, verdict, action, reasons),
        "files": [file.name for file in part.files] if part else [],
        "expected_freed_bytes": part.allocated_bytes if part else 0,
        "allocated_bytes": checkpoint.allocated_bytes,
    }
