"""One input, one answer: what a target did wrong with it, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import signal
import tempfile
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 1.0  # of the processor, not of the clock: others work on this machine
MEGABYTES = 100
PATIENCE = 3  # seconds, for what never returns
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
STATUS = os.open("/proc/self/status", os.O_RDONLY)


class Target(NamedTuple):
    """What is fuzzed.

    run      takes the bytes; raises what is not `allowed` only by mistake
    allowed  the exceptions that its docstring promises
    mutate   (bytes, random.Random) → bytes that are still of the format, where bytes at random seldom are
    fix      bytes → the same with lengths and checksums made right again, so that mutations get past them
    tokens   what libFuzzer may put in, for its dictionary
    """

    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = ()
    mutate: Callable[[bytes, Any], bytes] | None = None
    fix: Callable[[bytes], bytes] | None = None
    tokens: tuple[bytes, ...] = ()


class Found(NamedTuple):
    """A finding. `where` is the same for the same defect, so that it is told once."""

    kind: str
    where: str
    told: str


def look(target: Target, data: bytes) -> Found | None:
    """Given a target and an input, run it and return what is wrong."""
    before, began = peak(), time.process_time()
    try:
        target.run(data)
    except target.allowed:
        pass
    except Exception as error:  # noqa: BLE001  that is the question
        return Found(type(error).__name__, _where(error), "".join(traceback.format_exception(error))[-3000:])
    took, grown = time.process_time() - began, (peak() - before - len(data)) >> 20
    if took > SECONDS:
        return Found("slow", "", f"{took:.1f} s of the processor")
    return Found("memory", "", f"{grown} MB beyond the input") if grown > MEGABYTES else None


def peak() -> int:
    """The most memory that this process had, in bytes; getrusage(2) would tell its parent's, if that was larger."""
    told = os.pread(STATUS, 4096, 0)
    at = told.index(b"VmHWM:")
    return int(told[at + 6 : at + 17].split()[0]) << 10


def _where(error: BaseException) -> str:
    """The last line of ours that it passed, as file:line."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "/ckptkit/" in f.filename or "/fuzz/" in f.filename
    ]
    return f"{frames[-1].filename.rsplit('/', 2)[-2]}/{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}"


def replay(target: Target, data: bytes) -> Found | None:
    """As `look`, in a forked process: its peak of memory begins anew, and what never returns is killed.

    By the processor's time: a machine that is busy with other things makes no finding.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="ckptkit-fuzz-", dir=MEMORY) as scratch:
        child = os.fork()
        if child == 0:
            _begin_anew(scratch)
            os.write(writing, pickle.dumps(look(target, data)))
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
    return pickle.loads(told) if told else Found("killed", "", f"did not return: {os.waitstatus_to_exitcode(status)}")


def _begin_anew(scratch: str) -> None:
    """What a forked child must not share with its parent, and its time."""
    own_status()
    tempfile.tempdir = scratch
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)


def own_status() -> None:
    """After a fork: from now on, `peak` is of this process."""
    global STATUS
    STATUS = os.open("/proc/self/status", os.O_RDONLY)


def keep(folder: Path, data: bytes, found: Found) -> Path:
    """Write an input and what it did, once for each `where`; returns the input's path."""
    name = hashlib.sha256(f"{found.kind} {found.where}".encode()).hexdigest()[:12]
    path = folder / f"{found.kind}-{name}.bin"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists() or len(data) < path.stat().st_size:
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{found.kind} at {found.where}\n{found.told}\n", errors="backslashreplace")
    return path


def kept(folder: Path) -> list[tuple[Path, str]]:
    """Every finding of a folder: (the input, its first line)."""
    told = []
    for path in sorted(folder.glob("*.bin")):
        with contextlib.suppress(OSError):
            told.append((path, path.with_suffix(".txt").read_text().split("\n")[0]))
    return told
