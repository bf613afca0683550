"""failing_disk.py from outside: starts it, tells it what to refuse, and ends it whatever hangs there."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.failing_disk import NEVER, Fault
from tests.support.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Of these the kernel asks once more itself: a program sees them only where the second answer is the same.
ASKED_TWICE = {
    errno.ESTALE: ("mkdir", "open", "rename", "unlink", "rmdir", "statvfs", "stat"),
    errno.ECHILD: ("open",),
}
# With ENOSYS a FUSE server says that it has no such call: the kernel then answers each later one itself, with success.
NOT_BY_FUSE = {errno.ENOSYS: ("open", "fsync", "close")}
SCRATCH = r"\.tmp\w{6}$"  # as safetensors names a file before it is renamed: another word each time


class Called(NamedTuple):
    """A call that came to the disk, on this path below the mount; refused: or not answered."""

    call: str
    path: str
    refused: bool


class Disk(NamedTuple):
    """mount: what a training sees; back: what is really there; server: failing_disk.py; turn: to ask it."""

    mount: str
    back: str
    server: "subprocess.Popen[str]"
    turn: threading.Lock

    def be(self, fault: Fault | None = None) -> list[Called]:
        """From now on with this fault, or good: then nothing hangs any more. Return what was called since the last."""
        assert self.server.stdin and self.server.stdout
        with self.turn:
            self.server.stdin.write(json.dumps(fault) + "\n")
            self.server.stdin.flush()
            return [Called(*called) for called in json.loads(self.server.stdout.readline())]


@contextmanager
def failing_disk(folder: str) -> Iterator[Disk]:
    """A good disk in `folder`, over a tmpfs of its own."""
    back, mount = os.path.join(folder, "back"), os.path.join(folder, "disk")
    for path in (back, mount):
        os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "tmpfs", back], check=True)
    command = [sys.executable, "-m", "tests.faults.failing_disk", back, mount]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with open(os.path.join(folder, "server"), "w") as said:
        server = subprocess.Popen(command, cwd=CHECKOUT, stderr=said, **pipes)
    try:
        wait_for(lambda: os.path.ismount(mount))
        yield Disk(mount, back, server, threading.Lock())
        assert server.poll() is None, Path(folder, "server").read_text()[-2000:]
    finally:
        subprocess.run(["umount", "-l", mount], check=False)
        server.kill()  # who still waits for an answer gets ECONNABORTED
        server.wait()
        subprocess.run(["umount", "-l", back], check=True)


class Place(NamedTuple):
    """Where a call can be refused: `path` below the run, "" itself; it came there `times` times in a good training."""

    call: str
    path: str
    times: int


class Refusal(NamedTuple):
    """The call at the place is refused with `code` after it has passed `skip` times.

    how: "once"; "for ever" there; "everywhere" in the run, for ever, from that moment on.
    """

    place: Place
    skip: int
    code: int
    how: str

    def fault(self, run: str) -> Fault:
        """What the disk is told, given the run's name."""
        where = f"^/{run}{re.escape(self.place.path)}$".replace("XXXXXX", r"\w{6}")
        from_then = {"once": "", "for ever": where, "everywhere": f"^/{run}(/|$)"}[self.how]
        times = 2 if self.place.call in ASKED_TWICE.get(self.code, ()) else 1
        return Fault(self.place.call, where, self.skip, times, from_then, self.code)

    def __str__(self) -> str:
        word = "no answer" if self.code == NEVER else errno.errorcode.get(self.code, str(self.code))
        return f"{self.place.call} of {self.place.path or '/'} after {self.skip}: {word} {self.how}"


def below(run: str, called: Called) -> Place | None:
    """The place of a call in that run, if it is one."""
    name = f"/{run}"
    if called.path != name and not called.path.startswith(f"{name}/"):
        return None
    return Place(called.call, re.sub(SCRATCH, ".tmpXXXXXX", called.path.removeprefix(name)), 1)
