"""Plain lines for a terminal, a log or a mail: aligned, no colour, no control code of a hostile name."""

from collections.abc import Callable, Iterable, Sequence

from ckptkit.model.advice import Check
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, Verdict
from ckptkit.model.decision import Decision, Failure, Outcome, PrunePlan
from ckptkit.model.reason import reason_words
from ckptkit.units import age, count, human, printable


def plan(plan: PrunePlan, dry_run: bool) -> str:
    """Given a plan, return it line by line: what happens to each checkpoint, and why.

    dry_run: nothing will be deleted.
    """
    rows = [_row(decision) for decision in plan.decisions]
    rows += [
        ("delete", left.name, human(left.allocated_bytes), "leftover", "left by a prune that was killed")
        for left in plan.leftovers
    ]
    would = "would free" if dry_run else "to free"
    head = f"{printable(plan.run)}: {would} {human(plan.expected_freed_bytes)}"
    return "\n".join([head, *table(rows)])


def _row(decision: Decision) -> tuple[str, ...]:
    checkpoint, verdict, action, reasons = decision
    return action, checkpoint.name, human(checkpoint.allocated_bytes), verdict_words(verdict), reason_words(reasons)


def verdict_words(verdict: Verdict) -> str:
    """Given a verdict, return its state, and what keeps an intact one from being resumed from."""
    if not verdict.intact:
        return verdict.state
    return "intact, refused" if verdict.refused else "intact" if verdict.resumable else "intact, weights only"


def outcome(plan: PrunePlan, outcome: Outcome) -> str:
    """Given a plan and what came of it, return what was deleted, and what that really freed."""
    if not plan.deletions and not plan.leftovers:
        head = f"{printable(plan.run)}: {count(len(plan.decisions), 'checkpoint')}, nothing to delete"
        return "\n".join([head, *table([(d.checkpoint.name, reason_words(d.reasons)) for d in in_the_way(plan)])])
    deleted = count(len(outcome.deleted), "checkpoint")
    head = f"{printable(plan.run)}: deleted {deleted}, freed {human(outcome.freed_bytes)}"
    return "\n".join([head, *(f"  note: {printable(note)}" for note in outcome.notes)])


def in_the_way(plan: PrunePlan) -> list[Decision]:
    """Given a plan, return what stays although no rule asks for it: left alone for a reason, or held open."""
    return [d for d in plan.decisions if d.action == "leave" or d.codes == {"held-open"}]


def failures(outcome: Outcome) -> list[str]:
    """Given an outcome, return one line for each thing that could not be removed."""
    return [
        f"can't delete {printable(f.path)}: {printable(fault(f))}"
        + (f"; held by {printable(f.held_by)}" if f.held_by else "")
        for f in outcome.failures
    ]


def fault(failure: Failure) -> str:
    """Given a failure, return why it could not be done, and what mends it."""
    return f"{failure.error}; fix: {failure.command}" if failure.command else failure.error


def verdicts(judged: Iterable[Judged], going_on: Callable[[Checkpoint], str] | None = None) -> str:
    """Given checkpoints with their verdicts, return a line each and one for each finding.

    going_on: returns what resumes from one; with it, each is explained in words too.
    """
    lines: list[str] = []
    for each in judged:
        checkpoint, verdict = each
        lines.append(f"{verdict.state:<12} {printable(checkpoint.path)}{_kind(verdict)}")
        lines += [f"    {finding(f.file, f.code, f.message)}" for f in verdict.findings]
        lines += [f"    {printable(line)}" for line in _explanation(each, going_on(checkpoint))] if going_on else []
    return "\n".join(lines)


def _explanation(judged: Judged, going_on: str) -> list[str]:
    from ckptkit.render.explain import explain

    return explain(judged, going_on)


def unjudged(checkpoint: Checkpoint, verdict: Verdict, now: float, name: str = "") -> str:
    """Given an unknown checkpoint and the time in seconds since the epoch, return why, how large and how old it is.

    name: what to call it, default its path.
    """
    why = finding_words(verdict.findings[0]) if verdict.findings else "nothing tells why"
    what = f"{name or checkpoint.path} can't be judged ({why}); {human(checkpoint.allocated_bytes)}"
    return printable(f"{what}, written {age(now - checkpoint.modified_at)} ago; nothing here will delete it")


def finding_words(finding: Finding) -> str:
    """Given a finding, return the file and what is wrong with it."""
    return f"{finding.file} {finding.message}".strip()


def checklist(checks: Iterable[Check]) -> str:
    """Given checks, return a line each: go, warn or no-go, and what mends what is not right."""
    lines = []
    for check in checks:
        lines.append(f"{check.state:<6} {check.code:<16} {printable(check.message)}")
        if check.state != "go" and check.command:
            lines.append(f"       fix: {printable(check.command)}")
    return "\n".join(lines)


def finding(file: str, code: str, message: str) -> str:
    """Given the parts of a finding, return its line."""
    return f"{code}: {printable(f'{file} {message}'.strip())}"


def passed_over(checkpoint: Checkpoint, reason: str) -> str:
    """Given a checkpoint that `latest` did not take and why, return its line."""
    return f"skipped {printable(checkpoint.path)}: {printable(reason)}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Given rows of cells, return them aligned, two spaces in; the last column runs free."""
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in clean) for i in range(len(clean[0]) - 1)] if clean else []
    return ["  " + "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in clean]


def _kind(verdict: Verdict) -> str:
    if verdict.refused:
        return " (refused: a pickle in it names code that a resume must not run)"
    if not verdict.intact:
        return " (weights intact, not resumable)" if verdict.weights_intact else ""
    return " (resumable)" if verdict.resumable else " (weights only)"
