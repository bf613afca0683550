"""strace as a saboteur: lists the calls that a command makes on a tree, then kills it at one, or lets one fail.

Each run has process numbers of its own (a PID namespace), so that a temporary file named after one is the same file
in each, and a walk over /proc sees nobody else. A call is known by its thread's lane, its name and its number among
the calls of that name on the lane's paths: strace's own counting (`when=N`, with `-P PATH`).
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

CHANGING = frozenset(re.findall(r"\w+", """
    rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat symlink symlinkat mknod mknodat
    write writev pwrite64 pwritev pwritev2 truncate ftruncate fallocate copy_file_range sendfile
    fsync fdatasync sync_file_range syncfs utimensat chmod fchmod fchmodat chown fchown lchown fchownat
    setxattr lsetxattr fsetxattr removexattr fremovexattr"""))  # fmt: skip
LOOKING = frozenset(re.findall(r"\w+", """
    open openat openat2 close statfs fstatfs getdents64 newfstatat stat lstat fstat statx"""))  # fmt: skip
WRITES = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC)\b")
ISOLATED = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
FILTERED = "--seccomp-bpf"  # strace stops at the calls that it traces alone: half the time
# Its look whether the kernel can do that takes one process number; where it isn't asked for, something else must.
UNFILTERED = ("sh", "-c", '/bin/true; exec "$0" "$@"')
LONGEST_SECONDS = 120  # on a machine that does ten things at once; a command that hangs is one that never ends


class Call(NamedTuple):
    """One system call on the tree. told: its arguments without what differs from run to run."""

    name: str
    number: int
    told: str

    @property
    def changes(self) -> bool:
        return self.name in CHANGING or (self.name.startswith("open") and WRITES.search(self.told) is not None)

    @property
    def removes(self) -> str:
        """The name by which the errors that it can have are looked up."""
        return "rmdir" if self.name == "unlinkat" and "AT_REMOVEDIR" in self.told else self.name


class Lane(NamedTuple):
    """What one thread does to the tree, in order, and the paths by which strace recognises it."""

    paths: tuple[str, ...]
    calls: tuple[Call, ...]


class Ended(NamedTuple):
    """How a command ended, and what strace wrote about the call that was chosen."""

    code: int
    out: str
    err: str
    log: str


class Command(NamedTuple):
    """What is typed, where strace may write, and which trees count."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    log: str
    roots: tuple[str, ...]

    def run(self, *strace: str, stop_at: str = "") -> Ended:
        """Run it under strace with these words; kill it once the log holds `stop_at`."""
        with suppress(FileNotFoundError):
            os.unlink(self.log)
        isolated = ISOLATED if FILTERED in strace else (*ISOLATED, *UNFILTERED)
        words = (*isolated, "strace", "-f", "-y", "-s", "64", "-o", self.log, *strace, *self.words)
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        process = subprocess.Popen(words, env=dict(self.environment), **pipes)
        stopped = _kill_when(process, self.log, stop_at) if stop_at else False
        try:
            out, err = process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return Ended(124, out, f"{err}\nit hung", _read(self.log))
        return Ended(137 if stopped else process.returncode, out, err, _read(self.log))

    def lanes(self, afresh: "Iterable[None]") -> list[Lane]:
        """What each thread does. afresh: makes the tree as it is before the command, each time it is asked."""
        steps = iter(afresh)
        next(steps)
        names = ",".join(sorted(CHANGING | LOOKING))
        lines = _lines(self.run(FILTERED, "-e", f"trace=/^({names.replace(',', '|')})$").log)
        found = []
        for thread, theirs in groupby(sorted(lines, key=lambda line: line[0]), key=lambda line: line[0]):
            paths = sorted({path for _, text in theirs for path in self._paths(text)})
            if paths:
                next(steps)
                found.append(self._lane(thread, tuple(paths), names))
        return found

    def _lane(self, thread: str, paths: tuple[str, ...], names: str) -> Lane:
        """Numbered as strace counts with these paths: for each thread on its own, so the first to come so far is hit.

        What another thread does on them is another lane's. Thread numbers are the same in each run, as all numbers are.
        """
        log = self.run(FILTERED, *_only(paths), "-e", f"trace=/^({names.replace(',', '|')})$").log
        numbered: dict[tuple[str, str], int] = {}
        calls, reached = [], set()
        for whose, text in _lines(log):
            name = text.partition("(")[0]
            numbered[whose, name] = number = numbered.get((whose, name), 0) + 1
            if whose == thread and (name, number) not in reached:
                calls.append(Call(name, number, told(text)))
            reached.add((name, number))
        return Lane(paths, tuple(calls))

    def _paths(self, text: str) -> Iterator[str]:
        for path in re.findall(r'["<](/[^">]*)[">]', text):
            if any(path == root or path.startswith(root + "/") for root in self.roots):
                yield path.removesuffix(" (deleted)")

    def killed_before(self, lane: Lane, call: Call) -> Ended:
        """SIGKILL at the entry of the call. Not filtered: strace 6.1 then delivers no signal at all."""
        return self.run(*_only(lane.paths), *_inject(call, "signal=KILL"))

    def killed_after(self, lane: Lane, call: Call) -> Ended:
        """SIGKILL once the call has taken effect, while strace holds its return back."""
        return self.run(FILTERED, *_only(lane.paths), *_inject(call, "delay_exit=60s"), stop_at="(DELAYED)")

    def failing(self, lane: Lane, call: Call, error: str, ever: bool) -> Ended:
        """The call fails with that error and does nothing; ever: so do all later ones of its name on the lane."""
        return self.run(FILTERED, *_only(lane.paths), *_inject(call, f"error={error}", "+" if ever else ""))


