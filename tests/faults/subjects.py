"""What is sabotaged: a command each, the run that it works on, and what it may and may not touch there.

A new verb is a row of SUBJECTS.
"""

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.acts import ACTS
from tests.support.runs import make_run

ACTS_FILE = os.path.join(os.path.dirname(__file__), "acts.py")
FIVE = {100: "intact", 200: "torn", 300: "intact", 400: "intact", 500: "intact"}


class Subject(NamedTuple):
    """A command on a run, and the promise.

    words: what is typed after `python -m ckptkit`, given the run. stays: those of which no byte may change, whatever
    happens. goes: those that are gone once it is through. pinned: before it, and after it. leftover: what a
    killed sweep did not finish lies there too. record: it is about the history, so that must hold what it should.
    tells: it never fails, since training goes on: it says what it could not do.
    """

    words: Callable[[str], tuple[str, ...]]
    states: dict[int, str] = FIVE
    stays: tuple[int, ...] = (100, 400, 500)
    goes: tuple[int, ...] = ()
    pinned: tuple[frozenset[int], frozenset[int]] = (frozenset({100}), frozenset({100}))
    leftover: bool = False
    record: bool = False
    tells: bool = False

    def command(self, run: str) -> tuple[str, ...]:
        """What is run."""
        words = self.words(run)
        return (sys.executable, ACTS_FILE, *words) if words[0] in ACTS else (sys.executable, "-m", "ckptkit", *words)


def free_target(run: str) -> str:
    """So many bytes that two of the checkpoints must go for them; as an argument, it must not change with the run."""
    status = os.statvfs(run)
    sizes = [e.stat().st_blocks * 512 for e in os.scandir(os.path.join(run, "checkpoint-500"))]
    return f"{status.f_bavail * status.f_frsize + int(1.5 * sum(sizes))}B"


NONE: frozenset[int] = frozenset()
SUBJECTS = {
    "prune": Subject(lambda run: ("prune", run, "-y", "--json"), goes=(200, 300), leftover=True),
    "prune --free-target": Subject(
        lambda run: ("prune", run, "-y", "--json", "--keep-last", "2..4", "--free-target", free_target(run)),
        dict.fromkeys((100, 200, 300, 400, 500), "intact"),
        (100, 400, 500), (200, 300),
    ),
    "strip": Subject(lambda run: ("strip", run, "-y", "--json"), stays=(100, 500)),
    "recover": Subject(lambda run: ("recover", run, "-y", "--json"), goes=(200, 300), leftover=True),
    "pin": Subject(
        lambda run: ("pin", f"{run}/checkpoint-400"), stays=(100, 300, 400, 500),
        pinned=(frozenset({100}), frozenset({100, 400})),
    ),
    "unpin": Subject(
        lambda run: ("unpin", f"{run}/checkpoint-100"), stays=(100, 300, 400, 500), pinned=(frozenset({100}), NONE)
    ),
    "discard": Subject(lambda run: ("discard", f"{run}/checkpoint-300", "-y", "--json"), goes=(300,)),
    "verify --write": Subject(
        lambda run: ("verify", run, "--write", "--json"), {100: "intact", 200: "intact"}, (100, 200)
    ),
    "the guard's worker": Subject(lambda run: ("guard", run), goes=(200, 300), leftover=True, tells=True),
    "the history's writing": Subject(
        lambda run: ("history", run), {100: "intact"}, (100,), pinned=(NONE, NONE), record=True
    ),
}  # fmt: skip


def build(subject: Subject, real: str, run: str) -> None:
    """Make the run: its checkpoints, a pin, a file of somebody else's, and what a killed sweep left behind."""
    make_run(real, run, subject.states)
    with open(os.path.join(run, "notes.txt"), "w") as file:
        file.write("whose?\n")
    if subject.pinned[0]:
        with open(os.path.join(run, ".ckptkit-pins"), "w") as file:
            file.writelines(f"checkpoint-{step}\n" for step in sorted(subject.pinned[0]))
    if subject.leftover:
        make_run(real, run, {50: "torn"})
        os.rename(os.path.join(run, "checkpoint-50"), os.path.join(run, ".ckptkit-deleting-checkpoint-50"))
