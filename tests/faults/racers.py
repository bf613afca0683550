"""Everybody at once on one run: sweeps, readers, an uploader, a person. Each in a thread that calls real programs."""

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from ckptkit.errors import CkptkitError
from ckptkit.ops.latest import latest

LONGEST = 120.0  # seconds: for any one call, on a machine that does many other things


class Race:
    """Starts loops until `finish`; `faults` is what went wrong, `counts` what was done."""

    def __init__(
        self, run: str, command: Sequence[str] = (sys.executable, "-m", "ckptkit"), **environment: str
    ) -> None:
        self.run, self.command = run, list(command)
        self.environment = os.environ | environment
        self.faults: list[str] = []
        self.counts: dict[str, int] = {}
        self._over = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, name: str, act: Callable[[], Any], pause: float = 0.0) -> None:
        """Do it again and again until the race is over."""
        thread = threading.Thread(target=self._loop, args=(name, act, pause), name=name)
        self.threads.append(thread)
        thread.start()

    def _loop(self, name: str, act: Callable[[], Any], pause: float) -> None:
        while not self._over.wait(pause):
            try:
                self.counts[name] = self.counts.get(name, 0) + (act() is not False)
            except Exception as error:  # noqa: BLE001 - a racer that breaks is a fault, not a silence
                self.faults.append(f"{name}: {error!r}")
                return

    def finish(self) -> None:
        """All end when they are asked to."""
        self._over.set()
        for thread in self.threads:
            thread.join(LONGEST)
            if thread.is_alive():
                self.faults.append(f"{thread.name} did not end")

    def call(self, *words: str, may_exit: Sequence[int]) -> int:
        """A verb as cron calls it: one of these exit codes, no traceback, and an end."""
        command = [*self.command, *words] if words[0] != "du" else list(words)
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
        if done.returncode not in may_exit or "Traceback" in done.stderr or "unexpected" in done.stderr:
            self.faults.append(f"{' '.join(words)}: exit {done.returncode}: {done.stderr[-3000:]}")
        return done.returncode

    # --- who races ------------------------------------------------------------------------------------------------

    def prune(self, *flags: str) -> None:
        """3: something was taken away or held; 4: nothing intact there; 10: no checkpoint yet; 11: another sweep."""
        self.call("prune", self.run, "-y", "--keep-last", "2", *flags, may_exit=(0, 3, 4, 10, 11))

    def verify(self, level: str) -> None:
        self.call("verify", self.run, "--level", level, may_exit=(0, 4, 10))

    def du(self) -> None:
        self.call("du", "-s", self.run, may_exit=(0, 1))

    def upload(self, rng: random.Random) -> bool:
        """Hold all files of one checkpoint open for a while, as an uploader does; whether there was one."""
        with ExitStack() as held:
            path = os.path.join(self.run, rng.choice(checkpoints(self.run) or ["none"]))
            with suppress(OSError):
                for entry in os.scandir(path):
                    held.enter_context(open(entry.path, "rb")).read(1)
            time.sleep(rng.uniform(0.05, 0.5))
            return os.path.basename(path) != "none"

    def tidy(self, rng: random.Random, elsewhere: str, any_of_them: bool) -> bool:
        """A person moves or removes a checkpoint, an older one than the newest intact or any; whether one was there."""
        newest = self.newest()
        old = [c for c in checkpoints(self.run) if any_of_them or step(c) < step(newest)]
        if not old:
            return False
        path = os.path.join(self.run, rng.choice(old))
        target = os.path.join(elsewhere, f"{os.path.basename(path)}-{time.monotonic_ns()}")
        command = ("rm", "-rf", path) if rng.random() < 0.5 else ("mv", path, target)
        done = subprocess.run(command, capture_output=True, check=False)  # one that a sweep took first is no fault
        shutil.rmtree(target, ignore_errors=True)
        return done.returncode == 0

    def newest(self) -> str:
        """The newest intact one's name, "" if there is none just now."""
        for _ in range(20):  # a reader without a lock: between its two looks all that it saw may have been replaced
            with suppress(CkptkitError, OSError):
                return os.path.basename(latest(self.run).path)
            time.sleep(0.05)
        return ""


def checkpoints(run: str) -> list[str]:
    with suppress(OSError):
        return [name for name in os.listdir(run) if name.startswith("checkpoint-")]
    return []


def step(name: str) -> int:
    return int(name.partition("-")[2] or 0)
