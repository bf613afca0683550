"""`ckptkit.guard(trainer)`: checks what was asked, takes over from the Trainer, says what it will do."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from ckptkit import arguments
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.guard.loop import LoopGuard
from ckptkit.guard.settings import KEEP_TRIALS, ON_FULL, ON_FULL_OF_A_LOOP, GuardSettings
from ckptkit.guard.trainer_like import TrainerLike
from ckptkit.policy import rules
from ckptkit.policy.keep import Rules
from ckptkit.runs import discover

if TYPE_CHECKING:
    from ckptkit.guard.guard import Guard

DEFAULT_KEEP_LAST = 2
LONGEST_TIMEOUT = 1e9  # seconds: some thirty years, and nothing that counts with it overflows


@overload
def guard(
    trainer: str | os.PathLike[str], keep_last: int | None = None, *, keep_every: int | None = None,
    keep_best: str | None = None, on_full: str = "skip", on_full_timeout: float = 300.0, trust: Sequence[str] = ()
) -> LoopGuard: ...  # fmt: skip


@overload
def guard(
    trainer: Any, keep_last: int | None = None, *, keep_every: int | None = None, keep_best: str | None = None,
    on_full: str = "skip", on_full_timeout: float = 300.0, trust: Sequence[str] = (),
    save_every: str | float | None = None, keep_trials: str = "all"
) -> "Guard": ...  # fmt: skip


def guard(
    trainer: Any,
    keep_last: int | None = None,
    *,
    keep_every: int | None = None,
    keep_best: str | None = None,
    on_full: str = "skip",
    on_full_timeout: float = 300.0,
    trust: Sequence[str] = (),
    save_every: str | float | None = None,
    keep_trials: str = "all",
) -> "Guard | LoopGuard":
    """Guard the checkpoints of a `transformers.Trainer` (or a child of it) from now on, or those of one's own loop.

    trainer: before its train() is called. Called again on the same trainer, the same guard is returned, with the
    settings of this call. Or the directory of a loop's checkpoints, such as "out/checkpoints": see below.
    keep_last: the most checkpoints on disk at any instant, the one being written included; default is the Trainer's
    `save_total_limit`, which is off while it trains, else 2. With 1, two are there while a save is written. The best
    one (`metric_for_best_model`) and, with on_full="weights-only", one with weights only may come on top. For room on
    the disk it goes below that, down to the last intact one.
    keep_every: keep those at multiples of so many steps as well. keep_best: "METRIC[:min|max][=N]" as well.
    on_full: when no room can be made without deleting the last intact one: "skip" this save and train on, "wait" for
    room, "stop" training cleanly, or save "weights-only" if that fits. on_full_timeout: seconds to "wait" at most.
    trust: patterns such as "my_package.*": a checkpoint whose pickles name such things may be resumed from. By default
    what `trust` in the run's ckptkit.toml or CKPTKIT_TRUST say.
    save_every: a save by the clock, such as "30m", or seconds, besides those by steps; with save_strategy="no" instead
    of them. The last step is saved too.
    keep_trials: of a hyperparameter search, "all" keeps the checkpoints of each trial, each by these rules; "best"
    deletes those of all but the best trial so far and the running one (Optuna).

    Where what it saves can't be judged, rotation stays the Trainer's own; that is told. Returns the guard:
    `save_model(directory)` writes the final model through the same admission, `wait()` waits for the background work.
    Raises UsageError at once for what can't be meant. Without a Trainer (Accelerate, torch.distributed.checkpoint) it
    returns one with `with guard.saving(step) as path:`, `guard.save(step, write)`, which tries again, `guard.latest()`
    to go on from, and `guard.close()`. There on_full is "skip", "wait" or "raise"; save_every and keep_trials are the
    Trainer's. Raises LockHeld if another training is at work there.
    """
    if isinstance(trainer, (str, os.PathLike)):
        _require_unset(save_every=save_every is not None, keep_trials=keep_trials != "all")
        run = _directory(os.fspath(trainer))
        settings = settings_of_a_loop(run, keep_last, keep_every, keep_best, on_full, on_full_timeout, trust)
        return _of_a_loop(os.path.realpath(run), settings)
    settings = _settings_of_a_trainer(
        trainer, keep_last, keep_every, keep_best, on_full, on_full_timeout, trust, save_every, keep_trials
    )
    return _of_a_trainer(trainer, settings)


def _settings_of_a_trainer(
    trainer: TrainerLike, keep_last: int | None, keep_every: int | None, keep_best: str | None, on_full: str,
    on_full_timeout: float, trust: Sequence[str], save_every: str | float | None, keep_trials: str
) -> GuardSettings:  # fmt: skip
    """Given what was asked for, of whatever type a person gave it, return it checked. Raises UsageError."""
    _require_trainer(trainer)
    when_full = arguments.one_of("on_full", on_full, ON_FULL)
    trials = arguments.one_of("keep_trials", keep_trials, KEEP_TRIALS)
    timeout = _timeout(on_full_timeout)
    limit, explicit = _keep_last(trainer, keep_last)
    return GuardSettings(
        Rules(limit, keep_best, keep_every), limit, explicit, when_full, timeout,
        _trusted(trainer.args.output_dir, trust), _interval(save_every), trials,
    )  # fmt: skip


def _of_a_trainer(trainer: TrainerLike, settings: GuardSettings) -> "Guard":
    """The one guard of a Trainer: the one that it has, with these settings, or a new one."""
    from ckptkit.guard.guard import Guard  # it needs transformers, and a loop of one's own does not

    its_guard: Guard | None = getattr(trainer, "_ckptkit_guard", None)
    if its_guard is not None:
        its_guard.change(settings)
        return its_guard
    new_guard = Guard(trainer, settings)
    new_guard.take_over()
    return new_guard


_loops: dict[str, LoopGuard] = {}  # by run: a cell of a notebook is run again


def _of_a_loop(run: str, settings: GuardSettings) -> LoopGuard:
    """The guard of a loop that saves into this directory, a real path. Raises LockHeld."""
    if run in _loops:
        _loops[run].change(settings)
    else:
        _loops[run] = LoopGuard(run, settings)
    _loops[run].open()
    return _loops[run]


def _directory(run: str) -> str:
    """The directory of a loop's checkpoints as it was named. Raises UsageError where no sweep would delete."""
    arguments.text("trainer", run, "must be a transformers.Trainer, or the directory of a loop's checkpoints")
    discover.refuse_system_directory(run)
    return run


