"""A run on a volume of its own, made afresh for each trial, and the judge who knows nothing of the product's verdicts.

The judge goes by SHA-256: a checkpoint is whole if each of its files is there with the bytes that it had. The product
is then asked, and must say the same.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.history import records
from ckptkit.model.events import Sample
from ckptkit.ops.latest import latest as ops_latest
from ckptkit.ops.read import verify
from ckptkit.runs import pins
from tests.faults.subjects import Subject, build
from tests.faults.tracing import Command, Ended

CHECKOUT = Path(__file__).resolve().parent.parent.parent
OURS = ".ckptkit-"
Tree = dict[str, str]


class End(NamedTuple):
    """An undisturbed run: its exit codes, of the first call and of a second one, and what it leaves."""

    codes: frozenset[int]
    code: int
    tree: Tree


class Stage:
    """volume: an empty file system, for the run and what must not be touched beside it; all else lies in `scratch`."""

    def __init__(self, subject: Subject, real: str, volume: str, scratch: Path, product: str = str(CHECKOUT)) -> None:
        self.subject, self.volume = subject, volume
        self.run, self.outside, self.state = f"{volume}/run", f"{volume}/outside", str(scratch / "state")
        self.template = str(scratch / "template")
        places = {"HOME": str(scratch), "TMPDIR": str(scratch), "CKPTKIT_STATE": self.state}
        python = {"PYTHONPATH": f"{product}:{CHECKOUT}", "PYTHONPYCACHEPREFIX": str(Path(real).parent / "cache")}
        self.environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", **places, **python}
        self._build(real)
        self.reset()
        words = subject.command(self.run)
        self.command = Command(words, self.environment, str(scratch / "strace.log"), (self.run, self.state))
        self.end = self._undisturbed()

    def _build(self, real: str) -> None:
        run = os.path.join(self.template, "run")
        build(self.subject, real, run)
        os.makedirs(os.path.join(self.template, "outside", "checkpoint-900"))
        for name in ("theirs.txt", "checkpoint-900/model.safetensors"):
            Path(self.template, "outside", name).write_text("not ours\n")
        self.original = {name: digests(os.path.join(run, name)) for name in os.listdir(run) if "checkpoint" in name}

    def _undisturbed(self) -> End:
        """Run it twice, so that the second call's code is known too. Python's cache of the modules is warm then."""
        if self.subject.record:  # a history that has something to lose
            self.plainly()
            shutil.copytree(self.state, os.path.join(self.template, "state"))
            self.reset()
        first = self.plainly()
        end = normalised(self.run)
        second = self.plainly()
        assert normalised(self.run) == end, "a second call of an undisturbed one changed something"
        assert self.faults() == [], (self.faults(), first)
        gone = [step for step in self.subject.goes if f"checkpoint-{step}" in end]
        assert not gone and first.code == 0 and pins.read(self.run) == self._names(1), (gone, first)
        self.reset()
        return End(frozenset({first.code, second.code}), first.code, end)

    def plainly(self) -> Ended:
        """Run the command with nothing in its way."""
        words = self.command.words
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return Ended(done.returncode, done.stdout, done.stderr, "")

    def reset(self) -> None:
        """Make everything as it was before the command."""
        for place in (self.run, self.outside, self.state):
            shutil.rmtree(place, ignore_errors=True)
            if os.path.isdir(template := os.path.join(self.template, os.path.basename(place))):
                shutil.copytree(template, place)
        self._outside = snapshot(self.outside)
        self.free = free_bytes(self.volume)

    def afresh(self) -> Iterator[None]:
        """As `Command.lanes` asks for it."""
        while True:
            self.reset()
            yield

    def faults(self) -> list[str]:
        """Each promise about what lies on the disk that does not hold right now."""
        return [*self._bytes(), *self._pins(), *self._verdicts(), *self._history()]

    def whole(self) -> list[str]:
        """The checkpoints that have every byte they had, in the order of their steps; torn ones never were whole."""
        names = [f"checkpoint-{step}" for step, state in sorted(self.subject.states.items()) if state == "intact"]
        return [name for name in names if digests(os.path.join(self.run, name)) == self.original[name]]

    def _bytes(self) -> Iterator[str]:
        lost = {f"checkpoint-{step}" for step in self.subject.stays} - set(self.whole())
        if lost:
            yield f"not byte for byte what it was: {sorted(lost)}"
        if snapshot(self.outside) != self._outside:
            yield "something outside of the run was touched"
        if not os.path.isfile(os.path.join(self.run, "notes.txt")):
            yield "a file of somebody else's in the run is gone"

    def _names(self, when: int) -> frozenset[str]:
        return frozenset(f"checkpoint-{step}" for step in self.subject.pinned[when])

    def _pins(self) -> Iterator[str]:
        if pins.read(self.run) not in (self._names(0), self._names(1)):
            yield f"pinned are now {sorted(pins.read(self.run))}"

    def _verdicts(self) -> Iterator[str]:
        whole = self.whole()
        judged = {j.checkpoint.name: j.verdict for j in verify(self.run, level="full")}
        intact = [name for name, verdict in judged.items() if verdict.resumable]
        if intact != whole:
            yield f"verify says intact: {intact}, whole are {whole}"
        try:
            latest = os.path.basename(ops_latest(self.run, level="full").path)
        except NoIntactCheckpoint as error:
            latest = str(error)
        if latest != whole[-1:][0]:
            yield f"latest says {latest}, whole are {whole}"

    def _history(self) -> Iterator[str]:
        """What was recorded before is still there, and it can be read. Only where the history is what it is about."""
        if self.subject.record:
            os.environ["CKPTKIT_STATE"] = self.state  # the fixture `_own_state` puts it back
            rows, fault = records.recall(Sample)
            if fault or not rows:
                yield f"the history has {len(rows)} rows: {fault}"

    def rows(self) -> int:
        """How many samples the history holds."""
        os.environ["CKPTKIT_STATE"] = self.state
        return len(records.recall(Sample)[0])

    def done(self) -> bool:
        """Whether the run is as an undisturbed command leaves it, and the history has its row."""
        return normalised(self.run) == self.end.tree and (not self.subject.record or self.rows() > 1)


def told_freed(ended: Ended) -> int | None:
    """The freed bytes of a command that tells them in its JSON document, or None."""
    try:
        document = json.loads(ended.out)
    except ValueError:
        return None
    pruned: dict[str, Any] = document.get("pruned") or next(iter(document.get("runs", ())), {})
    freed: int | None = pruned.get("freed_bytes")
    return freed


def free_bytes(volume: str) -> int:
    """As the volume says."""
    status = os.statvfs(volume)
    return status.f_bfree * status.f_frsize


def digests(path: str) -> Tree:
    """{file: SHA-256} of a checkpoint, without what we write into one."""
    return {name: content for name, content in tree(path).items() if not os.path.basename(name).startswith(OURS)}


def normalised(run: str) -> Tree:
    """A run's whole tree; of a manifest, all but when it was written."""
    return tree(run)


def tree(top: str) -> Tree:
    """{path: SHA-256 of its content, or what kind of thing it is} of all below."""
    found = {}
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = os.path.join(parent, name)
            found[os.path.relpath(path, top)] = _content(path)
    return found


def _content(path: str) -> str:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        return oct(status.st_mode)
    content = Path(path).read_bytes()
    if path.endswith("manifest.json"):
        content = re.sub(rb'"written_at": [0-9.e+]+', b"", content)
    return hashlib.sha256(content).hexdigest()


def snapshot(top: str) -> dict[str, tuple[int, ...]]:
    """All that a touch would change: kind, mode, inode, links, size, times."""
    found: dict[str, tuple[int, ...]] = {}
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files, "."):
            s = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (
                s.st_mode,
                s.st_ino,
                s.st_nlink,
                s.st_size,
                s.st_mtime_ns,
                s.st_ctime_ns,
            )
    return found