def told(text: str) -> str:
    """A call's line without addresses, descriptors, what was returned and what a structure held."""
    text = re.sub(r"\)\s+= .*", "", text)
    if re.match("p?write|utime|getdents", text):
        return text.partition(">")[0]
    return re.sub(r"0x[0-9a-f]+|\{.*\}|\b\d+(?=<)|\"\.\.\.|, \d+$", "", text.rstrip())


def hit(ended: Ended, call: Call) -> str:
    """The log's line about the chosen call, "" if it was not sabotaged; strace counts for each thread on its own."""
    for _, text in _lines(ended.log):
        if re.search(r"\(INJECTED\)|\(DELAYED\)|= \?", text) and told(text) == call.told:
            return text
    return ""


def _only(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from ("-P", path)


def _inject(call: Call, what: str, on: str = "") -> tuple[str, ...]:
    return ("-e", f"trace={call.name}", "-e", f"inject={call.name}:{what}:when={call.number}{on}")


def _lines(log: str) -> list[tuple[str, str]]:
    """(thread, call) for each call in the log, in the order of their beginnings; an interrupted one made whole."""
    found: list[tuple[str, str]] = []
    begun: dict[str, int] = {}
    for thread, _, text in (line.partition(" ") for line in log.splitlines()):
        text = text.lstrip()
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            at = begun.pop(thread)
            found[at] = (thread, found[at][1] + resumed[1])
        elif re.match(r"[a-z_0-9]+\(", text):
            begun[thread] = len(found)
            found.append((thread, text.removesuffix("<unfinished ...>")))
    return found


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _kill_when(process: "subprocess.Popen[str]", log: str, words: str) -> bool:
    """Kill the traced program, strace's only child, at the call that it is held in; whether it came to that."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if words in _read(log):
            (strace,) = _children(process.pid)
            (victim,) = _children(strace)
            os.kill(victim, signal.SIGKILL)  # pending from here on, so that it never comes back to its own code
            os.kill(strace, signal.SIGKILL)  # which would sit out the delay, and hold the dead one at its exit
            return True
        time.sleep(0.01)
    return False


def _children(pid: int) -> Sequence[int]:
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
