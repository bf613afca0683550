"""Whole checkpoints of every framework: found, intact at each level, and resumable where their framework resumes."""

import json
import shutil
from pathlib import Path

import pytest

import ckptkit
from ckptkit import layouts
from ckptkit.model.checkpoint import Level
from ckptkit.ops.read import verify
from ckptkit.runs import discover
from tests.layouts.made import CASES, MADE, copied
from tests.support.typed import Ckptkit, present

UNJUDGED = {"megatron": "iter_0000002", "orbax": "2", "verl": "global_step_2", "loose-torch": "model_1000.pt"}


@pytest.mark.parametrize("case", CASES)
def test_each_is_found_with_its_layout_and_step(case: str, tmp_path: Path) -> None:
    run = copied(case, tmp_path / "made")
    assert discover.find_runs(str(tmp_path / "made")) == [str(run.resolve())]
    found = {c.name: c.layout for c in discover.scan(str(run)).checkpoints}
    assert found == dict.fromkeys(CASES[case].checkpoints, CASES[case].layout)


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
@pytest.mark.parametrize("case", CASES)
def test_each_is_intact_at_every_level_and_nothing_is_said_against_it(case: str, level: Level, tmp_path: Path) -> None:
    judged = verify(str(copied(case, tmp_path / "made")), level=level)
    assert {j.checkpoint.name: (j.verdict.state, j.verdict.resumable) for j in judged} == {
        name: ("intact", resumable) for name, resumable in CASES[case].checkpoints.items()
    }
    assert [finding for j in judged for finding in j.verdict.findings] == []


@pytest.mark.parametrize("case", CASES)
def test_one_that_is_named_itself_is_judged_as_among_its_neighbours(case: str, tmp_path: Path) -> None:
    run = copied(case, tmp_path / "made")
    for name, resumable in CASES[case].checkpoints.items():
        (judged,) = verify(str(run / name))
        assert (judged.checkpoint.layout, judged.verdict.resumable) == (CASES[case].layout, resumable)


def test_steps_come_from_the_name_and_of_lightning_from_the_content(tmp_path: Path) -> None:
    run = copied("lightning-single", tmp_path / "made")
    shutil.copy(run / "epoch=0-step=2.ckpt", run / "best.ckpt")
    steps = {j.checkpoint.name: j.checkpoint.step for j in verify(str(run))}
    assert steps == {"epoch=0-step=2.ckpt": 2, "epoch=1-step=6.ckpt": 6, "last.ckpt": 6, "best.ckpt": 2}


def test_the_best_one_by_lightnings_callback_is_never_pruned(tmp_path: Path) -> None:
    run = copied("lightning-single", tmp_path / "made")
    for path in (run / "epoch=1-step=6.ckpt", run / "last.ckpt"):  # as if the loss had grown since
        path.write_bytes(path.read_bytes().replace(b"epoch=1-step=6.ckpt", b"epoch=0-step=2.ckpt"))
    best = present(verify(str(run / "epoch=1-step=6.ckpt"))[0].verdict.trainer_state).best_checkpoint
    assert best == "epoch=0-step=2.ckpt"
    assert present(ckptkit.prune(str(run), keep_last=1, yes=True).outcome).deleted == ()


@pytest.mark.parametrize("case", UNJUDGED)
def test_what_nobody_here_can_judge_is_listed_sized_unknown_and_never_deleted(
    case: str, tmp_path: Path, ckptkit: Ckptkit
) -> None:
    run = copied(case, tmp_path / "made")
    (found,) = discover.find_runs(str(run))
    judged = verify(found)
    assert UNJUDGED[case] in [j.checkpoint.name for j in judged]
    assert {j.verdict.state for j in judged} == {"unknown"}
    codes = {j.verdict.findings[0].code for j in judged if j.checkpoint.name != "epoch-3.ckpt"}
    assert codes == {"unjudged-layout"}  # that one might be Lightning's by its name, and is not by its content
    assert all(j.checkpoint.allocated_bytes > 0 for j in judged)
    before = sorted(path for path in Path(run).rglob("*"))
    assert ckptkit("prune", run, "-y", "--keep-last", "1").code == 4
    assert sorted(path for path in Path(run).rglob("*")) == before
    listed = json.loads(ckptkit("diskreport", run, "--json", "--no-eaters").out)
    assert UNJUDGED[case] in json.dumps(listed)


def test_every_layout_but_the_plain_trainers_has_a_real_checkpoint_here() -> None:
    seen = {case.layout for case in CASES.values()} | {"torchtitan-export", "megatron", "orbax", "verl", "torch-file"}
    assert seen | {"deepspeed-engine"} == {layout.name for layout in layouts.LAYOUTS}
    assert (MADE / "torchtitan-hf").is_dir()


# --- runs within runs, and roots that look like checkpoints ---------------------------------------------------------


def test_ms_swifts_runs_lie_one_directory_down_and_its_link_is_no_checkpoint(tmp_path: Path) -> None:
    top = copied("swift", tmp_path / "made")
    (run,) = discover.find_runs(str(top))
    found = discover.scan(run)
    assert [c.name for c in found.checkpoints] == [f"checkpoint-{c.step}" for c in found.checkpoints]
    assert {j.verdict.state for j in verify(str(top))} == {"intact"}
    assert set(found.links) == {"last-checkpoint"}


@pytest.mark.parametrize("case", ["axolotl-root", "llamafactory-root"])
def test_a_root_that_looks_like_a_checkpoint_is_none(case: str, tmp_path: Path) -> None:
    top = copied(case, tmp_path / "made")
    runs = discover.find_runs(str(tmp_path / "made"))
    assert runs and not any(discover.is_checkpoint_name(run) for run in runs)
    for run in runs:
        assert {c.name for c in discover.scan(run).checkpoints} <= {p.name for p in Path(run).glob("checkpoint-*")}
    assert top.exists()
