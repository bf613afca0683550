"""The execution of a plan, and the account of what the volume gained. Loaded only where something is to go."""

import os
from collections.abc import Mapping, Sequence

from ckptkit import delete, layouts
from ckptkit.errors import NoIntactCheckpoint, NoSuchRun
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, Leftover, Verdict
from ckptkit.model.decision import Decision, Failure, Outcome, PrunePlan, Strip, StripPart
from ckptkit.ops.read import judge_again
from ckptkit.policy.keep import first_finding
from ckptkit.policy.lineage import kind_of
from ckptkit.runs.strip_part import strip_part
from ckptkit.system import lock, processes, volumes
from ckptkit.units import human
from ckptkit.verify import manifest

# What a directory itself takes, and rounding: below this share of the expected bytes the difference is explained.
ENOUGH = 0.9


def settled_available_bytes(path: str, wanted: int) -> int:
    """Bytes available where a run lies, after waiting a moment for `wanted` where a deletion's bytes come late."""
    with lock.open_directory(path) as fd:
        missing = wanted - volumes.available_bytes(path)
        delete.settled_free_bytes(fd, delete.free_bytes(fd) + missing)
        return volumes.available_bytes(path)


def execute(run_fd: int, plan: PrunePlan, patient: bool, settle: bool) -> Outcome:
    """Given the locked run and its plan, remove what it says, and account for it."""
    pauses = list(delete.RETRY_SECONDS) if patient else []
    before = volume_status(run_fd)
    _survivors_still_intact(plan)
    failures, deleted = [], []
    for leftover in plan.leftovers:
        failures += _finish(run_fd, leftover, plan, pauses)
    # Damaged ones first: should something fail or kill us halfway, the most intact ones are left.
    for decision in sorted(plan.deletions, key=lambda d: d.verdict.intact):
        failed = _removed(run_fd, decision.checkpoint, pauses)
        failures += failed
        deleted += [] if failed else [decision]
    return account(run_fd, before, deleted, with_holders(plan.run, failures), plan, settle)


def _finish(run_fd: int, leftover: Leftover, plan: PrunePlan, pauses: list[float]) -> list[Failure]:
    """What a killed sweep left: a checkpoint under its aside name, or within one that it was stripping."""
    inside = os.path.dirname(leftover.name)
    for decision in plan.decisions if inside else ():
        if decision.checkpoint.name == inside and (part := strip_part(decision.checkpoint)):
            return strip(run_fd, decision.checkpoint, part, pauses)
    return delete.remove_leftover(run_fd, leftover, pauses)


def strip(run_fd: int, checkpoint: Checkpoint, part: StripPart, pauses: list[float]) -> list[Failure]:
    """Given the locked run and the part of a checkpoint that goes, make it weights-only, its manifest too."""
    layout = layouts.by_name(checkpoint.layout)

    def forget() -> None:
        manifest.forget(checkpoint.path, layout.only_continues)

    return delete.strip_checkpoint(run_fd, checkpoint, part, forget, pauses)


def remove(run_fd: int, run: str, checkpoint: Checkpoint) -> tuple[Failure, ...]:
    """Given the locked run, remove one checkpoint; () means it is gone."""
    return with_holders(run, _removed(run_fd, checkpoint, list(delete.RETRY_SECONDS)))


def _removed(run_fd: int, checkpoint: Checkpoint, pauses: list[float]) -> list[Failure]:
    layout = layouts.by_name(checkpoint.layout)
    witnesses = layout.witnesses(file.name for file in checkpoint.files)
    return delete.remove_checkpoint(run_fd, checkpoint, pauses, layout.marker, witnesses)


def _survivors_still_intact(plan: PrunePlan) -> None:
    """The newest one kept of each kind is read again, right before the first removal: verdicts may be minutes old."""
    kept = [d for d in plan.decisions if d.action == "keep"]
    kept.sort(key=lambda d: (d.verdict.resumable, not d.verdict.refused, d.checkpoint.step))
    for survivor in {kind_of(d.checkpoint): d for d in kept}.values():
        require_still_intact(survivor)


