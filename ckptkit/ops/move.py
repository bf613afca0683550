"""move: the run's checkpoints on another volume or another box, the newest first, each proved before it counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ckptkit.calling import command
from ckptkit.errors import LockHeld, NoIntactCheckpoint, NoSuchRun, UsageError
from ckptkit.model.checkpoint import OURS, Checkpoint, Judged, Run
from ckptkit.model.decision import Decision, Failure, Moved, MoveItem, MovePlan, Outcome, PrunePlan
from ckptkit.model.reason import Reason, code_of, reason_words
from ckptkit.ops.latest import latest
from ckptkit.ops.move_here import Here, NotCopied
from ckptkit.ops.move_there import There
from ckptkit.ops.read import in_use, plan
from ckptkit.policy.keep import RELEASED, Rules, first_finding
from ckptkit.policy.lineage import in_line
from ckptkit.policy.rules import Range
from ckptkit.runs import discover, pins, trackers
from ckptkit.store import ssh
from ckptkit.system import lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What belongs to a run beside its checkpoints: its settings and pins, and what its training wrote down.
SETTINGS = ("ckptkit.toml", ".ckptkit-pins")
RECORDS = ("runs", "logs", "trainer_state.json", "training_args.bin", "all_results.json", "train_results.json")
RECORD_ENDS = (".log", ".jsonl", ".csv")
EVENTS = "events.out.tfevents."

Place = Here | There
Tell = Callable[[Literal["copy", "compare", "proved"], Checkpoint], None]


def destination(
    dest: str, run: str, *, ssh_command: str = "", asks: bool = False, shown: bool = False,
    trust: Sequence[str] = (), progress: Callable[[int], None] = lambda _count: None, lock_timeout: float = 0.0,
) -> Place:  # fmt: skip
    """Given DEST as typed and the run, return where that is; nothing is asked of another box yet.

    ssh_command: how ssh is called, default RSYNC_RSH or ssh. asks: whether a person can type a password.
    shown: whether rsync shows its progress. trust: as in `latest`. progress: gets each count of bytes that was copied
    here. lock_timeout: seconds to wait for another move or sweep at work in that directory.
    Raises UsageError if nobody can mean that, NoSuchRun.
    """
    real, address = discover.run_directory(run), ssh.address(dest)
    if address is None:
        return Here(dest, real, trust, progress, lock_timeout)
    ssh_words = ssh.shell(ssh_command or os.environ.get("RSYNC_RSH", ""), asks)
    return There(dest, address, real, ssh_words, trust, shown)


def move(
    path: str,
    place: Place,
    rules: Rules,
    *,
    now: float | None = None,
    dry_run: bool = False,
    delete_source: bool = False,
    trust: Sequence[str] = (),
    lock_timeout: float = 0.0,
    announce: Callable[[MovePlan], None] = lambda _plan: None,
    tell: Tell = lambda _what, _checkpoint: None,
    by: str = "",
) -> Moved:
    """Copy a run's checkpoints to another place, the newest that can be resumed from first, then what the rules keep.

    Only intact ones are copied; each counts when its copy is proved (`place.proof`). A second call copies nothing
    twice and goes on with a copy that broke off. place: from `destination`. now: seconds since the epoch.
    announce: gets the plan before anything is written. tell: gets ("copy", "compare" or "proved", checkpoint).

    delete_source: afterwards delete from the source what is proved at DEST, oldest first, under the run's lock; never
    what is pinned or held open, and nothing at all while a training is at work there. The floor of one intact
    checkpoint is then kept by both places together: DEST is another file system or box, and outlives a restart. The
    newest leaves the source last, and only if all that was to be copied is proved; so the source is left without an
    intact one only if each intact one of it is proved at DEST. lock_timeout: seconds to wait for the lock.
    by: what the history calls the program that deleted.

    What can't be copied or deleted is data in the result. Raises NoSuchRun, UsageError, LockHeld (another move is at
    the same checkpoint), RemoteFailed (the box can't be reached; what is proved there stays).
    """
    run = discover.run_directory(path)
    move_plan = _plan(run, place, rules, now, trust)
    if delete_source and place.lasts:
        raise UsageError(
            f"{place.lasts}, so it is gone after a restart: nothing was done; without --delete-source it works"
        )
    announce(move_plan)
    if dry_run:
        return Moved(move_plan)
    moved = _copied(move_plan, place, tell) if move_plan.copies else Moved(move_plan, True)
    moved = moved._replace(missing_bytes=max(moved.missing_bytes, move_plan.missing_bytes))
    moved = _with_resume(moved, place)
    return _deleted(moved, place, lock_timeout, by) if delete_source else moved


# --- the plan ---------------------------------------------------------------------------------------------------------


def _plan(run: str, place: Place, rules: Rules, now: float | None, trust: Sequence[str]) -> MovePlan:
    _require_run(run)
    items = tuple(_items(run, rules, now, trust))
    wanted = [item for item in items if item.step == "copy"]
    at_dest = place.there(item.checkpoint.name for item in wanted)
    available = place.available_bytes()
    items = tuple(_admitted(items, at_dest, place, available))
    copies = [item for item in items if item.step != "skip"]
    if not copies and not discover.scan(run).leftovers and place.newest() is None:
        raise NoIntactCheckpoint(f"no intact checkpoint in {run} to copy{_why_none(items)}")
    belongings, left = _beside(run, {item.checkpoint.name for item in items})
    need = sum(item.need_bytes for item in copies)
    return MovePlan(run, place.dest, place.folder, place.host, place.proof, items, belongings, left, need, available)


def _require_run(run: str) -> None:
    """Raise NoSuchRun for a checkpoint, and for a directory above runs."""
    scanned = discover.scan(run)
    if scanned.checkpoints or scanned.leftovers:
        return
    below = discover.find_runs(run, deepest=2)
    if below or discover.is_checkpoint_name(run):
        from ckptkit.runs import nearby  # loaded for the message alone

        raise NoSuchRun(nearby.no_checkpoint(run, below))


def _items(run: str, rules: Rules, now: float | None, trust: Sequence[str]) -> Iterator[MoveItem]:
    """What is copied, in that order, and then what is not, with the reason."""
    if not (scanned := discover.scan(run)).checkpoints:
        return
    rules = rules._replace(free_target=None, keep_last=_widest(rules))
    decisions = {d.checkpoint.name: d for d in plan(scanned.path, rules, now=now, trust=trust).decisions}
    intact = [Judged(d.checkpoint, d.verdict) for d in decisions.values() if d.verdict.intact]
    newest = _newest(run, now, trust)
    order = [decisions[j.checkpoint.name] for j in reversed(in_line(intact))]
    kept = [d for d in order if d.action != "delete" or d.checkpoint.name == newest]
    kept.sort(key=lambda d: (d.checkpoint.name != newest, not d.verdict.resumable))
    yield from (MoveItem(d.checkpoint, d.verdict, "copy", d.reasons) for d in kept)
    released = [d for d in order if d not in kept]
    yield from (MoveItem(d.checkpoint, d.verdict, "skip", (RELEASED,)) for d in released)
    for decision in reversed(decisions.values()):
        if not decision.verdict.intact:
            why = first_finding(decision) if decision.verdict.findings else ""
            reason = Reason(code_of(decision.verdict.state), f"{decision.verdict.state}: {why}")
            yield MoveItem(decision.checkpoint, decision.verdict, "skip", (reason,))


def _widest(rules: Rules) -> Range | None:
    """Of a range, all that it may keep: what fills the source's volume is no reason to leave one behind."""
    return Range(rules.keep_last.high, rules.keep_last.high) if rules.keep_last else None


def _newest(run: str, now: float | None, trust: Sequence[str]) -> str:
    """What a resume takes, "" if nothing is there for it."""
    try:
        return latest(run, now=now, trust=trust).checkpoint.name
    except (NoIntactCheckpoint, NoSuchRun):
        return ""


def _admitted(items: Iterable[MoveItem], there: Mapping[str, str], place: Place, available: int) -> Iterator[MoveItem]:
    """Newest first, as many as fit; where the first does not, none."""
    refused = False
    for number, item in enumerate(items):
        if item.step != "copy":
            yield item
        elif item.checkpoint.name in there:
            yield item._replace(step="compare")
        else:
            need = place.need_bytes(item.checkpoint)
            fits = need <= available and not refused
            refused = refused or (number == 0 and not fits)
            available -= need if fits else 0
            yield item._replace(step="copy" if fits else "wait", need_bytes=need)


def _why_none(items: Sequence[MoveItem]) -> str:
    return "".join(f"; {item.checkpoint.name} is {reason_words(item.reasons)}" for item in items[:3])


def _beside(run: str, checkpoints: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What goes along, and what stays behind. A link goes nowhere: what it stands for is another's."""
    belongings: list[str] = []
    left: list[str] = []
    with os.scandir(run) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name in checkpoints or (entry.name.startswith(OURS) and entry.name not in SETTINGS):
                continue
            (belongings if _belongs(entry) else left).append(entry.name)
    return tuple(belongings), tuple(left)


def _belongs(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
        return False
    record = entry.name.endswith(RECORD_ENDS) or entry.name.startswith(EVENTS)
    return entry.name in (*SETTINGS, *RECORDS) or (record and entry.is_file())


# --- copying ----------------------------------------------------------------------------------------------------------


def _copied(move_plan: MovePlan, place: Place, tell: Tell) -> Moved:
    """Copy what is planned; where none of that can be resumed from, what the rules release, until one can."""
    place.prepare()
    moved = Moved(move_plan, True)
    for item in move_plan.copies:
        moved = _one(moved, item, place, tell)
    spare = [i for i in move_plan.items if i.step == "skip" and i.verdict.intact and i.verdict.resumable]
    for item in spare:
        if _resumable(moved) or moved.missing_bytes or move_plan.waiting:
            break
        taken = place.there((item.checkpoint.name,))
        moved = _one(moved, item._replace(step="compare" if taken else "copy"), place, tell)
    failed = place.bring(move_plan.belongings)
    return moved._replace(failures=(*moved.failures, *failed))


def _one(moved: Moved, item: MoveItem, place: Place, tell: Tell) -> Moved:
    name, there = item.checkpoint.name, item.step == "compare"
    tell("compare" if there else "copy", item.checkpoint)
    try:
        (place.compare if there else place.put)(item.checkpoint)
    except NotCopied as fault:
        lacking = max(1, item.need_bytes) if fault.no_room else 0
        fix = f"; it was left as it is; to copy it anew: {place.set_aside(item.checkpoint)}" if there else ""
        failure = Failure(item.checkpoint.path, f"{fault}{fix}")
        return moved._replace(failures=(*moved.failures, failure), missing_bytes=moved.missing_bytes + lacking)
    tell("proved", item.checkpoint)
    return moved._replace(there=(*moved.there, name)) if there else moved._replace(copied=(*moved.copied, name))


def _resumable(moved: Moved) -> list[MoveItem]:
    """What is proved at DEST and can be resumed from, the newest first."""
    proved = [item for item in moved.plan.items if item.checkpoint.name in moved.proved]
    return [item for item in proved if item.verdict.resumable and not item.verdict.refused]


def _with_resume(moved: Moved, place: Place) -> Moved:
    newest = place.newest() or next((item.checkpoint for item in _resumable(moved)), None)
    if not newest:
        return moved
    newer = place.newer(newest)
    beyond = place.going_on(newest._replace(name=newer)) if newer else ""
    return moved._replace(resume=place.going_on(newest), newer=newer, resume_newer=beyond)


# --- deleting ---------------------------------------------------------------------------------------------------------


def _deleted(moved: Moved, place: Place, lock_timeout: float, by: str) -> Moved:
    """Delete from the source what is proved, as `move` says."""
    from ckptkit.ops.execute import execute
    from ckptkit.ops.record import record_deletions

    run = moved.plan.run
    try:
        with lock.hold(run, lock_timeout) as run_fd:
            _require_idle(run)
            scanned = discover.scan(run)
            stays = dict(_stays(moved, scanned, place))
            prune_plan = PrunePlan(run, tuple(_decisions(moved, scanned, stays)), scanned.leftovers)
            idle = not prune_plan.decisions and not prune_plan.leftovers
            outcome = Outcome() if idle else execute(run_fd, prune_plan, patient=True, settle=True)
    except LockHeld as held:
        return moved._replace(blocked=str(held))
    fault = record_deletions(prune_plan, outcome, by) if outcome.deleted or prune_plan.leftovers else ""
    outcome = outcome._replace(notes=(*outcome.notes, fault)) if fault else outcome
    return moved._replace(deleted=outcome, stays=tuple(stays.items()))


def _require_idle(run: str) -> None:
    """Raise LockHeld if a training shows that it is at work there."""
    from ckptkit.system.processes import writers_in

    if claim := lock.claim_of(run):
        raise LockHeld(f"{run}: {claim.sentence}: nothing is deleted there; run it again when it has ended")
    for writer in writers_in(run, None, True, discover.is_checkpoint_name):
        raise LockHeld(f"{run}: {writer.who} works there: nothing is deleted; run it again when it has ended")


def _stays(moved: Moved, scanned: Run, place: Place) -> Iterator[tuple[str, Reason]]:
    """(name, why) of each that is proved and stays at the source all the same."""
    pinned, tracked, held = pins.read(scanned.path), trackers.named(scanned), in_use(scanned.path)
    now = {checkpoint.name: checkpoint for checkpoint in scanned.checkpoints}
    newest = next((item.checkpoint.name for item in _resumable(moved)), "")
    for item in moved.plan.items:
        name = item.checkpoint.name
        if name not in moved.proved or name not in now:
            continue
        if name in pinned:
            yield name, Reason("pinned", "it is pinned", command("unpin", f"{moved.plan.run}/{name}"))
        elif name in held or name in tracked:
            yield name, held.get(name) or tracked[name]
        elif _identity(now[name]) != _identity(item.checkpoint):
            yield name, Reason("changed", "it was changed since it was copied")
        elif not place.still(item.checkpoint):
            yield name, Reason("copy-changed", "its copy was changed since it was proved")
        elif name == newest and (moved.failures or moved.missing_bytes):
            yield name, Reason("not-all-copied", "it is the newest, and not all was copied")


def _identity(checkpoint: Checkpoint) -> tuple[object, ...]:
    return (
        checkpoint.device,
        checkpoint.inode,
        tuple((f.name, f.apparent_bytes, f.modified_at) for f in checkpoint.files),
    )


def _decisions(moved: Moved, scanned: Run, stays: Mapping[str, Reason]) -> Iterator[Decision]:
    """Oldest first: broken off here, the newest is still at both places."""
    going = {checkpoint.name for checkpoint in scanned.checkpoints} & set(moved.proved) - set(stays)
    why = (Reason("moved", f"its copy at {moved.plan.dest} is proved"),)
    for item in reversed(moved.plan.items):
        if item.checkpoint.name in going:
            yield Decision(item.checkpoint, item.verdict, "delete", why)
