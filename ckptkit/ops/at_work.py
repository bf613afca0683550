"""Who is at work in a run: the one answer that preflight, recover, monitor and diskreport give. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile

from ckptkit import discover, disk, lock
from ckptkit.box import Training
from ckptkit.disk.holders import command_of
from ckptkit.disk.training import ancestors, command_line, trains
from ckptkit.disk.writers import is_verb, other_ranks, writers_in
from ckptkit.errors import UnreadableRun
from ckptkit.model import OpenFile


def at_work(run: str) -> tuple[str, ...]:
    """Given a run's real path, return a sentence for each training there, and for whoever else has a file of it open.

    A training under a guard comes first, by its claim. A launcher, its ranks and their data loaders are one training.
    Not told: we, those that started us, the other ranks of our launch, our own verbs, and who holds the mere directory.
    """
    files = disk.open_files(run)
    own = {os.getpid(), *_above(os.getpid()), *other_ranks({file.pid for file in files})}
    others = _others(run, files, own)
    told: dict[int, str] = {}  # by the process that stands for a whole training
    if claim := _claim(run):
        pid = _claimant(run, claim, files)
        if pid not in own:
            told[0 if pid is None else _head(pid, own)] = claim.sentence
    heads = {pid: _head(pid, own) for pid in others}
    for pid in sorted(others, key=lambda pid: (pid != heads[pid], pid)):
        told.setdefault(heads[pid], others[pid])
    return tuple(told.values())


def _others(run: str, files: Iterable[OpenFile], own: set[int]) -> Mapping[int, str]:
    """{process: a sentence} of each that shows that it trains there, and of each other that has a file open."""
    opened = {file.pid: file for file in files if file.path != run}
    sure = {writer.pid for writer in writers_in(run, None, True, discover.is_checkpoint_name)}
    found = {}
    for pid in {*opened, *sure} - own:
        if _trains(pid):
            found[pid] = f"{command_of(str(pid))} (pid {pid}) may be training here (without a guard)"
        elif pid in opened and not is_verb(command_line(str(pid))):
            found[pid] = f"{opened[pid].holder} has {os.path.relpath(opened[pid].path, run)} open"
    return found


def _head(pid: int, own: set[int]) -> int:
    """The launcher above one that trains, or the notebook; itself where there is none."""
    line = [pid, *takewhile(lambda above: above not in own, _above(pid))]
    return next(filter(_trains, reversed(line)), pid)


def _above(pid: int) -> list[int]:
    return list(map(int, ancestors(str(pid))))


def _trains(pid: int) -> bool:
    words = command_line(str(pid))
    return bool(words) and trains(str(pid), words)


# --- the claim ------------------------------------------------------------------------------------------------------


def with_guards(runs: Iterable[str], found: Sequence[Training]) -> tuple[Training, ...]:
    """Given runs and the live trainings, return these with what their claims show.

    A claim whose process is none of them, as that of another container may be, is one more.
    """
    for run in runs:
        if claim := _claim(run) or lock.claim_by(run):
            found = _with_guard(run, claim, found)
    return tuple(found)


def _with_guard(run: str, claim: lock.Claim, found: Sequence[Training]) -> Sequence[Training]:
    pid = _claimant(run, claim, disk.open_files(run))
    family = set() if pid is None else {pid, *_above(pid)}  # a launcher stands for its ranks
    known = any(training.run == run and training.pid in family for training in found)
    if not known:
        name = "another container" if pid is None else command_of(str(pid))
        found = [*found, Training(pid or claim.pid, name, "", claim.since or 0.0, run, session="")]
        family = {pid or claim.pid}
    return [
        t._replace(guard=claim.words, guarded_since=claim.since) if t.run == run and t.pid in family else t
        for t in found
    ]


def _claim(run: str) -> lock.Claim | None:
    """Another process's; where the directory can't be opened, none."""
    with suppress(UnreadableRun):
        return lock.claim_of(run)
    return None


def _claimant(run: str, claim: lock.Claim, files: Iterable[OpenFile]) -> int | None:
    """The process that has the claim, as this container numbers it; None if it is none that we see."""
    holders = (file.pid for file in files if file.path == run)
    return next((pid for pid in holders if lock.claim_by(run, str(pid)) == claim), None)