def require_still_intact(survivor: Decision | Strip) -> None:
    """Read it again. Raises NoIntactCheckpoint if it is less now than its verdict says."""
    try:
        verdict = judge_again(survivor.checkpoint, survivor.verdict.level)
    except NoSuchRun:
        verdict = Verdict("incomplete", resumable=False, level="quick", findings=(Finding("", "missing", "is gone"),))
    if not verdict.intact or verdict.resumable < survivor.verdict.resumable:
        why = first_finding(Judged(survivor.checkpoint, verdict)) if verdict.findings else "not resumable"
        fault = f"{survivor.checkpoint.path} is not intact any more ({why})"
        raise NoIntactCheckpoint(f"{fault}: nothing was deleted; run the command again")


def with_holders(run: str, failures: Sequence[Failure]) -> tuple[Failure, ...]:
    """Given what could not be removed, name the process in the way of each, where one is found."""
    if not failures:
        return ()
    holders = {file.path: file.holder for file in processes.open_files(run)}
    return tuple(failure._replace(held_by=_holder(failure.path, holders)) for failure in failures)


def _holder(path: str, holders: Mapping[str, str]) -> str | None:
    return next((who for held, who in holders.items() if (held + "/").startswith(path + "/")), None)


def account(
    run_fd: int,
    before: os.statvfs_result | OSError,
    deleted: Sequence[Decision],
    failures: tuple[Failure, ...],
    plan: PrunePlan,
    settle: bool,
) -> Outcome:
    """As `measured`, of what is gone of a plan."""
    expected = sum(d.checkpoint.allocated_bytes for d in deleted)
    expected += 0 if failures else sum(leftover.allocated_bytes for leftover in plan.leftovers)
    return measured(run_fd, before, plan.run, [d.checkpoint.path for d in deleted], expected, failures, settle)


def measured(
    run_fd: int,
    before: os.statvfs_result | OSError,
    run: str,
    done: Sequence[str],
    expected: int,
    failures: tuple[Failure, ...],
    settle: bool,
) -> Outcome:
    """Given the volume before it and what was done to which paths, return that with what the volume really gained.

    Where it gained less than expected, a note says why. A volume that can't be asked is a failure.
    """
    try:
        freed, notes = _gained(run_fd, before, run, expected, settle)
    except OSError as error:
        unknown = Failure(run, f"the freed space can't be measured: {error.strerror}")
        return Outcome(tuple(done), (*failures, unknown))
    return Outcome(tuple(done), failures, freed, tuple(notes))


def volume_status(run_fd: int) -> os.statvfs_result | OSError:
    """What the volume says before a deletion, or why it can't: room is made all the same, and not measured."""
    try:
        return os.fstatvfs(run_fd)
    except OSError as error:
        return error


def _gained(
    run_fd: int, before: os.statvfs_result | OSError, run: str, expected: int, settle: bool
) -> tuple[int, list[str]]:
    if isinstance(before, OSError):
        raise before
    free_before = before.f_bfree * before.f_frsize
    enough = free_before + int(expected * ENOUGH)
    freed = (delete.settled_free_bytes(run_fd, enough) if settle else delete.free_bytes(run_fd)) - free_before
    notes = []
    if settle and expected and freed < expected * ENOUGH:
        notes += _why_less(run, expected, freed)
    if expected and os.fstatvfs(run_fd).f_bavail <= before.f_bavail and freed > 0:
        notes.append("nothing is available yet: the volume's reserve for root fills up first")
    return max(0, freed), notes


def _why_less(run: str, expected: int, freed: int) -> list[str]:
    held = [file for file in processes.open_files(run) if file.deleted]
    if held:
        return [
            f"{file.path} is deleted, but {file.holder} keeps it open: its space comes back when it closes the file"
            for file in held
        ]
    got = f"gained {human(freed)}" if freed >= 0 else f"has {human(-freed)} less than before"
    return [
        f"expected {human(expected)}, but the volume {got}: "
        "something else wrote meanwhile, or a snapshot holds the space"
    ]
