"""recover's one page: what happened, what was freed, what is resumed, and what to type."""

import os
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from ckptkit.model.advice import Cause, Check, Flag
from ckptkit.model.decision import Decision, Outcome, PrunePlan
from ckptkit.model.disk import Volume
from ckptkit.model.report import Box
from ckptkit.render import text
from ckptkit.units import count, human, percent, printable

COLUMNS = 78
MOST = 3  # of what is listed one by one
OF_THE_PAGE = ("volume", "incomplete", "corrupt", "too-many", "no-intact", "unknown")  # told in the page's own words


def happened(box: Box, causes: Sequence[Cause], log: str, last_error: str) -> str:
    """Given what stands on the disk and what the log tells, return what happened.

    log: the file that was read, "" for none. last_error: its last one, or "".
    """
    lines = [*_from_the_log(causes, log, last_error), *_damaged(box), *_flags(box.flags)]
    lines += [_volume(volume) for volume in box.volumes[:1]]
    return _section("What happened", lines)


def _from_the_log(causes: Sequence[Cause], log: str, last_error: str) -> Iterator[str]:
    if not log:
        return
    name = f"{printable(os.path.basename(log))} says"
    for cause in causes[:1]:
        yield f"{cause.message.removesuffix('.')} ({name}:"
        yield f"  {_short(cause.line, COLUMNS - 5)})"
    if not causes:
        yield f"{name}: {_short(last_error, COLUMNS - 30)}" if last_error else f"{name} no error"


def _damaged(box: Box) -> Iterator[str]:
    damaged = [d for plan in box.plans for d in plan.decisions if d.verdict.damaged]
    for decision in damaged[-MOST:]:
        yield f"{decision.checkpoint.name} is {_state(decision)}: {_why(decision)}"
    if len(damaged) > MOST:
        yield f"and {len(damaged) - MOST} more are damaged"


def _flags(flags: Iterable[Flag]) -> Iterator[str]:
    """What else is red; each with what helps."""
    for flag in [f for f in flags if f.level == "red" and not f.code.startswith(OF_THE_PAGE)][:MOST]:
        yield printable(flag.message)
        if flag.command:
            yield f"  fix: {printable(flag.command)}"


def _volume(volume: Volume) -> str:
    mount, free = printable(volume.mount), human(volume.available_bytes)
    if volume.available_bytes <= 0:
        return f"{mount} is full now: 0 B of {human(volume.total_bytes)} are free"
    return f"{mount} is {percent(volume.used_fraction)} used: {free} of {human(volume.total_bytes)} are free"


def freed(plan: PrunePlan, outcome: Outcome | None, rules: str) -> str:
    """Given what is deleted without a further yes, and what came of it, return what was freed.

    outcome: None in a dry run. rules: what keeps the others, such as "keep-last 2".
    """
    gone = [d for d in plan.deletions if outcome is None or d.checkpoint.path in outcome.deleted]
    left = [line for d in plan.decisions if d.action == "leave" and d.verdict.damaged for line in _left(d)]
    if not gone and not plan.leftovers and left:
        return _section("Freed nothing" if outcome else "Would free nothing", left)
    if outcome and outcome.failures and not gone:
        refused = count(len({f.path for f in outcome.failures}), "deletion")
        return _section("Freed nothing", [f"the disk refused {refused}: see below", *left])
    if not gone and not plan.leftovers:
        waiting = any("waits-for-yes" in d.codes for d in plan.decisions)
        why = "none goes without your yes" if waiting else f"the rules ({rules}) release none"
        return _section("Nothing to free", [f"no checkpoint is damaged, and {why}"])
    size = f"about {human(plan.expected_freed_bytes)}" if outcome is None else human(outcome.freed_bytes)
    verb = "Would free" if outcome is None else "Freed"
    lines = list(_gone(gone, "would delete" if outcome is None else "deleted", rules))
    if plan.leftovers:
        lines.append(f"finished what a killed sweep left: {count(len(plan.leftovers), 'directory')}")
    notes = [printable(note) for note in outcome.notes] if outcome else []
    return _section(f"{verb} {size}", [*lines, *left, *notes])


