"""Run as a script: a disk that tells what happens on it, in order, and that holds an fsync until something else does.

python -m tests.guard.held_disk BACK MOUNT LOG HELD UNTIL

LOG gets a line as each begins, such as `mkdir /run/checkpoint-10` or `fsync /run/checkpoint-10/optimizer.pt`, and
`synced PATH` as an fsync ends. The first line that matches HELD is an fsync that ends only once a later line matches
UNTIL; where none does in LONGEST_SECONDS, the line `in vain PATH` says so.
"""

import os
import re
import sys
import threading

from tests.faults.flaky_disk import Binding, FlakyDisk

LONGEST_SECONDS = 60.0


class HeldDisk(FlakyDisk):
    """A passthrough, on good days."""

    def __init__(self, back: str, log: str, held: str, until: str) -> None:
        super().__init__(back, "", "")
        self.held, self.until = re.compile(held), re.compile(until)
        self.log = open(log, "w", buffering=1)  # noqa: SIM115 - as long as the disk
        self.writing, self.waiting, self.released = threading.Lock(), False, threading.Event()

    def _day(self) -> None:
        pass

    def _happens(self, line: str) -> bool:
        """Tell it; whether this is the one that is held."""
        with self.writing:
            self.log.write(f"{line}\n")
            if self.waiting:
                if self.until.fullmatch(line):
                    self.released.set()
                return False
            self.waiting = self.held.fullmatch(line) is not None
            return self.waiting

    def mkdir(self, path: str, mode: int) -> None:
        self._happens(f"mkdir {path}")
        super().mkdir(path, mode)

    def rename(self, old: str, new: str) -> None:
        self._happens(f"rename {old} {new}")
        super().rename(old, new)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fh}").removeprefix(self.back)  # libfuse gives none: see nullpath_ok
        if self._happens(f"fsync {path}") and not self.released.wait(LONGEST_SECONDS):
            self._happens(f"in vain {path}")
        self._happens(f"synced {path}")

    fsyncdir = fsync


def main(back: str, mount: str, log: str, held: str, until: str) -> None:
    disk = HeldDisk(back, log, held, until)
    Binding(disk, mount, foreground=True, allow_other=True, default_permissions=True, use_ino=True, hard_remove=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
