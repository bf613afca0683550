"""One trial: a real Trainer under the guard on failing_disk.py, which refuses a call in the middle; what did not hold.

A training saves at steps 5, 10, 15 and 20. Its first save is durable before anything is refused, and what is refused
once was so before step 18: the last save then has a good disk.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ckptkit.model.checkpoint import Judged
from tests.faults.disk_under_test import CHECKOUT, Called, Disk, Place, Refusal, below
from tests.faults.failing_disk import NEVER

sys.path.insert(0, str(CHECKOUT / "tests" / "guard"))  # tiny.py

STEPS, EVERY, KEEP = 20, 5, 2
BEGIN, END = 7, 17
SAVES = tuple(range(EVERY, STEPS + 1, EVERY))
KINDS = ("lora", "full")
# What of a checkpoint is the same in each training: its weights, torch's records, and its state but for how long saves
# took, which is in the log.
WEIGHTS = ("adapter_model.safetensors", "model.safetensors")
TORCH = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
STATE = "trainer_state.json"
LONGEST_SECONDS = 300.0  # then the disk turns good, and whatever waited for it is said to have hung


class Known(NamedTuple):
    """What a training of this kind gives without the guard, and {call: where it comes} with it, on a good disk."""

    kind: str
    losses: list[tuple[int, float]]
    digests: dict[int, str]
    places: dict[str, list[Place]]


class Ended(NamedTuple):
    """How a training under the guard ended.

    seen: each digest that a checkpoint had at some moment. told: every warning. raised: out of train(), "" for nothing.
    refused: how many calls were. hung: whether somebody had to help.
    """

    step: int
    losses: list[tuple[int, float]]
    seen: list[str]
    told: list[str]
    raised: str
    refused: int = 0
    hung: bool = False

    @classmethod
    def parsed(cls, line: str) -> "Ended":
        """Given what saving_alone.py printed."""
        step, losses, *rest = json.loads(line)
        return cls(step, [(at, loss) for at, loss in losses], *rest)


# --- what is right ----------------------------------------------------------------------------------------------------


def known(disk: Disk, folder: str, kind: str) -> Known:
    """Train without the guard in `folder`, and with it on the disk."""
    run = os.path.join(folder, kind)
    trainer = unguarded(run, kind)
    trainer.train()
    digests = {step: digest(run, step) for step in SAVES}
    return Known(kind, _losses(trainer), digests, _places(disk, f"good-{kind}", kind))


def _places(disk: Disk, run: str, kind: str) -> dict[str, list[Place]]:
    calls: list[Called] = []
    actions: dict[int, Callable[[], object]] = {BEGIN: disk.be, END: lambda: calls.extend(disk.be())}
    guarded(os.path.join(disk.mount, run), kind, actions).train()
    seen = Counter(place for place in (below(run, called) for called in calls) if place)
    places: dict[str, list[Place]] = {}
    for place, times in sorted(seen.items()):
        places.setdefault(place.call, []).append(place._replace(times=times))
    return places


def digest(run: str, step: int) -> str:
    """Of what a checkpoint holds that is the same in each training; "" where there is none."""
    path, found = os.path.join(run, f"checkpoint-{step}"), []
    for names, contents in ((WEIGHTS, _bytes), (TORCH, _records), ((STATE,), _state)):
        for name in names:
            with suppress(OSError, ValueError, zipfile.BadZipFile):
                found.append(f"{name} {hashlib.sha256(contents(os.path.join(path, name))).hexdigest()}")
    return " ".join(found)


def _bytes(path: str) -> bytes:
    return Path(path).read_bytes()


def _records(path: str) -> bytes:
    """Without the archive's own name, which stands before each, and its bookkeeping."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if "/." not in name]
        return b"".join(name.partition("/")[2].encode() + archive.read(name) for name in names)


def _state(path: str) -> bytes:
    state = json.loads(_bytes(path))
    return f"{state['global_step']} {_logged(state['log_history'])}".encode()


def _logged(history: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]


def _losses(trainer: Any) -> list[tuple[int, float]]:
    return _logged(trainer.state.log_history)


# --- trainings --------------------------------------------------------------------------------------------------------


