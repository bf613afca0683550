"""`ckptkit.guard(trainer)`: checks what was asked, takes over from the Trainer, says what it will do."""

from collections.abc import Iterable, Sequence
from typing import Any

from ckptkit import arguments, discover
from ckptkit.errors import NoSuchRun, UsageError
from ckptkit.guard.guard import Guard
from ckptkit.guard.settings import ON_FULL, Settings
from ckptkit.policy import Rules

DEFAULT_KEEP_LAST = 2


def guard(
    trainer: Any,
    keep_last: int | None = None,
    *,
    keep_every: int | None = None,
    keep_best: str | None = None,
    on_full: str = "skip",
    on_full_timeout: float = 300.0,
    trust: Sequence[str] = (),
) -> Guard:
    """Guard the checkpoints of a `transformers.Trainer` (or a child of it) from now on.

    trainer: before its train() is called.
    keep_last: the most checkpoints on disk at any instant, the one being written included; default is the Trainer's
    `save_total_limit`, which is switched off, else 2. With 1, two are there while a save is written.
    keep_every: keep those at multiples of so many steps as well. keep_best: "METRIC[:min|max][=N]" as well.
    on_full: when no room can be made without deleting the last intact one: "skip" this save and train on, "wait" for
    room, "stop" training cleanly, or save "weights-only" if that fits. on_full_timeout: seconds to "wait" at most.
    trust: patterns such as "my_package.*": a checkpoint whose pickles name such things may be resumed from. By default
    what `trust` in the run's ckptkit.toml or CKPTKIT_TRUST say.

    Returns the guard: `save_model(directory)` writes the final model through the same admission, `wait()` waits for
    the background work. Raises UsageError at once for what can't be meant.
    """
    _require_trainer(trainer)
    arguments.one_of("on_full", on_full, ON_FULL)
    timeout = arguments.number("on_full_timeout", on_full_timeout, "must be a number of seconds, 0 or more")
    limit, explicit = _keep_last(trainer, keep_last)
    rules = Rules(limit, keep_best, keep_every)
    guard = Guard(trainer, Settings(rules, limit, explicit, on_full, timeout, _trusted(trainer, trust)))
    guard.take_over()
    return guard


def _require_trainer(trainer: Any) -> None:
    if getattr(trainer, "_ckptkit_guard", None) is not None:
        raise UsageError("this trainer is guarded already: call ckptkit.guard(trainer) once")
    if not callable(getattr(trainer, "_save_checkpoint", None)) or not hasattr(trainer, "args"):
        raise UsageError(f"guard() takes a transformers.Trainer or a child of it, not {type(trainer).__name__}")
    try:
        discover.refuse_system_directory(trainer.args.output_dir)
    except UsageError as refused:  # no sweep would delete there, so every checkpoint would stay until the disk is full
        raise UsageError(f"output_dir: {refused}") from None


def _keep_last(trainer: Any, asked: int | None) -> tuple[int, bool]:
    """The limit, and whether a person chose it."""
    own = trainer.args.save_total_limit
    if asked is None and (own is None or own <= 0):
        return DEFAULT_KEEP_LAST, False
    must = "must be a whole number above 0, or None for the Trainer's save_total_limit"
    return arguments.whole("keep_last", own if asked is None else asked, must), True


def _trusted(trainer: Any, trust: Any) -> tuple[str, ...]:
    """What was given here, else what the run's ckptkit.toml or the environment say."""
    from ckptkit import ops

    if given := _patterns(trust):
        return given
    try:
        return ops.trust_for(trainer.args.output_dir, ())
    except NoSuchRun:  # a disk that can't be looked at now: nothing in it is trusted, and training begins
        return ()


def _patterns(trust: Any) -> tuple[str, ...]:
    from ckptkit.config import parse_trust

    is_list = isinstance(trust, Iterable) and not isinstance(trust, (str, bytes))
    try:
        if not is_list or not all(isinstance(pattern, str) and pattern for pattern in trust):
            raise ValueError("must be a list of patterns, such as trust=['my_package.*']")
        return parse_trust(",".join(trust)) if trust else ()
    except ValueError as error:
        raise UsageError(f"trust={trust!r}: {error}") from None