def settings_of_a_loop(
    run: str,
    keep_last: int | None,
    keep_every: int | None,
    keep_best: str | None,
    on_full: str,
    on_full_timeout: float,
    trust: Sequence[str],
    best: str = "pin the best one instead: ckptkit.pin(path)",
) -> GuardSettings:
    """Given what was asked for without a Trainer, return it checked. Raises UsageError.

    run: the directory of its checkpoints. The rest is as in `guard`, of whatever type a person gave it.
    best: what to do instead of keep_best: where nobody measured its metric, nothing would ever be deleted.
    """
    if keep_best is not None:
        raise UsageError(f"keep_best: a loop's checkpoints hold no metric; {best}")
    when_full = arguments.one_of("on_full", on_full, ON_FULL_OF_A_LOOP)
    timeout = _timeout(on_full_timeout)
    limit = DEFAULT_KEEP_LAST if keep_last is None else arguments.whole("keep_last", keep_last)
    loop_rules = Rules(limit, None, keep_every)
    return GuardSettings(loop_rules, limit, keep_last is not None, when_full, timeout, _trusted(run, trust))


def _require_unset(**is_set: bool) -> None:
    """Raise UsageError for the first of these arguments that is set."""
    for name, is_it in is_set.items():
        if is_it:
            raise UsageError(f"{name} is only for a transformers.Trainer: your own loop decides when it saves")


def _timeout(seconds: float) -> float:
    must = "must be a number of seconds, 0 or more"
    if arguments.number("on_full_timeout", seconds, must) > LONGEST_TIMEOUT:
        raise arguments.wrong("on_full_timeout", seconds, f"{must}, and at most {LONGEST_TIMEOUT:,.0f}")
    return float(seconds)


def _interval(every: object) -> float | None:
    if every is None:
        return None
    if isinstance(every, str):
        return rules.parse_argument("save_every", every, rules.duration)
    return arguments.number("save_every", every, "must be text such as '30m', or seconds above 0", zero=False)


def _require_trainer(trainer: object) -> None:
    if not callable(getattr(trainer, "_save_checkpoint", None)) or not hasattr(trainer, "args"):
        raise UsageError(f"guard() takes a transformers.Trainer or a child of it, not {type(trainer).__name__}")
    try:
        discover.refuse_system_directory(trainer.args.output_dir)
    except UsageError as refused:  # no sweep would delete there, so every checkpoint would stay until the disk is full
        raise UsageError(f"output_dir: {refused}") from None
    except OSError:
        pass  # a disk that can't be looked at now: it is told at each save


def _keep_last(trainer: TrainerLike, asked: int | None) -> tuple[int, bool]:
    """The limit, and whether a person chose it."""
    guard = getattr(trainer, "_ckptkit_guard", None)
    own = trainer.args.save_total_limit if guard is None else guard.rotation.limit()
    if asked is None and (own is None or own <= 0):
        return DEFAULT_KEEP_LAST, False
    must = "must be a whole number above 0, or None for the Trainer's save_total_limit"
    return arguments.whole("keep_last", own if asked is None else asked, must), True


def _trusted(run: str, trust: object) -> tuple[str, ...]:
    """The patterns of this call, else those that the run's ckptkit.toml or the environment say."""
    from ckptkit.ops.read import trust_for

    if patterns := _patterns(trust):
        return patterns
    try:
        return trust_for(run, ())
    except UsageError:
        raise
    except (CkptkitError, OSError):  # a disk that can't be looked at now: nothing in it is trusted, and training begins
        return ()


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _patterns(trust: object) -> tuple[str, ...]:
    from ckptkit.config import parse_trust

    try:
        if not isinstance(trust, Iterable) or isinstance(trust, (str, bytes)) or not all(map(_is_pattern, trust)):
            raise ValueError("must be a list of patterns, such as trust=['my_package.*']")
        return parse_trust(",".join(trust)) if trust else ()
    except ValueError as error:
        raise UsageError(f"trust={trust!r}: {error}") from None
