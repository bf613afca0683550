"""The damage corpus against the verdicts: a level sees what it claims to see, and nothing that it does not claim."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ckptkit.model.checkpoint import Level
from tests.conftest import CHECKOUT
from tests.corpus import hostile_pickles, records
from tests.corpus.damage import LEVELS, Damage
from tests.corpus.judge import codes, judged
from tests.corpus.manifests import FILE
from tests.corpus.originals import KINDS, lay_down, make
from tests.corpus.table import CORPUS, table
from tests.support.runs import somebody_else
from tests.support.typed import present

SECONDS, MEGABYTES = 1.0, 100
# What the corpus claims and the product does not keep yet: known defects. Whoever mends one takes it out.


@pytest.fixture(scope="session")
def originals(real: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints that everything happens to, made once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(str(shared / "corpus.lock")):
        if not (shared / "corpus").exists():
            make(real, shared / "corpus.making")
            (shared / "corpus.making").rename(shared / "corpus")
    return shared / "corpus"


def harmed(originals: Path, damage: Damage, run: Path) -> Path:
    """A copy with a manifest to which it has happened."""
    path = lay_down(originals, damage.kind, run)
    damage.harm(path)
    return path


def check(damage: Damage, path: Path, manifested: bool) -> None:
    """Hold each level to its claim, and to no more than its claim."""
    for level in LEVELS:
        with somebody_else(path, "another_user" in damage.name):
            verdict = judged(path, level)
        claim = damage.expected(level, manifested)
        where = (damage.name, level, "with a manifest" if manifested else "without")
        if claim is None:
            assert (verdict.state, codes(verdict)) == ("intact", []), where
        else:
            assert verdict.state == claim.state and claim.code in codes(verdict), (*where, claim, verdict.findings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_an_undamaged_one_is_intact_without_a_finding(originals: Path, tmp_path: Path, kind: str, level: Level) -> None:
    path = lay_down(originals, kind, tmp_path / "run")
    assert (judged(path, level).state, codes(judged(path, level))) == ("intact", [])
    (path / FILE).unlink()
    assert (judged(path, level).state, codes(judged(path, level))) == ("intact", [])


CASES = [
    pytest.param(name, marks=[pytest.mark.mounts] * damage.needs_root)
    for name, damage in CORPUS.items()
    if not damage.hostile
]


@pytest.mark.parametrize("name", CASES)
def test_damage_is_seen_from_the_claimed_level_on_and_not_below(originals: Path, tmp_path: Path, name: str) -> None:
    damage = CORPUS[name]
    path = harmed(originals, damage, tmp_path / "run")
    check(damage, path, manifested=(path / FILE).exists())
    (path / FILE).unlink(missing_ok=True)
    check(damage, path, manifested=False)


# --- hostile --------------------------------------------------------------------------------------------------------

HOSTILE = {name: damage for name, damage in CORPUS.items() if damage.hostile}
FAMILIES = sorted({name.split("/")[1] for name in HOSTILE})


class Measured:
    """tests.corpus.judge in a process of its own: nothing that it judges can harm, or hide in, this one."""

    def __init__(self, whole: Path) -> None:
        command = [sys.executable, "-m", "tests.corpus.judge"]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.least = self.ask(whole)["megabytes"]

    def ask(self, path: Path) -> Any:
        present(self.process.stdin).write(f"{path}\n")
        present(self.process.stdin).flush()
        return json.loads(present(self.process.stdout).readline())

    def faults(self, damage: Damage, path: Path, manifested: bool) -> Iterator[str]:
        """What is wrong with the answers on one copy, in words."""
        largest = max(f.lstat().st_blocks * 512 for f in path.iterdir() if f.is_file() and not f.is_symlink())
        answer = self.ask(path)
        beyond = answer["megabytes"] - self.least - largest / 1e6
        if len(answer["levels"]) < len(LEVELS):
            yield f"no answer at {LEVELS[len(answer['levels'])]}"
        if beyond > MEGABYTES:
            yield f"{beyond:.0f} MB beyond the file"
        for level, said in zip(LEVELS, answer["levels"], strict=False):
            claim = damage.expected(level, manifested)
            if said["seconds"] > SECONDS:
                yield f"{said['seconds']:.1f} s at {level}"
            if claim is None and (said["state"], said["codes"]) != ("intact", []):
                yield f"{said} at {level}, where nothing is claimed"
            if claim and (said["state"] != claim.state or claim.code not in said["codes"]):
                yield f"{said} at {level}, and not {claim}"


@pytest.fixture
def measured(originals: Path, tmp_path: Path) -> Iterator[Measured]:
    measuring = Measured(lay_down(originals, "lora", tmp_path / "whole"))
    yield measuring
    present(measuring.process.stdin).close()
    measuring.process.wait()


@pytest.mark.parametrize("family", FAMILIES)
def test_hostile_ones_cost_little_run_nothing_and_are_seen_as_claimed(
    originals: Path, measured: Measured, tmp_path: Path, family: Any
) -> None:
    """Less than a second of the processor, and less than 100 MB beyond the file."""
    found = {}
    for name, damage in HOSTILE.items():
        if name.split("/")[1] != family or (damage.needs_root and os.geteuid() != 0):
            continue
        path = harmed(originals, damage, tmp_path / "run")
        found[name] = [] if damage.manifested is None else list(measured.faults(damage, path, manifested=True))
        (path / FILE).unlink()
        found[name] += measured.faults(damage, path, manifested=False)
        assert not hostile_pickles.canary(path).exists(), name
        subprocess.run(["rm", "-rf", tmp_path / "run"], check=True)
    wrong = {name: faults for name, faults in found.items() if faults}
    assert wrong == {}, wrong


def test_the_hostile_pickles_would_really_run(tmp_path: Path) -> None:
    """Else the canary would prove nothing. In a process of its own, by Python's own unpickler."""
    code = "import pickle, sys\ntry: pickle.loads(sys.stdin.buffer.read())\nexcept Exception: pass"
    for way, made in hostile_pickles.WAYS.items():
        path = tmp_path / way / "checkpoint-100"
        path.parent.mkdir()
        subprocess.run([sys.executable, "-c", code], input=hostile_pickles.payload(made, path), check=True)
        assert hostile_pickles.canary(path).exists(), way


# --- that the corpus is what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", records.STORAGES)
def test_each_record_of_each_archive_has_its_damage(real: str, archive: str) -> None:
    there = records.names(Path(real, "lora/checkpoint-100", archive))
    assert list(records.records(archive)) == there
    assert {f"bit/{archive}/{name.replace('/', '_')}" for name in there} <= CORPUS.keys()


def test_no_two_entries_have_one_name() -> None:
    from tests.corpus.table import FAMILIES as MODULES

    assert len(CORPUS) == sum(1 for module in MODULES for _ in module.damages())


def test_the_table_in_the_document_is_the_corpus() -> None:
    text = (CHECKOUT / "docs/integrity.md").read_text()
    begin, end = "<!-- python -m tests.corpus --table -->\n", "<!-- end of the table -->"
    assert text.partition(begin)[2].partition(end)[0] == table()
