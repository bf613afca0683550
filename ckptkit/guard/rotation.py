"""Who rotates: the guard where it can judge what this Trainer writes, else the Trainer itself, as without us."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from ckptkit.guard.messages import inform, warn
from ckptkit.guard.room import Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.guard.storage_errors import one_line
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.guard.writers import replaced
from ckptkit.model.checkpoint import Verdict
from ckptkit.system.timeout import Timeout
from ckptkit.units import human

UNJUDGED = "the guard can't judge what this Trainer saves"

TELLS_NOTHING = frozenset({"unreadable", "changed"})  # findings of the moment: the disk's, or of who else is at work

IN_A_ROW = 2  # saves without a fault that are not intact


class Rotation:
    """Of one Trainer. Its first saves tell whether they can be judged; what could not be read says nothing of that."""

    def __init__(self, trainer: TrainerLike, room: Room) -> None:
        self.trainer, self.room = trainer, room
        self.own_limit: int | None = trainer.args.save_total_limit
        self.why = ""  # the guard does not rotate, "" while it does
        self._judged, self._not_intact, self._in_force = False, 0, False

    def limit(self) -> int | None:
        """The Trainer's own, as a person set it."""
        return self.own_limit if self._in_force else self.trainer.args.save_total_limit

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """While it trains or saves, the Trainer has the limit that is meant for it; then its own again: another
        Trainer may be made with the same arguments.
        """
        if self._in_force:
            yield
            return
        args, self.own_limit = self.trainer.args, self.limit()
        self._in_force = True
        self._apply()
        try:
            yield
        finally:
            self._in_force = False
            for each in (args, self.trainer.args):  # which a person may have replaced, or changed, meanwhile
                if each.save_total_limit == self._meant():
                    each.save_total_limit = self.own_limit

    def set(self, tells: bool) -> None:
        """Put it into effect, with the settings as they are now. tells: whether this rank looks after a disk."""
        self.own_limit = self.limit()
        self.room.rotates = not self.why
        self._apply()
        if self.why and tells:
            goes_on = _goes_on(self._meant())
            warn(f"{self.room.run}: {self.why}, so it deletes nothing there; {goes_on}")

    def _apply(self) -> None:
        if self._in_force:
            self.trainer.args.save_total_limit = self._meant()

    def _meant(self) -> int | None:
        """The limit for the Trainer's rotation: its own, else the guard's if a person chose that; None: it rests."""
        settings = self.room.settings
        chosen = settings.keep_last if settings.explicit else None
        own = self.own_limit if self.own_limit and self.own_limit > 0 else chosen
        return own if self.why else None

    def begin(self) -> None:
        """A training begins, on a rank that looks after a disk: what stands there may be what its saves will be like.

        Only where the Trainer's own limit would have it rotate there anyway.
        """
        unknown_alone = self.room.holds_only_unknown()
        if unknown_alone and not self.why and not self._judged and (self.own_limit or 0) > 0:
            self.why = UNJUDGED
            self.set(True)

    def look_at(self, name: str) -> None:
        """After a save without a fault, on a rank that looks after a disk: go on as what it wrote can be judged."""
        if self._judged:
            return
        verdict = self.room.verdict(name)
        if verdict is None or any(finding.code in TELLS_NOTHING for finding in verdict.findings):
            return
        self._judged = verdict.intact or bool(self.room.durable)  # that one was read back, and found intact
        self._not_intact = 0 if self._judged else self._not_intact + 1
        if self._judged and self.why:
            self._take_back()
        elif not self._judged and not self.why and self._is_its_way(verdict):
            self._hand_over()

    def _is_its_way(self, verdict: Verdict) -> bool:
        """Whether this Trainer always saves so. What may be the disk's doing costs no earlier one that is intact."""
        again = self._not_intact >= IN_A_ROW
        if self.room.holds_intact():
            return again and not verdict.damaged
        return again or not verdict.damaged

    def _take_back(self) -> None:
        self.why = ""
        self.set(False)
        inform(f"{self.room.run}: the guard can judge what this Trainer saves, and prunes it")

    def _hand_over(self) -> None:
        """The Trainer's own rotation, after this save too: one more than it keeps is one too many for the next."""
        self.why = UNJUDGED
        self.set(True)
        with self.room.turn:
            _rotate(self.trainer, self.room.run)

    def announce(self) -> None:
        """Say how many checkpoints there will be, and how much room there is."""
        settings, run = self.room.settings, self.room.run
        if self.room.rotates:
            at_most = bound(settings, self.trainer.args.metric_for_best_model)
            inform(f"guarding {run}: {at_most}; on_full={settings.on_full}")
        if self.room.rotates and settings.keep_last == 1:
            inform("keep_last=1: there are 2 while a save is written: the last intact one stays until the new one is")
        with suppress(OSError):
            inform(f"{human(self.room.available())} available")


def bound(settings: GuardSettings, best: str | None) -> str:
    """How many checkpoints there will be, for a person. best: the metric by which one is the best, if there is one."""
    at_most = f"at most {max(2, settings.keep_last)} checkpoints on disk at any instant"
    more = ["the best one"] if best else []
    more += ["one with weights only"] if settings.on_full == "weights-only" else []
    more += [f"each at a multiple of {settings.rules.keep_every} steps"] if settings.rules.keep_every else []
    more += [f"the best by {settings.rules.keep_best}"] if settings.rules.keep_best else []
    return ", and ".join([at_most, *more])


def _goes_on(limit: int | None) -> str:
    """What becomes of the older ones then, and what to type where nothing does."""
    if limit:
        return f"the Trainer rotates, with save_total_limit={limit}"
    return "the Trainer has no save_total_limit either, so all checkpoints stay: set keep_last=2 in ckptkit.guard"


def _rotate(trainer: TrainerLike, run: str) -> None:
    """As the end of `_save_checkpoint` does: a function of transformers 5, a method of the Trainer in 4."""
    if hasattr(trainer, "_rotate_checkpoints"):
        trainer._rotate_checkpoints(use_mtime=True, output_dir=run)
        return
    from transformers import trainer_utils

    trainer_utils.rotate_checkpoints(
        output_dir=run,
        save_total_limit=trainer.args.save_total_limit,
        best_model_checkpoint=trainer.state.best_model_checkpoint,
        use_mtime=True,
    )


@contextmanager
def forgiven(trainer: TrainerLike, timeout: Timeout) -> Iterator[None]:
    """Meanwhile the Trainer's list of checkpoints is empty where the disk refuses it, or does not answer in time.

    It uses the list only for its own rotation, which then deletes nothing. In transformers 4 it is a method, in 5 a
    function.
    """
    from transformers import trainer as module

    is_method = hasattr(trainer, "_sorted_checkpoints")
    holder, name = (trainer, "_sorted_checkpoints") if is_method else (module, "sort_checkpoints")
    if not hasattr(holder, name):
        yield
        return
    with replaced(holder, partial(_forgiving, timeout), name):
        yield


def _forgiving(timeout: Timeout, original: Callable[..., object]) -> Callable[..., object]:
    def sorted_checkpoints(*args: object, **kwargs: object) -> object:
        try:
            return timeout.call(partial(original, *args, **kwargs))
        except OSError as error:
            warn(f"the Trainer can't list its checkpoints: {one_line(error)}")
            return []

    return sorted_checkpoints
