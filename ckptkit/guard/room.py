"""A run as the guard sees it, on the rank that looks after its disk: makes room in it, prunes it, clears a name in it.

Nothing here raises for what a disk does: training never dies of a checkpoint.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from ckptkit.calling import command
from ckptkit.errors import CkptkitError, NoSuchRun
from ckptkit.guard.messages import inform, warn
from ckptkit.guard.settings import GuardSettings
from ckptkit.model.checkpoint import Checkpoint, Verdict
from ckptkit.model.decision import Outcome, PrunePlan
from ckptkit.model.reason import Reason, reason_words
from ckptkit.model.thresholds import DAY
from ckptkit.ops.discard import set_aside as ops_set_aside
from ckptkit.ops.execute import settled_available_bytes
from ckptkit.ops.preflight import preflight
from ckptkit.ops.prune import Pruned
from ckptkit.ops.prune import discard as ops_discard
from ckptkit.ops.prune import prune as ops_prune
from ckptkit.ops.read import judge, runs_at, scan, verify
from ckptkit.ops.read import plan as ops_plan
from ckptkit.ops.record import deletions
from ckptkit.policy.keep import Rules, first_finding
from ckptkit.render import text
from ckptkit.runs import discover
from ckptkit.system.volumes import available_bytes, free_bytes, nearest_directory, volume

WHO = "the guard"  # in the history
LOCK_SECONDS = 30.0  # a sweep from cron holds the lock for as long as it deletes
POLL_SECONDS = 0.2
GIVES_BACK_LATE = frozenset({"btrfs", "zfs", "bcachefs"})  # with the next transaction, up to half a minute away
# What the guard itself can't mend, or does not see at the first save.
TOLD_AT_START = ("volume", "inodes", "write", "headroom")
DURABLE = Reason("durable", "the last one known to be durable")
SOURCE = Reason("resumed-from", "the running training resumed from it")
PREDATES = Reason("predates-guard", "was there before the guard, and keep_last was not chosen")


class Room:
    """One run's room. `run` is its real path: a link in it may be moved at any time, and nothing is durable behind one.

    rotates: whether the guard prunes; else the Trainer's own rotation does. turn: held by whoever writes or deletes
    there, so that of our own threads only one does. known: names of the checkpoints that were there at the last look.
    """

    def __init__(self, run: str, settings: GuardSettings) -> None:
        self.run, self.settings = run, settings
        self.rotates = True
        self.turn = threading.RLock()
        self._failures: frozenset[str] = frozenset()  # as told after the last deletion
        self._begin()

    def _begin(self) -> None:
        self.predating: dict[str, Reason] = {}
        self.source: dict[str, Reason] = {}
        self.durable: dict[str, Reason] = {}
        self.best: dict[str, Reason] = {}
        self.earlier: frozenset[str] = frozenset()  # names of those that an earlier training left
        self.not_durable = ""  # the name of one that was written and could not be made durable
        self.fault = ""  # what was told of the last one that was not intact
        self.began = ""  # the name that did not exist when its save was admitted: what stands there then is ours
        self.known: frozenset[str] | None = None
        self.written: set[str] = set()  # names that this training saved

    def enter(self, run: str) -> bool:
        """Go on in this run; whether it is another: each trial of a search has its own, where names mean others."""
        run = os.path.realpath(run)
        if run == self.run:
            return False
        self.run = run
        self._begin()
        return True

    def path(self, name: str) -> str:
        """Of a checkpoint of that name."""
        return os.path.join(self.run, name)

    # --- making room --------------------------------------------------------------------------------------------------

    def make(
        self, need: int, until: float = 0.0, secured: Callable[[], None] | None = None, least: int | None = None
    ) -> int:
        """Prune for the next save; return the bytes that it may use. until: when waiting for room ends, monotonic.

        need: bytes that it will take. least: below which it can't fit; where no deletion that is allowed would
        give that much, none is made for it.
        secured: waits for what follows the last save, None if nothing does; called only where without it too little
        could be deleted. Where the volume does not say what is free, it is taken as enough. Raises TimeoutError.
        """
        while True:
            is_known = self._free() is not None
            deleted = self._prune_for(need, least, secured) if is_known else self._prune_for(0, 0, secured)
            free = self._free()
            if free is None:  # nobody knows: the save is tried
                return need
            last = time.monotonic() >= until
            # What was deleted a moment ago, by us or by a neighbour, may not show yet: a save is worth the wait.
            if free < need and (deleted or (last and self._gives_back_late())):
                free = settled_available_bytes(nearest_directory(self.run), need)
            if free >= need or last:
                return max(free, self.usable())
            time.sleep(POLL_SECONDS)

    def foresee(self, need: int, least: int, secured: Callable[[], None] | None) -> int:
        """Bytes that `make` could give a save, as far as can be told without deleting anything."""
        if self._free() is None:
            return need
        plan = self._plan(self.settings.before_a_save, need)
        if secured and plan and self.usable() + plan.expected_freed_bytes < least:
            secured()
            plan = self._plan(self.settings.before_a_save, need)
        return self.usable() + (plan.expected_freed_bytes if plan else 0)

    def _free(self) -> int | None:
        """Bytes available; None where the volume does not say."""
        try:
            return self.available()
        except OSError:
            return None

    def _prune_for(self, need: int, least: int | None, secured: Callable[[], None] | None) -> bool:
        rules, durable = self.settings.before_a_save, self.durable  # as the plan sees it, not as it is a moment later
        plan = self._plan(rules, need)
        if secured and self._waits(plan, need, durable):
            secured()
            plan = self._plan(rules, need)
        enough = need if least is None else least
        if plan and enough and self.usable() + plan.expected_freed_bytes < enough:
            return self.prune(self.settings.rules)  # what is damaged, and what a killed sweep left
        if self.not_durable and self._kept_until_secured(plan):
            self._give_up_what_is_not_durable()
        return self.prune(rules, need)

    def _give_up_what_is_not_durable(self) -> None:
        """It would be one more than announced, beside the last durable one: the next save takes its place."""
        name, self.not_durable = self.not_durable, ""
        if self.discard(name):
            inform(f"{self.path(name)} deleted: it might not survive a crash of the box; the next save replaces it")

    def _waits(self, plan: PrunePlan | None, need: int, durable: Mapping[str, Reason]) -> bool:
        """Whether more could go, or must, once the last save is known to be durable.

        durable: what was, before the plan was made. What goes by a plan that knew of none would stay a moment later,
        when the last save but one is the only one that is.
        """
        if plan is None:
            return False
        is_short = need > 0 and self.available() + plan.expected_freed_bytes < need
        is_first = not durable and any(d.verdict.intact for d in plan.deletions)
        return is_short or is_first or self._kept_until_secured(plan)

    def _kept_until_secured(self, plan: PrunePlan | None) -> bool:
        """Whether one stays for nothing but that a restart needs it until a newer one is durable: it takes a place
        beyond the rules'.
        """
        kept_for = (d.codes for d in plan.decisions if d.action == "keep") if plan else ()
        return any(codes in ({DURABLE.code}, {SOURCE.code}) for codes in kept_for)

    def _plan(self, rules: Rules, need: int) -> PrunePlan | None:
        """What would go; None where nothing can be told, or where it is not the guard that prunes."""
        if not self.rotates:
            return None
        with self.turn, suppress(CkptkitError, OSError):  # our own look would be an open file to our own deletions
            return ops_plan(
                self.run, rules, quiet=0, protected=self._protected(), trust=self.settings.trust, earlier=self.earlier,
                need_bytes=need,
            )  # fmt: skip
        return None

    def prune(self, rules: Rules, need: int = 0) -> bool:
        """Delete what the rules release, and for `need` bytes more; whether anything was.

        quiet=0: this run's only writer is the training that we are part of. settle=False: nothing waits for the
        volume to show what was freed, while a neighbour may use it up as fast.
        """
        if not self.rotates:
            return False
        with self.turn:
            try:
                pruned = ops_prune(
                    self.run, rules, quiet=0, protected=self._protected(), yes=True, lock_timeout=LOCK_SECONDS,
                    patient=not self._failures,  # what was refused at the last save is not waited for at this one
                    settle=False, trust=self.settings.trust, by=WHO, earlier=self.earlier, need_bytes=need,
                )  # fmt: skip
            except (CkptkitError, OSError) as error:
                if type(error) is NoSuchRun:
                    return False  # no checkpoint yet
                self._tell_once([str(error)])
                return False
            return self._account(pruned)

    def _account(self, pruned: Pruned) -> bool:
        """Tell what went and what could not; whether anything went."""
        plan, outcome = pruned.plan, pruned.outcome or Outcome()
        gone = [d for d in plan.deletions if d.checkpoint.path in outcome.deleted]
        for decision in gone:
            inform(f"{decision.checkpoint.path} deleted: {reason_words(decision.reasons)}")
        # One of which the disk refused a file has lost its name all the same.
        self._forget(d.checkpoint.name for d in plan.deletions if not os.path.lexists(d.checkpoint.path))
        staying = [f"{d.checkpoint.path} stays: {reason_words(d.reasons)}" for d in text.in_the_way(plan)]
        self._tell_once([*staying, *text.failures(outcome)])
        return bool(gone or (plan.leftovers and not outcome.failures))

    def _gives_back_late(self) -> bool:
        return volume(nearest_directory(self.run)).filesystem in GIVES_BACK_LATE

    def available(self) -> int:
        """Bytes available where the run lies or will lie. Raises OSError."""
        return available_bytes(nearest_directory(self.run))

    def usable(self) -> int:
        """Bytes that a save by this user may really use: root writes into the reserve too. 0 where nobody knows."""
        try:
            return free_bytes(nearest_directory(self.run)) if os.geteuid() == 0 else self.available()
        except OSError:
            return 0

    def figures(self) -> dict[str, float]:
        """What is logged beside the losses. Raises OSError."""
        checkpoints: tuple[Checkpoint, ...] = ()
        with suppress(CkptkitError):
            checkpoints = scan(self.run).checkpoints
        return {
            "disk/free_bytes": float(self.available()),
            "ckpt/count": float(len(checkpoints)),
            "ckpt/bytes": float(sum(c.allocated_bytes for c in checkpoints)),
        }

    # --- single checkpoints -------------------------------------------------------------------------------------------

    def discard(self, name: str) -> bool:
        """Remove one checkpoint by name, whatever the rules say but never the only intact one; whether it is gone."""
        path = self.path(name)
        if not os.path.lexists(path):
            return True
        with self.turn:
            try:
                outcome = ops_discard(path, own=name == self.began, lock_timeout=LOCK_SECONDS, by=WHO)
            except (CkptkitError, OSError) as error:
                warn(str(error))
                return False
            self._forget((name,) if not outcome.failures else ())
        self._tell_once(text.failures(outcome))
        return not outcome.failures

    def clear(self, name: str) -> bool:
        """Remove an older checkpoint whose name a new save needs; whether the name is free."""
        self.began = ""
        if gone := self.discard(name):
            inform(f"{self.path(name)} deleted: it is left from an earlier training, and this step is saved now")
        return gone

    def is_unknown(self, name: str) -> bool:
        """Whether nobody here can judge that checkpoint: it is never deleted."""
        verdict = self.verdict(name)
        return verdict is None or verdict.state == "unknown"

    def set_aside(self, name: str) -> bool:
        """Free the name of a checkpoint that can't be judged for a new save, by another name; whether it is free."""
        path = self.path(name)
        try:
            (unknown,) = [j for run in runs_at(path) for j in judge(run, quiet=0)]
            aside = ops_set_aside(path, lock_timeout=LOCK_SECONDS)
        except (CkptkitError, OSError, ValueError) as error:
            warn(str(error))
            return False
        self._forget((name,))
        why = f"it could not be judged ({first_finding(unknown)})"
        warn(f"{path} has the name of this step's save, and {why}: renamed to {os.path.basename(aside)}, not deleted")
        return True

    def sound(self, name: str) -> bool:
        """Whether the checkpoint of that name, which this training wrote, is intact as far as anybody can judge it."""
        try:
            judged = [j.verdict for j in verify(self.path(name), trust=self.settings.trust)]
        except (CkptkitError, OSError):
            return False
        return all(v.intact or (not self.rotates and v.state == "unknown" and not v.unread) for v in judged)

    def verdict(self, name: str) -> Verdict | None:
        """Of a checkpoint that was just written; None if it can't be looked at, or somebody removed it meanwhile."""
        try:
            judged = [j.verdict for run in runs_at(self.path(name)) for j in judge(run, quiet=0)]
        except (CkptkitError, OSError):
            return None
        return judged[0] if judged else None

    def holds_only_unknown(self) -> bool:
        """Whether there are checkpoints, all of which could be read and none of which can be judged."""
        with self.turn, suppress(CkptkitError, OSError):
            verdicts = [j.verdict for j in judge(discover.scan(self.run), quiet=0)]
            return bool(verdicts) and all(v.state == "unknown" and not v.unread for v in verdicts)
        return False

    def holds_intact(self) -> bool:
        """Whether any checkpoint in the run is intact, or may be for all that can be read."""
        with self.turn, suppress(CkptkitError, OSError):
            return any(j.verdict.intact or j.verdict.unread for j in judge(discover.scan(self.run), quiet=0))
        return True

    # --- what others do -----------------------------------------------------------------------------------------------

    def notice(self) -> None:
        """Tell of each checkpoint that was there at the last look and that somebody else deleted since."""
        with self.turn:
            with suppress(CkptkitError, OSError):
                names = frozenset(c.name for c in discover.scan(self.run).checkpoints)
                for name in sorted((self.known or frozenset()) - names, key=lambda name: (len(name), name)):
                    if self.rotates:
                        warn(f"{self.path(name)} was deleted by {self._whom(name)}, not by this guard")
                self.known = names

    def _whom(self, name: str) -> str:
        """The last that the history knows to have deleted it; a callback that a person pasted is in no history."""
        recent, _ = deletions([self.run], time.time() - DAY)
        own = [gone for gone in recent if gone.checkpoint == name and gone.run == self.run]
        return f"{own[-1].program} (pid {own[-1].pid})" if own else "someone else"

    def gone(self, name: str) -> None:
        """The training itself deletes that one, and tells of it: nobody else did."""
        self._forget((name,))

    def _forget(self, names: Iterable[str]) -> None:
        gone = frozenset(names)
        self.known = None if self.known is None else self.known - gone
        self.earlier -= gone

    # --- the beginning of a training ----------------------------------------------------------------------------------

    def begin(self, step: int, chosen: bool) -> None:
        """A training begins at this step: what lies above it is an earlier one's. chosen: whether keep_last was."""
        self.written.clear()
        with suppress(CkptkitError, OSError):
            checkpoints = discover.scan(self.run).checkpoints
            self.earlier = frozenset(c.name for c in checkpoints if c.step > step)
            self.known = frozenset(c.name for c in checkpoints)
        if not chosen:
            self._protect_predating()
        self._preflight()

    def _protect_predating(self) -> None:
        """Nobody chose a limit, so what was there before and is more than the mass-delete rule allows stays."""
        plan = self._plan(self.settings.rules, 0)
        if plan is None:
            return
        going = [d.checkpoint.name for d in plan.deletions if d.verdict.intact]
        if len(going) > len(plan.intact) // 2:
            self.predating = dict.fromkeys(going, PREDATES)
            warn(f"{self.run}: {len(going)} older checkpoints stay; to delete them: {command('prune', self.run, '-y')}")

    def _preflight(self) -> None:
        """Tell at the start what will stand against a save; training begins all the same."""
        with suppress(CkptkitError, OSError):
            # A process that trains is not forked: it may hold a GPU, or memory that a network card writes to.
            for check in preflight(self.run, self.settings.rules, calls_tools=False):
                if check.state == "no-go" and check.code in TOLD_AT_START:
                    warn(f"{check.message}; fix: {check.command}")

    def _protected(self) -> Mapping[str, Reason]:
        return {**self.predating, **self.best, **self.source, **self.durable}

    def _tell_once(self, lines: list[str]) -> None:
        """Tell each failure when it appears, not once a save for ever."""
        for line in lines:
            if line not in self._failures:
                warn(line)
        self._failures = frozenset(lines)
