"""Each cell of the table in docs/layouts.md: what a verb does with what a framework really wrote."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit import layouts
from ckptkit.errors import NoIntactCheckpoint
from ckptkit.ops.pin import pin as ops_pin
from ckptkit.ops.prune import prune as ops_prune
from ckptkit.ops.read import judge, rules_for, scan
from ckptkit.ops.recover import recover as ops_recover
from ckptkit.policy.rules import Range, Rules
from ckptkit.runs import discover
from tests.conftest import CHECKOUT
from tests.layouts.made import copied
from tests.support.typed import present

TABLE = (CHECKOUT / "docs/layouts.md").read_text().split("## Layout by verb")[1].split("\n## ")[0]
LINES = [line for line in TABLE.splitlines() if line[:1] == "|"]
HEADS, _, *ROWS = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in LINES]
CELLS = [(row[0], verb, cell) for row in ROWS for verb, cell in zip(HEADS[1:], row[1:], strict=True)]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], tuple[str, list[str]]]:
    """run(case): the run in a copy of it, and its checkpoints from the oldest to the newest."""

    def make(case: str) -> tuple[str, list[str]]:
        copied(case, tmp_path / "made")
        (found,) = discover.find_runs(str(tmp_path / "made"))
        judged = sorted(judge(scan(found)), key=lambda j: (j.checkpoint.step, j.checkpoint.name))
        judged = sorted(judge(scan(found)), key=lambda j: (j.checkpoint.step, j.checkpoint.name))
        return found, [j.checkpoint.name for j in judged]

    return make


def found(run: str, names: list[str]) -> bool:
    return len(names) > 0


def verify(run: str, names: list[str]) -> bool:
    return all(j.verdict.intact for j in ckptkit.verify(run))


def latest(run: str, names: list[str]) -> bool:
    try:
        return os.path.basename(ckptkit.latest(run).path) == names[-1]
    except NoIntactCheckpoint:
        return False


def prune(run: str, names: list[str]) -> bool:
    try:
        done = ops_prune(run, Rules(keep_last=Range(1, 1)), yes=True, settle=False)
    except NoIntactCheckpoint:
        return False
    return [os.path.basename(path) for path in present(done.outcome).deleted] == names[:1] and not Path(
        run, names[0]
    ).exists()


def pin(run: str, names: list[str]) -> bool:
    ops_pin(f"{run}/{names[0]}")
    try:
        return (
            present(ops_prune(run, Rules(keep_last=Range(1, 1)), yes=True, settle=False).outcome).deleted == ()
            and Path(run, names[0]).exists()
        )
    except NoIntactCheckpoint:
        return Path(run, names[0]).exists()


def strip(run: str, names: list[str]) -> bool:
    try:
        done = ckptkit.strip(run, yes=True)
    except NoIntactCheckpoint:
        return False
    (old,) = [j for j in ckptkit.verify(run) if j.checkpoint.name == names[0]]
    assert old.verdict.intact, old.verdict.findings
    return bool(present(done.outcome).deleted) and not old.verdict.resumable


def diskreport(run: str, names: list[str]) -> bool:
    said = ckptkit.report(run)
    return {d.checkpoint.name for plan in said.plans for d in plan.decisions} == set(names)


def recover(run: str, names: list[str]) -> bool:
    return f"{run}/{names[-1]}" in ops_recover(run, rules_for(run, {}), dry_run=True, yes=True).line


def preflight(run: str, names: list[str]) -> bool:
    (check,) = [check for check in ckptkit.preflight(run) if check.code in ("resume", "unknown")][:1]
    return check.state == "go" and names[-1] in check.message


VERBS = {f.__name__: f for f in (found, verify, latest, prune, pin, strip, diskreport, recover, preflight)}


@pytest.mark.parametrize(("case", "verb", "promised"), CELLS, ids=[f"{case}-{verb}" for case, verb, _ in CELLS])
def test_cell(run: Callable[[str], tuple[str, list[str]]], case: str, verb: str, promised: str) -> None:
    assert promised in ("yes", "no")
    assert VERBS[verb](*run(case)) == (promised == "yes")


def test_the_table_has_each_verb_and_the_other_table_each_layout() -> None:
    assert HEADS[1:] == list(VERBS)
    told = set(re.findall(r"`([a-z-]+)`", (CHECKOUT / "docs/layouts.md").read_text()))
    assert {layout.name for layout in layouts.LAYOUTS} <= told


def test_the_layout_of_20_lines_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (CHECKOUT / "docs/layouts.md").read_text().split("```python\n")[1].split("```")[0]
    assert example.count("\n") <= 20
    scope: dict[str, Any] = {}
    exec(example, scope)
    monkeypatch.setattr(layouts, "LAYOUTS", (*layouts.LAYOUTS, scope["LAYOUT"]))
    monkeypatch.setattr(layouts, "named", layouts.named.__wrapped__)  # what it remembers is of the others alone
    made = copied("accelerate-step", tmp_path / "made")
    for step in (2, 4):
        snap = tmp_path / f"run/snap-{step}"
        snap.mkdir(parents=True)
        shutil.copy(made / f"checkpoint-{step}/model.safetensors", snap / "model.safetensors")
        shutil.copy(made / f"checkpoint-{step}/optimizer.bin", snap / "optim.pt")
        (snap / "done.json").write_text(json.dumps({"step": step}))
    (tmp_path / "run/snap-4/done.json").unlink()
    judged = judge(scan(str(tmp_path / "run")), quiet=0)
    states = {j.checkpoint.name: (j.verdict.state, j.verdict.resumable) for j in judged}
    assert states == {"snap-2": ("intact", True), "snap-4": ("incomplete", False)}
