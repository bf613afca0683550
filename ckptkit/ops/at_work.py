"""Who is at work in a run: the one answer that preflight, recover, monitor and diskreport give. Changes nothing."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.errors import UnreadableRun
from ckptkit.model.disk import OpenFile, Training, Worker
from ckptkit.runs import discover
from ckptkit.system import lock, processes
from ckptkit.system.processes import (
    ancestors,
    command_line,
    command_of,
    environment,
    is_verb,
    other_ranks,
    started_at,
    trains,
    writers_in,
)
from ckptkit.system.trainings import mention, session_of, writes_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def at_work(run: str) -> tuple[str, ...]:
    """Given a run's real path, return the sentence of each of its `workers`."""
    return tuple(worker.sentence for worker in workers(run))


def workers(run: str) -> tuple[Worker, ...]:
    """Given a run's real path, return each training there, and whoever else has a file of it open.

    A training under a guard comes first, by its claim. A launcher, its ranks and their data loaders are one training.
    Not told: we, those that started us, the other ranks of our launch, our own verbs, and who holds the mere directory.
    """
    files = processes.open_files(run)
    own = {os.getpid(), *_above(os.getpid()), *other_ranks({file.pid for file in files})}
    others = _others(run, files, own)
    by_head: dict[int, Worker] = {}  # by the process that stands for a whole training
    if claim := _claim(run):
        pid = _claimant(run, claim, files)
        if pid is None:
            by_head[0] = Worker(claim.sentence, command("diskreport", run))
        elif pid not in own:
            by_head[_head(pid, own)] = Worker(claim.sentence + _where(pid), _look(pid))
    heads = {pid: _head(pid, own) for pid in others}
    for pid in sorted(others, key=lambda pid: (pid != heads[pid], pid)):
        by_head.setdefault(heads[pid], Worker(others[pid], _look(pid)))
    return tuple(by_head.values())


def perhaps_at_work(run: str) -> tuple[int, ...]:
    """Given a run's real path, return the processes with torch of which nothing shows where they write.

    One for a launcher, its ranks and their data loaders. None of them is among the `workers`.
    """
    own = {os.getpid(), *_above(os.getpid())}
    pids = {w.pid for w in writers_in(run, None, False, discover.is_checkpoint_name) if not w.certain} - own
    unclear = {pid for pid in pids if not _mention(run, pid) and not _elsewhere(run, pid)}
    return tuple(sorted({_head(pid, own) for pid in unclear} - {pid for pid in pids if pid not in unclear}))


def look_at(pids: Iterable[int]) -> str:
    """Given processes, return the command that shows since when each runs, and what."""
    numbers = [str(pid) for pid in pids]
    if any(os.access(os.path.join(place, "ps"), os.X_OK) for place in os.environ.get("PATH", "").split(os.pathsep)):
        return f"ps -ww -o pid,lstart,tty,args -p {','.join(numbers)}"
    return "; ".join(f"tr '\\0' ' ' </proc/{number}/cmdline; echo" for number in numbers)


def _others(run: str, files: Iterable[OpenFile], own: set[int]) -> Mapping[int, str]:
    """{process: a sentence} of each that shows that it trains there, and of each other that has a file open."""
    opened = {file.pid: file for file in files if file.path != run}
    writers = list(writers_in(run, None, False, discover.is_checkpoint_name))
    why = {writer.pid: "" if writer.certain else _mention(run, writer.pid) for writer in writers}
    sure = {writer.pid for writer in writers if writer.certain or why[writer.pid]}
    sentences = {}
    for pid in {*opened, *sure} - own:
        if _trains(pid):
            by = f"; {why[pid]} names this run" if why.get(pid) else ""
            who = f"{command_of(str(pid))} (pid {pid})"
            sentences[pid] = f"{who} may be training here (without a guard){_since(pid)}{by}"
        elif pid in opened and not is_verb(command_line(str(pid))):
            sentences[pid] = f"{opened[pid].holder} has {os.path.relpath(opened[pid].path, run)} open"
    return sentences


def _mention(run: str, pid: int) -> str:
    return mention(run, str(pid), command_line(str(pid)))


def _elsewhere(run: str, pid: int) -> bool:
    return writes_elsewhere(run, str(pid), command_line(str(pid)))


# --- where a person finds it ----------------------------------------------------------------------------------------


def _since(pid: int) -> str:
    at = started_at(str(pid))
    return (f", since {lock.minute(at)}" if at else "") + _where(pid)


def _where(pid: int) -> str:
    """The session that it runs in, as a part of a sentence."""
    kind, name, _ = session_of(str(pid))
    if kind in ("tmux", "screen"):
        return f", in {kind}{f' session {name}' if name else ''}"
    return {"nohup": ", under nohup", "terminal": ", in a terminal"}.get(kind, "")


def _look(pid: int) -> str:
    """What shows it: its session, else the process."""
    kind, name, _ = session_of(str(pid))
    if kind == "screen" and name:
        return f"screen -x {shlex.quote(name)}"
    if kind == "tmux" and name:
        socket = environment(str(pid)).get("TMUX", "").split(",")[0]
        usual = os.path.basename(socket) == "default"
        going = "switch-client" if os.environ.get("TMUX") else "attach"
        return f"tmux {'' if usual else f'-S {shlex.quote(socket)} '}{going} -t {shlex.quote(name)}"
    return look_at([pid])


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


def with_guards(runs: Iterable[str], trainings: Sequence[Training]) -> tuple[Training, ...]:
    """Given runs and the live trainings, return these with what their claims show.

    A claim whose process is none of them, as that of another container may be, is one more.
    """
    for run in runs:
        if claim := _claim(run) or lock.claim_by(run):
            trainings = _with_guard(run, claim, trainings)
    return tuple(trainings)


def _with_guard(run: str, claim: lock.Claim, trainings: Sequence[Training]) -> Sequence[Training]:
    pid = _claimant(run, claim, processes.open_files(run))
    family = set() if pid is None else {pid, *_above(pid)}  # a launcher stands for its ranks
    known = any(training.run == run and training.pid in family for training in trainings)
    if not known:
        name = "another container" if pid is None else command_of(str(pid))
        trainings = [*trainings, Training(pid or claim.pid, name, "", claim.since, run, session="")]
        family = {pid or claim.pid}
    return [
        t._replace(guard=claim.words, guarded_since=claim.since) if t.run == run and t.pid in family else t
        for t in trainings
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
