"""Trainings of one recipe, run by the Python of its own environment, some of them killed while they save."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.typed import present

HERE = Path(__file__).resolve().parent
OPENING = "open,openat,creat"
NAMING = "rename,renameat,renameat2,link,linkat,symlink,symlinkat"
WRITING = "write,pwrite64,writev,close"


class Kill(NamedTuple):
    """Where a training gets its SIGKILL: at the call that opens a file of a save, or at the first that writes to it.

    file    relative to the run
    phase   opening  the file is not there; the other ranks are killed at once
            again    the same, the second time that the file is opened in this save
            writing  the file is there and empty; the other ranks are killed at once
            late     the file is there and empty; the other ranks went on for a second, as far as they could
            absent   as late, without the empty file: one system call earlier
            naming   at the rename or the symlink that gives the file its name
    source  of a rename, relative to the run; "" where its name is random, "(outside)..." where it is not in the run
    """

    file: str
    phase: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.phase} {self.file}"

    def strace(self, case: str, folder: Path, renames: int = 0) -> list[str]:
        """What follows `strace` to make it so: the writer may name the file either way.

        renames: how many of them the process did until it named this file, where nothing else tells which one it is.
        """
        if renames:
            return ["-e", "trace=rename", "-e", f"inject=rename:signal=KILL:when={renames}"]
        calls = {"writing": WRITING, "naming": NAMING}.get(self.phase, OPENING)
        signal_name = "STOP" if self.phase in ("late", "absent") else "KILL"
        when = 2 if self.phase == "again" else 1
        name = self.source or self.file  # strace 6.1 looks at a rename's first name only, at both names of a renameat
        paths = ["-P", f"{case}/{name}", "-P", str(folder / case / name)]
        return [*paths, "-e", f"trace={calls}", "-e", f"inject={calls}:signal={signal_name}:when={when}"]


class Trained(NamedTuple):
    """How a training ended. losses: by step, from the first one after `resumed_step`; None if it did not end well."""

    code: int
    resumed_step: int
    losses: tuple[float, ...] | None


class Recipe:
    """The process that trains what it is told to."""

    def __init__(self, python: str, name: str, logs: Path) -> None:
        path = HERE.parent / "recipes" / f"{name}.py"
        self._log = logs / "training.log"
        with open(logs / "server.log", "w") as errors:
            self._process = subprocess.Popen(
                [python, str(HERE / "serve.py"), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._answer() == "ready", (logs / "server.log").read_text()

    def close(self) -> None:
        """End it."""
        present(self._process.stdin).close()
        self._process.wait(60)

    def train(self, case: str, folder: Path, resume: str | None = None, kill: Kill | None = None) -> Trained:
        """Train `case` in `folder`; `resume` is relative to `folder`, or "auto"."""
        self._log.unlink(missing_ok=True)
        job = {"case": case, "folder": str(folder), "resume": resume, "log": str(self._log)}
        if kill is None:
            return self._result(self._ask(job | {"timeout": 300.0}))
        renames = self._renames(case, folder, kill.file) if kill.source.startswith("(outside)") else 0
        with self._watched(kill.strace(case, folder, renames)):
            trained = self._result(self._ask(job | {"timeout": 120.0}))
        if kill.phase == "absent":
            (folder / case / kill.file).unlink()
        return trained

    def said(self) -> str:
        """What the last training printed."""
        return self._log.read_text() if self._log.exists() else ""

    def _renames(self, case: str, folder: Path, file: str) -> int:
        """How many renames a process does until `file` gets its name for the last time, if it is let be."""
        trace = folder.parent / "renames"
        with self._watched(["-e", "trace=rename"], trace):
            self.train(case, folder.parent / "whole")
        lines = trace.read_text().splitlines()
        last = max(number for number, line in enumerate(lines) if f'{file}")' in line)
        process = lines[last].split()[0]
        return sum(line.startswith(f"{process} rename(") for line in lines[: last + 1])

    def _ask(self, job: dict[str, Any]) -> int:
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return int(self._answer())

    def _answer(self) -> str:
        return present(self._process.stdout).readline().strip()

    def _result(self, code: int) -> Trained:
        if code:
            return Trained(code, 0, None)
        told = json.loads(self.said().strip().splitlines()[-1])
        return Trained(0, told["resumed_step"], tuple(told["losses"]))

    @contextmanager
    def _watched(self, what: list[str], trace: str | Path = os.devnull) -> Iterator[None]:
        """With strace at the process and all that it forks."""
        command = ["strace", "-f", "-o", str(trace), "-p", str(self._process.pid), *what]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            first = present(strace.stderr).readline()
            assert "attached" in first, first
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=60)


def copy(folder: Path, to: Path) -> Path:
    """A directory to resume in: that writes, and what a kill left is tried more than once."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to, symlinks=True)
    return to