def unguarded(run: str, kind: str) -> Any:
    """A trainer with a tokenizer, whose files are written from Rust."""
    import tiny
    from transformers import PrinterCallback

    of = tiny.model(kind == "lora", hidden_size=16, intermediate_size=16)
    trainer = tiny.trainer(run, of=of, max_steps=STEPS, save_steps=EVERY, tokenizer=_tokenizer())
    trainer.remove_callback(PrinterCallback)
    return trainer


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({f"word{number}": number for number in range(128)}, unk_token="word0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="word1")


def _then(guard: Any, action: Callable[[], Any]) -> None:
    guard.wait()
    action()


def guarded(run: str, kind: str, actions: Mapping[int, Callable[[], Any]]) -> Any:
    """The same under the guard; each action is called at its step, once what follows the last save is done."""
    import tiny

    import ckptkit

    trainer = unguarded(run, kind)
    guard = ckptkit.guard(trainer, KEEP)
    for step, action in actions.items():
        trainer.add_callback(tiny.At(step, partial(_then, guard, action)))
    return trainer


def train(run: str, back: str, kind: str, begin: Callable[[], Any], hangs: bool = False) -> Ended:
    """Train under the guard in `run`, whose bytes are really in `back`, with `begin` between two saves.

    hangs: don't wait for the guard after that, as what it does may never end.
    """
    seen: list[str] = []

    def look() -> None:
        seen.extend(digest(back, step) for step in SAVES)

    actions = {BEGIN: lambda: (look(), begin())} | ({} if hangs else {BEGIN + EVERY: look, END: look})  # type: ignore[func-returns-value]
    trainer = guarded(run, kind, actions)
    with _told() as told:
        raised = _raised(trainer.train)
    look()
    return Ended(trainer.state.global_step, _losses(trainer), seen, told, raised)


def _raised(train: Callable[[], Any]) -> str:
    """What it raised, and the last line of ours that it came through; "" if it returned."""
    try:
        train()
    except Exception as error:  # noqa: BLE001 - whatever it is, it ended a training
        lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return f"{type(error).__name__}: {error} ({[line for line in lines if '/ckptkit/' in line][-1:]})"
    return ""


@contextmanager
def _told() -> Iterator[list[str]]:
    from loguru import logger

    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


def refused(disk: Disk, run: str, refusal: Refusal, kind: str) -> Ended:
    """Train with the refusal; when this returns the disk is good again, and nothing is under way."""
    others, back = set(threading.enumerate()), os.path.join(disk.back, run)
    with _bound(disk) as rescued:
        begin = lambda: disk.be(refusal.fault(run))  # noqa: E731
        end = train(os.path.join(disk.mount, run), back, kind, begin, hangs=refusal.code == NEVER)
    calls = rescued + disk.be()
    hung = bool(rescued) or not _all_ended(others)
    late = [digest(back, step) for step in SAVES]  # a thread that hung went on to write, now that it could
    return end._replace(seen=end.seen + late, hung=hung, refused=sum(called.refused for called in calls))


@contextmanager
def _bound(disk: Disk) -> Iterator[list[Called]]:
    """The disk turns good after so long: then this holds what was called until then."""
    calls: list[Called] = []
    watch = threading.Timer(LONGEST_SECONDS, lambda: calls.extend(disk.be()))
    watch.start()
    try:
        yield calls
    finally:
        watch.cancel()
        watch.join()


def _all_ended(others: set[threading.Thread]) -> bool:
    """Wait for the threads that a training left, on a good disk; whether each of them ended."""
    for thread in set(threading.enumerate()) - others:
        thread.join(LONGEST_SECONDS)
    return set(threading.enumerate()) <= others


# --- promises ---------------------------------------------------------------------------------------------------------


def broken(disk: Disk, run: str, refusal: Refusal, right: Known) -> Iterator[str]:
    """One trial: yields each promise that it broke."""
    end, back = refused(disk, run, refusal, right.kind), os.path.join(disk.back, run)
    if not end.refused and refusal.skip:  # how often a file is looked at hangs on who comes first
        shutil.rmtree(back)
        yield from broken(disk, f"{run}-again", refusal._replace(skip=0), right)
        return
    if not end.refused:
        yield "the trial itself failed: nothing was refused"
    yield from faults(end, back, right, recovers=refusal.how == "once" and refusal.code != NEVER)
    synced = re.match(r"/(checkpoint-\d+)", refusal.place.path) if refusal.place.call == "fsync" else None
    if synced and refusal.code not in (NEVER, errno.EINTR) and not _is_told(synced[1], end):  # Python asks again
        yield f"{synced[1]} is not durable, and nobody is told"
    shutil.rmtree(back)


def faults(end: Ended, run: str, right: Known, recovers: bool, cut_off: bool = False) -> Iterator[str]:
    """What does not hold after a training.

    recovers: whether the last save had a good disk; cut_off: whether the process ended before the disk answered again.
    """
    words = f"; told {' | '.join([line[:300] for line in dict.fromkeys(end.told)][-4:]) or 'nothing'}"
    broken = ["it hung"] if end.hung else []
    if end.raised:
        broken.append(f"train() raised {end.raised}")
    else:
        broken += [*_otherwise(end, right), *_unsaved(end, right, recovers), *_found(run, right)]
    if not end.raised and not cut_off:
        broken += _left(run, end)
    yield from (f"{fault}{words}" for fault in broken)


def _otherwise(end: Ended, right: Known) -> Iterator[str]:
    if end.step != STEPS or end.losses != right.losses:
        yield f"ended at step {end.step} with the losses {end.losses}"


def _unsaved(end: Ended, right: Known, recovers: bool) -> Iterator[str]:
    """What could not be saved is told."""
    missing = [step for step in SAVES if right.digests[step] not in end.seen]
    for step in missing:
        if not _is_told(f"step {step}|checkpoint-{step}", end):
            yield f"step {step} is not saved, and nobody is told"
    if recovers and STEPS in missing:
        yield f"the disk was good again, and step {STEPS} is not saved"


def _found(run: str, right: Known) -> Iterator[str]:
    """There is an intact checkpoint, and each is what was to be saved."""
    intact = [one.checkpoint.step for one in _judged(run) if one.verdict.resumable]
    if not intact:
        yield f"no intact checkpoint is left of {os.listdir(run)}"
    for step in intact:
        if digest(run, step) != right.digests.get(step):
            yield f"checkpoint-{step} looks intact, and is not what was to be saved"


def _left(run: str, end: Ended) -> Iterator[str]:
    """What is no intact checkpoint is told."""
    whole = {one.checkpoint.name for one in _judged(run) if one.verdict.resumable}
    for name in set(os.listdir(run)) - whole:
        if not _is_told(f"{re.escape(name)}|{name.replace('checkpoint-', 'step ')}", end):
            yield f"{name} is left, and nobody is told"


def _judged(run: str) -> tuple[Judged, ...]:
    from ckptkit.ops.read import judge, scan

    return judge(scan(run), level="full", quiet=0) if os.listdir(run) else ()


def _is_told(what: str, end: Ended) -> bool:
    return any(re.search(rf"({what})(?!\w)", line) for line in end.told)
