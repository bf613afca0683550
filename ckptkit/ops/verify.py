"""verify with a budget: which files are read, how fast, how long; the manifests, and models that are no checkpoints."""

import os
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from ckptkit import config, delete, history, layouts
from ckptkit.errors import LockHeld, NoSuchRun, UsageError
from ckptkit.formats.stream import Pace
from ckptkit.model.checkpoint import ASIDE, Finding, Judged, Leftover
from ckptkit.model.decision import Failure
from ckptkit.policy import rules
from ckptkit.runs import discover
from ckptkit.system import lock
from ckptkit.system.volumes import yield_to_others
from ckptkit.verify import manifest
from ckptkit.verify.verdict import Reading
from ckptkit.verify.verdict import weights_findings as findings_of_weights

# Inside the directory that the model is for, so on its file system; a killed writer's is removed by the next one.
DRAFT = f"{ASIDE}draft"


def weights_findings(directory: str) -> tuple[Finding, ...]:
    """Given a directory with a saved model, return what is wrong with its weights; () means they are whole."""
    return findings_of_weights(discover.directory(directory))


def remove_draft(draft: str) -> list[Failure]:
    """Remove a draft, if it is there; only one that carries the aside name."""
    if not os.path.basename(draft).startswith(ASIDE):
        return [Failure(draft, "is not a draft of ours: left alone")]
    if not os.path.lexists(draft):
        return []
    parent = os.open(os.path.dirname(draft), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return delete.remove_leftover(parent, Leftover(draft, os.path.basename(draft), 0), list(delete.RETRY_SECONDS))
    finally:
        os.close(parent)


def put_in_place(draft: str, directory: str) -> list[Failure]:
    """Give the draft's files their names in `directory`; nothing else there is touched. Raises OSError.

    An earlier model's weights go first: broken off here, no model is found, and never a mix of two.
    """
    layout = layouts.LAYOUTS[0]
    written = frozenset(os.listdir(draft))
    delete.remove_files(directory, layout.superseded(frozenset(os.listdir(directory)), written))
    for parent, _, names in os.walk(draft):
        target = os.path.join(directory, os.path.relpath(parent, draft))
        os.makedirs(target, exist_ok=True)
        for name in names:
            os.replace(os.path.join(parent, name), os.path.join(target, name))
    return remove_draft(draft)


__all__ = ["Budget", "budget", "is_sound", "reading", "standing_still", "write_manifest", "yield_to_others"]

T = TypeVar("T")
LOCK_SECONDS = 30.0  # a sweep holds the run for as long as it deletes


class Budget(NamedTuple):
    """sample: (n, t), n of t parts of the files, the next ones at each call. max_seconds: begin no file after that.

    max_rate: bytes a second. None: no limit.
    """

    sample: tuple[int, int] | None = None
    max_seconds: float | None = None
    max_rate: float | None = None


def budget(sample: str | None, max_duration: str | None, max_rate: str | None) -> Budget:
    """Given the three as typed, return what they mean. Raises UsageError."""
    return Budget(
        _typed("sample", sample, _part), _typed("max_duration", max_duration, rules.duration),
        _typed("max_rate", max_rate, rules.size),
    )  # fmt: skip


def _typed(key: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise UsageError(f"{config.option(key)} {text!r}: {error}") from None


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text, re.ASCII)
    count, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= count <= of:
        raise ValueError("must be a part such as 1/7: one of seven parts of the files, another at each call")
    return count, of


def reading(
    paths: Sequence[str],
    limits: Budget,
    progress: Callable[[int], None] | None = None,
    digests: Sequence[str] = ("crc32",),
    values: bool = False,
) -> Reading:
    """Given what is to be verified and the budget for it, return how to read it; the budget's time begins now.

    progress: called with each count of bytes read. digests: to take of each file. values: look for NaN and Inf at
    `full` too, which a manifest then tells.
    """
    deadline = time.monotonic() + limits.max_seconds if limits.max_seconds else None
    chosen = _chosen(paths, limits.sample) if limits.sample else None

    def wanted(path: str) -> bool:
        in_time = deadline is None or time.monotonic() < deadline
        return in_time and (chosen is None or chosen(path))

    return Reading(wanted, tuple(digests), Pace(limits.max_rate, progress), values=values)


def _chosen(paths: Sequence[str], sample: tuple[int, int]) -> Callable[[str], bool]:
    """A file belongs to a part by its path, so that new ones change no other's turn."""
    count, of = sample
    turn = history.next_turn("\0".join(os.path.realpath(path) for path in paths))
    parts = {(turn * count + i) % of for i in range(count)}
    return lambda path: zlib.crc32(os.fsencode(path)) % of in parts


def is_sound(judged: Sequence[Judged], paths: Sequence[str]) -> bool:
    """Given the paths that verify was called with and its verdicts, return whether all there can be relied on.

    Not if one is damaged or refused, if an unknown one was named itself, or if a run holds unknown ones and no intact.
    """
    if any(j.verdict.damaged or j.verdict.refused for j in judged):
        return False
    typed = {os.path.abspath(path) for path in paths}
    unknown = [j.checkpoint.path for j in judged if j.verdict.state == "unknown"]
    sound_runs = {os.path.dirname(j.checkpoint.path) for j in judged if j.verdict.intact}
    return not any(path in typed or os.path.dirname(path) not in sound_runs for path in unknown)


def write_manifest(judged: Judged, now: float | None = None) -> bool:
    """Given an intact checkpoint that was read whole, write down what its files are; False if that stands already.

    Raises UsageError if it is not intact, was not read whole, or can't be written to.
    """
    checkpoint, verdict = judged
    if not verdict.intact or verdict.files_unread or verdict.level == "quick":
        why = verdict.state if not verdict.intact else "not read whole"
        raise UsageError(f"{checkpoint.path} is {why}: no manifest written")
    if _stands(judged):
        return False
    try:
        # Under the lock: a strip in between would leave a manifest that misses what is gone on purpose.
        with lock.hold(os.path.dirname(checkpoint.path), LOCK_SECONDS):
            manifest.write(checkpoint, verdict, _versions(), time.time() if now is None else now)
    except (OSError, LockHeld, NoSuchRun) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{checkpoint.path}: no manifest written: {fault}") from None
    return True


def _stands(judged: Judged) -> bool:
    """Whether the manifest that is there says all that a new one would."""
    try:
        known = manifest.read(judged.checkpoint.path)
    except ValueError:
        return False
    new, values = dict(judged.verdict.digests), judged.verdict.nonfinite
    if known is None or (known.nonfinite is None and values is not None):
        return False
    digested = {name: digest for name, digest in known.files.items() if digest.digests}
    return digested.keys() == new.keys() and all(
        set(digested[name].digests.items()) >= set(digest.digests.items()) for name, digest in new.items()
    )


def _versions() -> Mapping[str, str]:
    """Of the programs in this process: in the guard's, those that wrote the checkpoint."""
    import sys

    from ckptkit.version import __version__

    names = ("torch", "transformers", "peft", "safetensors", "accelerate", "bitsandbytes", "unsloth")
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    own = {"ckptkit": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    return own | {name: str(version) for name, version in loaded.items() if version}


def standing_still(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Given verdicts on checkpoints read whole, tell of each whether its weights are the one before's to the bit."""
    known = {j.checkpoint.path: _weights(j) for j in judged}
    return tuple(_told(j) if _equal(known[j.checkpoint.path], _before(j, known)) else j for j in judged)


Weights = frozenset[tuple[str, str]]


def _weights(judged: Judged) -> Weights:
    return frozenset(
        (n, d.digests["crc32"]) for n, d in judged.verdict.digests if _is_weights(n) and "crc32" in d.digests
    )


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _equal(one: Weights, other: Weights) -> bool:
    return bool(one) and one == other


def _before(judged: Judged, known: Mapping[str, Weights]) -> Weights:
    """The weights of the checkpoint before it in its run: as read just now, else as its manifest has them."""
    run = discover.scan(os.path.dirname(judged.checkpoint.path))
    lower = [c for c in run.checkpoints if c.step < judged.checkpoint.step]
    if not lower:
        return frozenset()
    if lower[-1].path in known:
        return known[lower[-1].path]
    try:
        written = manifest.read(lower[-1].path)
    except ValueError:
        return frozenset()
    files = written.files if written else {}
    return frozenset((n, d.digests["crc32"]) for n, d in files.items() if _is_weights(n) and "crc32" in d.digests)


def _told(judged: Judged) -> Judged:
    same = Finding("", "unchanged-weights", "its weights are those of the checkpoint before it, to the bit")
    return judged._replace(verdict=judged.verdict._replace(findings=(*judged.verdict.findings, same)))