def _left(decision: Decision) -> Iterator[str]:
    """Why a damaged one stays, and the command that deletes it, where the reason names one."""
    why = "; ".join(reason.message for reason in decision.reasons)
    yield f"left {printable(decision.checkpoint.name)}: {printable(why)}"
    yield from (f"  fix: {printable(reason.command)}" for reason in decision.reasons if reason.command)


def _gone(gone: Sequence[Decision], verb: str, rules: str) -> Iterator[str]:
    damaged, intact = ([d for d in gone if d.verdict.intact is of] for of in (False, True))
    if damaged:
        names = [f"{d.checkpoint.name} ({_state(d)})" for d in damaged]
        yield f"{verb} {_listed(names)}"
    if intact:
        for_room = any("for-room" in d.codes for d in intact)
        why = "so that the next save fits" if for_room else f"which no rule keeps ({rules})"
        what = f"{count(len(intact), 'older intact checkpoint')} ({_span(intact)})"
        yield f"{verb} {what}, {why}"


def waits(names: Sequence[str], command: str, dry_run: bool, asks: bool) -> str:
    """Given the intact checkpoints that go only with a yes, return what a person is told of them.

    command: what deletes them. dry_run: nothing was deleted. asks: the real run will ask.
    """
    if asks:
        return _section("It asks first", ["more than half of the intact checkpoints would go"])
    verb = "would stay" if dry_run else "stay"
    what = f"{count(len(names), 'older intact checkpoint')} {verb} until you say yes"
    return _section("Waits for your yes", [f"{what}: more than half would go", f"  fix: {printable(command)}"])


def resumes(name: str) -> str:
    """Given the checkpoint that training goes on from, return that."""
    return f"Resumes from {printable(name)}: intact, every byte was read"


def start(checks: Sequence[Check], preflight: str, dry_run: bool) -> str:
    """Given the checks, return go or what stands against it. preflight: the command that shows them all.

    dry_run: they judge the state after a real run.
    """
    against = [check for check in checks if check.state == "no-go"]
    if against:
        return f"Not ready to start\n{text.checklist(against)}"
    warnings = sum(check.state == "warn" for check in checks)
    ready = "Would be ready to start" if dry_run else "Ready to start"
    return f"{ready}, with {count(warnings, 'warning')}\n  see: {printable(preflight)}" if warnings else ready


def to_type(exact: bool, in_script: bool, started: str, go: bool) -> str:
    """Given what is known of the line that goes on, return what is said above it.

    exact: it can be typed as it is. in_script: it belongs into the training's own script. started: the command that
    the log shows, or "". go: nothing stands against a start.
    """
    when = "To go on" if go else "When that is mended, to go on"
    if in_script:
        return f"{when}, in your own script:"
    if exact:
        return f"{when}, type:"
    known = f" It was started with:\n  {printable(started)}" if started else ""
    return f"{when}, type this with your own script and flags for YOUR_SCRIPT.py:{known}"


def _section(head: str, lines: Sequence[str]) -> str:
    return "\n".join([head, *(folded for line in lines for folded in _folded(line))])


def _folded(line: str) -> list[str]:
    """Two spaces in, and within the page's width; a command stays one line, or it could not be pasted."""
    if line.startswith("  "):
        return [f"  {line}"]
    return wrap(line, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_long_words=False,
                break_on_hyphens=False)  # fmt: skip


def _state(decision: Decision) -> str:
    return "torn" if decision.verdict.state == "incomplete" else decision.verdict.state


def _why(decision: Decision) -> str:
    return _short(text.finding_words(decision.verdict.findings[0]), 200)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:MOST]))
    return f"{shown} and {len(names) - MOST} more" if len(names) > MOST else shown


def _span(decisions: Sequence[Decision]) -> str:
    """Their names, the first and the last of many."""
    names = [printable(d.checkpoint.name) for d in decisions]
    return ", ".join(names) if len(names) < MOST else f"{names[0]} to {names[-1]}"


def _short(words: str, most: int) -> str:
    words = printable(words)
    return words if len(words) <= most else f"{words[: most - 3]}..."
