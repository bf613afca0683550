"""The trainings, each in a process of its own: saving by turns, or one after the other."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.stall.training import READY, Training

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
Report = dict[str, Any]  # see training.py


class Child:
    """One training below `folder`. Its methods exit if it fails: that is not what a save costs."""

    def __init__(self, folder: str, training: Training, before: Sequence[str] = ()) -> None:
        """before: what is typed before the command."""
        self.folder = os.path.join(folder, training.kind)
        os.mkdir(self.folder)
        command = (
            *before,
            sys.executable,
            "-m",
            "benchmarks.stall.training",
            self.folder,
            json.dumps(training._asdict()),
        )
        with open(os.path.join(self.folder, "told"), "w") as told:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, stdin=-1, stdout=-1, stderr=told, text=True)

    def until_ready(self) -> None:
        """Read what it tells until it is about to save."""
        assert self.process.stdout
        if READY not in iter(self.process.stdout.readline, ""):
            self.fail()

    def go(self) -> None:
        """Let it save."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def report(self) -> Report:
        """Until its end; what came of it. Nothing of it stays."""
        self.process.communicate()
        if self.process.returncode:
            self.fail()
        with open(os.path.join(self.folder, "report.json")) as file:
            report: Report = json.load(file)
        shutil.rmtree(self.folder)
        return report

    def fail(self) -> None:
        """With its own last words."""
        with open(os.path.join(self.folder, "told")) as told:
            sys.exit(f"benchmarks.stall: the training ended with {self.process.wait()}:\n{told.read()[-4000:]}")


def alternating(folder: str, trainings: Sequence[Training]) -> list[Report]:
    """Given trainings of as many saves each, let them save by turns, each of them first in every second turn."""
    children = [Child(folder, training) for training in trainings]
    try:
        for child in children:
            child.until_ready()
        for number in range(trainings[0].saves):
            for child in children if number % 2 == 0 else children[::-1]:
                child.go()
                child.until_ready()
        return [child.report() for child in children]
    finally:
        for child in children:
            child.process.kill()


def one_by_one(folder: str, trainings: Sequence[Training], fsync_seconds: float) -> list[Report]:
    """Given trainings, let each begin once the one before has ended; each of their fsyncs takes at least so long."""
    calls = "fsync,fdatasync"
    delay = f"inject={calls}:delay_enter={round(fsync_seconds * 1e6)}"
    strace = ("strace", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", f"trace={calls}", "-e", delay)
    return [Child(folder, training, strace).report() for training in trainings]
