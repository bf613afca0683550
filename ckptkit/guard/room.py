"""Rank 0's hands: makes room in a run, prunes it, discards a save that failed, and tells what could not be done."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from ckptkit import ops
from ckptkit.disk import available_bytes, volume
from ckptkit.errors import CkptkitError, NoSuchRun, UsageError
from ckptkit.guard.settings import Settings
from ckptkit.model import SAVING, Checkpoint, Judged
from ckptkit.policy import Rules, first_finding
from ckptkit.report import text
from ckptkit.verify import Reading

WHO = "the guard"  # in the history
LOCK_SECONDS = 30.0  # a sweep from cron holds the lock for as long as it deletes
POLL_SECONDS = 0.2
GIVES_BACK_LATE = frozenset({"btrfs", "zfs", "bcachefs"})  # with the next transaction, up to half a minute away
# What the guard itself can't mend, or does not see at the first save.
TOLD_AT_START = ("volume", "inodes", "write", "headroom")


VALUES = Reading(values=True)  # a save read back is in memory still: NaN and Inf are looked for as it passes


class Room:
    """One run's room. Never raises for what a disk does: training never dies of a checkpoint."""

    def __init__(self, run: str, settings: Settings) -> None:
        self.run, self.settings = run, settings
        self.predating: dict[str, str] = {}
        self.source: dict[str, str] = {}
        self.durable: dict[str, str] = {}
        self.began = ""  # the name that did not exist when its save was admitted: what stands there then is ours
        self._told: frozenset[str] = frozenset()

    def enter(self, run: str) -> None:
        """Go on in this run: each trial of a search has one of its own, and names mean other checkpoints there."""
        if run != self.run:
            self.run, self.predating, self.source, self.durable, self.began = run, {}, {}, {}, ""

    def prune(self, rules: Rules) -> bool:
        """Delete what the rules release; whether anything was.

        quiet=0: this run's only writer is the training that we are part of. settle=False: nothing waits for the
        volume to show what was freed, while a neighbour may use it up as fast.
        """
        try:
            pruned = ops.prune(
                self.run,
                rules,
                quiet=0,
                protected=self._protected(),
                yes=True,
                lock_timeout=LOCK_SECONDS,
                patient=not self._told,  # what was refused at the last save is not waited for at this one
                settle=False,
                trust=self.settings.trust,
                by=WHO,
            )
        except (CkptkitError, OSError) as error:
            if type(error) is NoSuchRun:
                return False  # no checkpoint yet
            self._tell_once([str(error)])
            return False
        stay = [f"{d.checkpoint.path} stays: {'; '.join(d.reasons)}" for d in text.in_the_way(pruned.plan)]
        self._tell_once([*stay, *(text.failures(pruned.outcome) if pruned.outcome else [])])
        outcome = pruned.outcome
        return bool(outcome and (outcome.deleted or (pruned.plan.leftovers and not outcome.failures)))

    def make(self, need: int, on_full: str) -> int:
        """Prune for the next save and return the bytes available then; "wait" waits until it fits or time is up."""
        deadline = time.monotonic() + (self.settings.on_full_timeout if on_full == "wait" else 0)
        while True:
            deleted = self.prune(self.settings.before_a_save)
            free = self.available()
            last = time.monotonic() >= deadline
            # What was deleted a moment ago, by us or by a neighbour, may not show yet: a save is worth the wait.
            if free < need and (deleted or (last and self._gives_back_late())):
                free = ops.settled_available_bytes(existing(self.run), need)
            if free >= need or last:
                return free
            time.sleep(POLL_SECONDS)

    def _gives_back_late(self) -> bool:
        return volume(existing(self.run)).filesystem in GIVES_BACK_LATE

    def available(self) -> int:
        """Bytes available where the run lies or will lie."""
        return available_bytes(existing(self.run))

    def figures(self) -> dict[str, float]:
        """What is logged beside the losses. Raises OSError."""
        checkpoints: tuple[Checkpoint, ...] = ()
        with suppress(NoSuchRun):
            checkpoints = ops.scan(self.run).checkpoints
        return {
            "disk/free_bytes": float(self.available()),
            "ckpt/count": float(len(checkpoints)),
            "ckpt/bytes": float(sum(c.allocated_bytes for c in checkpoints)),
        }

    def discard(self, name: str) -> bool:
        """Remove one checkpoint by name, whatever the rules say but never the only intact one; whether it is gone."""
        path = os.path.join(self.run, name)
        if not os.path.lexists(path):
            return True
        try:
            outcome = ops.discard(path, own=name == self.began, lock_timeout=LOCK_SECONDS, by=WHO)
        except (CkptkitError, OSError) as error:
            warn(str(error))
            return False
        self._tell_once(text.failures(outcome))
        return not outcome.failures

    def clear(self, name: str) -> bool:
        """Free the name of an older checkpoint for a new save; whether it is free.

        It is removed, or set aside where nobody here can judge it: that is never deleted.
        """
        self.began = ""
        path = os.path.join(self.run, name)
        try:
            unknown = [j for run in ops.runs_at(path) for j in ops.judge(run, quiet=0) if j.verdict.state == "unknown"]
            if not unknown:
                return self.discard(name)
            aside = ops.set_aside(path, lock_timeout=LOCK_SECONDS)
        except (CkptkitError, OSError) as error:
            warn(str(error))
            return False
        why = f"it could not be judged ({first_finding(unknown[0])})"
        warn(f"{path} is in the way of this step's save and {why}: renamed to {os.path.basename(aside)}, not deleted")
        return True

    def mark(self, name: str) -> None:
        """Say in the checkpoint's directory, made now, that its save is under way.

        What a kill leaves of it is told from another program's files by that. On a full disk the save is tried without.
        """
        path = os.path.join(self.run, name)
        with suppress(OSError):
            os.makedirs(path, exist_ok=True)
            os.close(os.open(os.path.join(path, SAVING), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))

    def unmark(self, name: str) -> None:
        """Take that back once the save is complete. The directory's mtime stays: the Trainer's rotation sorts by it."""
        with suppress(OSError):
            fd = os.open(os.path.join(self.run, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                before = os.fstat(fd)
                os.unlink(SAVING, dir_fd=fd)
                os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(fd)

    def intact(self, name: str) -> bool:
        """Whether the checkpoint of that name is intact right now."""
        try:
            return all(j.verdict.intact for j in ops.verify(os.path.join(self.run, name), trust=self.settings.trust))
        except (CkptkitError, OSError):
            return False

    def read_back(self, name: str) -> str:
        """Read a checkpoint whole, just after it became durable, and write its manifest if it is intact.

        Returns what is wrong with it, "" if it is intact.
        """
        path = os.path.join(self.run, name)
        try:
            (judged,) = ops.verify(path, level="full", reading=VALUES, trust=self.settings.trust)
            if judged.verdict.intact:
                self._write_manifest(judged)
                self._tell_diverged(judged)
            _warn_of(ops.record_damage(judged))
        except (CkptkitError, OSError) as error:
            return str(error) or repr(error)  # never "": that would be intact
        return "" if judged.verdict.intact else f"{judged.verdict.state}: {first_finding(judged)}"

    def record_save(self, name: str, kind: str, seconds: float) -> None:
        """Write a save into the history. kind: save or weights-only; seconds: for which training stood still."""
        _warn_of(ops.record_save(os.path.join(self.run, name), kind, seconds))

    def _tell_diverged(self, judged: Judged) -> None:
        """Training may go on for days with weights that are NaN, and its log is not always looked at."""
        name, bad = judged.checkpoint.name, judged.verdict.nonfinite
        if bad and name in ops.diverged(self.run):
            more = f" and {len(bad) - 1} more weights" if len(bad) > 1 else ""
            told = "a resume takes the last checkpoint before it with finite values, which stays"
            warn(f"{judged.checkpoint.path}: {bad[0]}{more} became NaN or Inf since an earlier save: {told}")

    def _write_manifest(self, judged: Judged) -> None:
        try:
            ops.write_manifest(judged)
        except UsageError as error:  # it is intact all the same; a full disk has no room for a manifest either
            warn(str(error))

    def protect_predating(self) -> None:
        """Nobody chose a limit, so what was there before and is more than the mass-delete rule allows stays."""
        try:
            made = ops.plan(self.run, self.settings.rules, quiet=0, trust=self.settings.trust)
        except (CkptkitError, OSError):
            return
        going = [d.checkpoint.name for d in made.deletions if d.verdict.intact]
        if len(going) > len(made.intact) // 2:
            self.predating = dict.fromkeys(going, "was there before the guard, and keep_last was not chosen")
            warn(f"{self.run}: {len(going)} older checkpoints stay; to let them go: bin/prune {self.run} -y")

    def preflight(self) -> None:
        """Tell at the start what will stand against a save; training begins all the same."""
        with suppress(CkptkitError, OSError):
            for check in ops.preflight(self.run, self.settings.rules):
                if check.state == "no-go" and check.code in TOLD_AT_START:
                    warn(f"{check.message} -> {check.command}")

    def _protected(self) -> Mapping[str, str]:
        return {**self.predating, **self.source, **self.durable}

    def _tell_once(self, lines: list[str]) -> None:
        """Tell each failure when it appears, not once a save for ever."""
        for line in lines:
            if line not in self._told:
                warn(line)
        self._told = frozenset(lines)


def short(path: str, need: int, free: int) -> str:
    """The sentence for a save that does not fit."""
    return f"{path}: the save needs {text.human(need)}, {text.human(free)} are available above the floor"


def existing(path: str) -> str:
    """The path, or the nearest directory above it that is there already."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "."
    return path


def warn(line: str) -> None:
    """Tell a person, on stderr by default; a log on the full disk must not end training."""
    _log("WARNING", line)


def _warn_of(fault: str) -> None:
    if fault:
        warn(fault)


def inform(line: str) -> None:
    """Tell in passing."""
    _log("INFO", line)


def _log(level: str, line: str) -> None:
    from loguru import logger

    with suppress(OSError):
        logger.opt(depth=2).log(level, "{}", f"ckptkit: {line}")
