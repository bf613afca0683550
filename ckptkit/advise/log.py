"""PURE: what ended a training, from the tail of its log. A full disk has five faces, and none of them says "full disk".

Sources of the words: safetensors 0.4 to 0.8 (its error changed its text and its module), torch's zip writer (it names
no errno), transformers' resume, the kernel's errno texts; docs of each were run, see tests/advise/test_diagnose.py.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from ckptkit.calling import command
from ckptkit.model.advice import Cause


class Sign(NamedTuple):
    """A pattern of a log line and what it means. fix: words of a verb of ours, or a shell command; {run} is the run."""

    code: str
    pattern: str
    message: str
    fix: str | tuple[str, ...]


def _errno(number: int, words: str) -> str:
    """How Python, Rust and C name an error of the system."""
    return rf"{words}|os error {number}\b|Errno {number}\b"


FULL = "The disk was full, or out of inodes."
PRUNE, LOOK, EXPLAIN = ("recover", "{run}"), ("diskreport", "{run}"), ("verify", "{run}", "--explain")
KERNEL = "dmesg | tail -30"
# The first sign that a line shows is what it counts for.
SIGNS = (
    Sign("full-disk", _errno(28, "No space left on device|StorageFull|ENOSPC"), FULL, PRUNE),
    Sign("full-disk", r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing file|basic_ios::clear",
         f"{FULL} So torch's writer puts it.", PRUNE),
    Sign("quota", _errno(122, "Disk quota exceeded|EDQUOT"), "Your quota on the volume is used up.", PRUNE),
    Sign("file-too-large", _errno(27, "File too large"),
         "A file grew beyond a limit: ulimit -f, or the file system's own.", "ulimit -f; findmnt -T {run}"),
    Sign("read-only", _errno(30, "Read-only file system"),
         "The volume turned read-only: the kernel saw an error on it.", KERNEL),
    Sign("io-error", _errno(5, "Input/output error"),
         "The disk, or the network behind it, failed to read or write.", KERNEL),
    Sign("permission", _errno(13, "Permission denied|Operation not permitted"),
         "A file could not be written or deleted by this user.", "ls -ld {run} {run}/*"),
    Sign("open-files", _errno(24, "Too many open files"), "The process had too many files open.", "ulimit -n 65536"),
    Sign("gpu-memory", r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError",
         "The GPU's memory was used up; the disk has nothing to do with it.", "nvidia-smi"),
    Sign("killed", r"^\s*Killed\s*$|oom-kill|Out of memory: Killed|exit ?code *:? ?(-9|137)\b|SIGKILL|killed by signal",
         "It was killed, most likely by the kernel for want of memory.", "dmesg | grep -i -A3 'killed process'"),
    Sign("torn-checkpoint", r"trainer_state\.json|BadZipFile|PytorchStreamReader failed|not a zip (file|archive)"
         r"|Header(TooLarge|TooSmall)|InvalidHeader|(Incomplete|Metadata)\w*(Metadata|Buffer)|file not fully covered",
         "The checkpoint that it wanted to resume from is torn.", PRUNE),
    Sign("no-checkpoint", r"No valid checkpoint found in output directory|Can't find a valid checkpoint at",
         "It wanted to resume, and there is no checkpoint that could be.", EXPLAIN),
    Sign("timeout", r"Watchdog caught collective operation timeout|ProcessGroupNCCL.*[Tt]imeout",
         "A rank waited for another one that was gone, or stuck: look at the others' logs.", LOOK),
)  # fmt: skip
COMPILED = [(sign, re.compile(sign.pattern, re.MULTILINE)) for sign in SIGNS]
ERROR = re.compile(r"^(\w+\.)*\w*(Error|Exception|Interrupt)\b.*", re.ASCII)
CHECKPOINT = re.compile(r"(?P<run>[^\s'\"(<>|:,]*?)/?(?:tmp-)?checkpoint-\d+\b")


def causes(text: str, run: str) -> tuple[Cause, ...]:
    """Given the tail of a log and the run's path, return what ended it, the last and most telling first.

    run: "" if nobody knows it; then a command that needs it is left out.
    Only errors count: a line that tells of a save that failed and was written again is told by our own guard.
    """
    causes_by_code: dict[str, Cause] = {}
    for line in reversed(text.splitlines()):
        if "ckptkit:" in line:
            continue
        sign = next((sign for sign, pattern in COMPILED if pattern.search(line)), None)
        if sign and sign.code not in causes_by_code:
            causes_by_code[sign.code] = Cause(sign.code, sign.message, line.strip()[:300], _command(sign.fix, run))
    return tuple(causes_by_code.values())


def runs_in(text: str) -> tuple[str, ...]:
    """Given the tail of a log, return the directories whose checkpoints it names, the last first; "" for its own."""
    runs = [match["run"] for line in reversed(text.splitlines()) for match in CHECKPOINT.finditer(line)]
    return tuple(dict.fromkeys(runs))


def last_error(text: str) -> str:
    """Given the tail of a log, return its last line that names an error, or ""."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if ERROR.match(line.strip())), "")


def _command(fix: str | tuple[str, ...], run: str) -> str:
    if not run and "{run}" in " ".join(fix if isinstance(fix, tuple) else (fix,)):
        return ""
    if isinstance(fix, str):
        return fix.replace("{run}", shlex.quote(run))
    verb, *words = fix
    return command(verb, *(word.replace("{run}", run) for word in words))
