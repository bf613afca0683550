"""Run as a script: a disk that is good until it is told which call to refuse, as a FUSE file system over a directory.

python -m tests.faults.failing_disk BACK MOUNT

Each line on stdin is a fault as JSON, or null for a good disk; the answer, one line on stdout, is the list of all calls
since the line before, as [call, path, whether it was refused]. Calls go by the names that a program knows (ARRIVES):
open is opendir too, and open of a new file; write is pwrite too; fsync is that of a directory too; an open with O_TRUNC
comes as ftruncate and then as open; stat is also the look for each name on a path, which the kernel remembers
afterwards. close is refused as the kernel does it: the errno is told, and the file is closed all the same.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import mfusepy

from tests.faults.flaky_disk import Binding, FlakyDisk

# A program's call, and under which names it comes here.
ARRIVES: dict[str, tuple[str, ...]] = {
    "mkdir": ("mkdir",),
    "open": ("open", "create", "opendir"),
    "write": ("write",),
    "ftruncate": ("truncate",),
    "fsync": ("fsync", "fsyncdir"),
    "close": ("flush",),
    "rename": ("rename",),
    "unlink": ("unlink",),
    "rmdir": ("rmdir",),
    "statvfs": ("statfs",),
    "getdents": ("readdir",),
    "stat": ("getattr",),
}
CALLS = {name: call for call, names in ARRIVES.items() for name in names}
NEVER = 0  # in the place of an errno: no answer, until the next line


class Fault(NamedTuple):
    """Of this call on paths that match `where`, pass `skip` and refuse the next `times` with `code` (or NEVER).

    from_then: once one was refused, refuse the call on each path that matches this as well, for ever; "" is none.
    """

    call: str
    where: str
    skip: int
    times: int
    from_then: str
    code: int


class FailingDisk(FlakyDisk):
    """The flaky disk's passthrough on a good day, which is asked before each call."""

    def __init__(self, back: str) -> None:
        super().__init__(back, "", "")
        self.fault: Fault | None = None
        self.matched = 0
        self.seen: list[tuple[str, str, bool]] = []
        self.released = threading.Event()

    def _day(self) -> None:
        """A good one."""

    def follow(self, fault: Fault | None) -> list[tuple[str, str, bool]]:
        """From now on this fault, and nothing hangs of the last one; return what was called until now."""
        with self.turn:
            seen, self.seen, self.fault, self.matched = self.seen, [], fault, 0
            self.released.set()
            self.released = threading.Event()
            return seen

    def asked(self, call: str, path: str) -> None:
        """Before a call: raise what it is refused with, or hang, or let it pass."""
        with self.turn:
            fault, released = self.fault, self.released
            refused = fault is not None and call == fault.call and self._is_due(fault, path)
            self.seen.append((call, path, refused))
        if refused and fault is not None and fault.code == NEVER:
            released.wait()
        elif refused and fault is not None:
            raise mfusepy.FuseOSError(fault.code)

    def _is_due(self, fault: Fault, path: str) -> bool:
        if fault.from_then and self.matched > fault.skip and re.search(fault.from_then, path):
            return True
        if not re.search(fault.where, path):
            return False
        self.matched += 1
        return fault.skip < self.matched <= fault.skip + fault.times

    def path_of(self, fd: int) -> str:
        """Of what is open, as it is called now."""
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(self.back)

    def unlink(self, path: str) -> None:
        """At once, as a disk of this machine does."""
        os.unlink(self._real(path))

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        """What lies below keeps it anyhow."""


def _asking(name: str) -> Callable[..., Any]:
    original = getattr(FailingDisk, name)

    @wraps(original)  # mfusepy looks at create's signature
    def asking(self: FailingDisk, path: str | None, *rest: Any) -> Any:
        self.asked(CALLS[name], path or self.path_of(rest[-1]))
        return original(self, path, *rest)

    return asking


for _name in CALLS:
    setattr(FailingDisk, _name, _asking(_name))


def obey(disk: FailingDisk) -> None:
    """Follow each line of stdin; when there is no more, whoever told is gone, and so is the disk."""
    for line in sys.stdin:
        fault = json.loads(line)
        print(json.dumps(disk.follow(fault and Fault(*fault))), flush=True)
    os._exit(0)


def main(back: str, mount: str) -> None:
    disk = FailingDisk(back)
    threading.Thread(target=obey, args=(disk,), daemon=True).start()
    # Nobody else changes what is in `back`, so the kernel may remember names: a training then costs half the time.
    remembered = {"attr_timeout": 3600, "entry_timeout": 3600, "use_ino": True, "hard_remove": True}
    Binding(disk, mount, foreground=True, allow_other=True, default_permissions=True, max_threads=64, **remembered)


if __name__ == "__main__":
    main(*sys.argv[1:])
