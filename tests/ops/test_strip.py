"""bin/strip: old checkpoints become weights-only, the newest resumable one stays so."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ckptkit.ops.pin import pin
from ckptkit.ops.read import verify
from ckptkit.system import lock
from ckptkit.verify import manifest
from tests.support.runs import names, restep, set_age, tree
from tests.support.stripped import CONTINUES, files, resumable, with_manifests
from tests.support.typed import Ckptkit, RunOf

THREE = {100: "intact", 200: "intact", 300: "intact"}


# --- what goes and what stays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lora", "full", "sharded"])
def test_what_continues_training_goes_and_all_else_stays_to_the_bit(run_of: RunOf, ckptkit: Ckptkit, kind: str) -> None:
    run = with_manifests(run_of(THREE, kind))
    before = {path: Path(path).read_bytes() for path in tree(run) if os.path.isfile(path)}
    called = ckptkit("strip", run, "--keep-resumable", "1")
    assert called.code == 0, called.out + called.err
    after = {path: Path(path).read_bytes() for path in tree(run) if os.path.isfile(path)}
    gone = {(os.path.basename(os.path.dirname(p)), os.path.basename(p)) for p in before.keys() - after.keys()}
    assert gone == {(f"checkpoint-{step}", name) for step in (100, 200) for name in CONTINUES}
    changed = {os.path.basename(path) for path in after if after[path] != before[path]}
    assert changed == {manifest.FILE} and after.keys() <= before.keys()


def test_it_is_intact_and_weights_only_and_latest_says_why_it_is_passed_over(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = with_manifests(run_of(THREE))
    ckptkit("strip", run, "-y")
    assert resumable(run) == {100: False, 200: False, 300: True}
    verified = ckptkit("verify", run, "--level", "full")
    assert verified.code == 0 and verified.out.count("(weights only)") == 2 and "missing" not in verified.out
    shutil.rmtree(f"{run}/checkpoint-300")
    assert ckptkit("latest", run).code == 4
    assert "checkpoint-200: weights only, not resumable" in ckptkit("latest", run).err
    assert ckptkit("latest", run, "--weights-only-ok").out == f"{run}/checkpoint-200\n"


def test_states_of_every_rank_and_of_the_scaler_go_and_the_settings_stay(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    path = Path(run, "checkpoint-100")
    for name in ("rng_state_0.pth", "rng_state_1.pth"):
        shutil.copy(path / "rng_state.pth", path / name)
    (path / "rng_state.pth").unlink()
    shutil.copy(path / "scheduler.pt", path / "scaler.pt")
    set_age(path, path.stat().st_mtime, 0)
    assert ckptkit("strip", path).code == 0
    left = files(run, 100)
    assert not {name for name in left if name.startswith(("rng_", "sc", "optimizer", ".ckptkit"))}
    assert {"training_args.bin", "trainer_state.json", "adapter_config.json", "adapter_model.safetensors"} <= left


def test_the_best_checkpoint_keeps_its_weights(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    state = Path(run, "checkpoint-300", "trainer_state.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"best_model_checkpoint": f"{run}/checkpoint-100"}))
    weights = Path(run, "checkpoint-100", "adapter_model.safetensors").read_bytes()
    assert ckptkit("strip", run, "-y").code == 0
    assert Path(run, "checkpoint-100", "adapter_model.safetensors").read_bytes() == weights
    assert ckptkit("prune", run, "--keep-last", "1").code == 0
    assert names(run) == ["checkpoint-100", "checkpoint-300"]


def test_the_manifest_still_speaks_for_the_weights(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = with_manifests(run_of(THREE))
    ckptkit("strip", f"{run}/checkpoint-100")
    known = json.loads(Path(run, "checkpoint-100", manifest.FILE).read_text())
    assert known["files"].keys() == files(run, 100) - {manifest.FILE}
    path = Path(run, "checkpoint-100", "README.md")
    path.write_text(path.read_text() + "more")
    assert "bad-optional: README.md" in ckptkit("verify", f"{run}/checkpoint-100").out
    config = Path(run, "checkpoint-100", "adapter_config.json")
    config.write_text(config.read_text() + " ")
    assert "changed-since-manifest" in ckptkit("verify", f"{run}/checkpoint-100").out


def test_an_optimizer_that_went_by_other_hands_is_still_missed(run_of: RunOf) -> None:
    run = with_manifests(run_of(THREE))
    for name in CONTINUES:
        os.unlink(f"{run}/checkpoint-100/{name}")
    found = verify(f"{run}/checkpoint-100")[0].verdict
    assert found.intact and not found.resumable
    assert {f.file for f in found.findings if f.code == "removed-after-save"} == set(CONTINUES)


def test_no_time_that_a_rotation_sorts_by_changes(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = with_manifests(run_of(THREE))
    before = {step: os.stat(f"{run}/checkpoint-{step}").st_mtime_ns for step in THREE}
    ckptkit("strip", run, "-y")
    assert {step: os.stat(f"{run}/checkpoint-{step}").st_mtime_ns for step in THREE} == before


def test_a_stripped_one_fills_a_slot_and_the_resumable_one_is_no_outlier(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({**THREE, 400: "intact"}, "full")
    ckptkit("strip", run, "-y")
    document = ckptkit("diskreport", run, "--json", "--no-eaters").json
    assert "outlier" not in {flag["code"] for flag in document["flags"]}
    assert ckptkit("prune", run, "--keep-last", "3").code == 0
    assert names(run) == ["checkpoint-200", "checkpoint-300", "checkpoint-400"]


def test_a_second_call_finds_nothing_to_do(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    ckptkit("strip", run, "-y")
    before = tree(run)
    again = ckptkit("strip", run)
    assert again.code == 0 and "nothing to strip" in again.out and tree(run) == before
    assert ckptkit("strip", f"{run}/checkpoint-100").code == 0


# --- which, and the guards in front of it ---------------------------------------------------------------------------


def test_the_newest_n_stay_resumable_from_a_flag_or_the_runs_own_file(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({**THREE, 400: "intact", 500: "intact"})
    Path(run, "ckptkit.toml").write_text("keep_resumable = 3\nkeep_last = 4\n")
    assert ckptkit("strip", run).code == 0
    assert [step for step, can in resumable(run).items() if can] == [300, 400, 500]
    assert ckptkit("strip", run, "--keep-resumable", "2").code == 0
    assert [step for step, can in resumable(run).items() if can] == [400, 500]
    assert ckptkit("prune", run, "--dry-run").code == 0, "other verbs know the setting"


def test_torn_and_corrupt_newer_ones_do_not_count_as_resumable(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "corrupt", 400: "torn", 500: "young"})
    before = {step: files(run, step) for step in (200, 300, 400, 500)}
    assert ckptkit("strip", run, "--keep-resumable", "1").code == 0
    assert resumable(run) == {100: False, 200: True}
    assert {step: files(run, step) for step in before} == before


def test_a_stale_higher_step_is_no_floor(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 9000: "intact"})
    path = Path(run, "checkpoint-9000", "trainer_state.json")
    state = json.loads(path.read_text())
    state["log_history"] = [{**line, "loss": 9.0} for line in state["log_history"]]
    path.write_text(json.dumps(state))
    set_age(path.parent, path.stat().st_mtime, 9999)
    assert ckptkit("strip", run, "-y").code == 0
    assert resumable(run) == {100: False, 200: True, 9000: False}


def test_more_than_half_goes_only_when_asked_for(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    before = tree(run)
    dry = ckptkit("strip", run, "--dry-run")
    assert (
        dry.code == 0 and "dry run, nothing was touched" in dry.err and f"bin/strip {run} --keep-resumable 1" in dry.err
    )
    called = ckptkit("strip", run)
    assert called.code == 25 and "2 of 3 resumable checkpoints would become" in called.err and tree(run) == before
    assert ckptkit("strip", run, "--keep-resumable", "2").code == 0


def test_a_dry_run_tells_the_plan_that_is_then_executed_and_touches_nothing(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = with_manifests(run_of(THREE))
    before = tree(run)
    told = ckptkit("strip", run, "-n", "-y", "--json").json["runs"][0]
    assert tree(run) == before and told["dry_run"] and told["freed_bytes"] == 0
    done = ckptkit("strip", run, "-y", "--json").json
    assert done["schema"] == "ckptkit.strip/1"
    assert [done["runs"][0][key] for key in ("decisions", "failures")] == [told["decisions"], []]
    first = told["decisions"][0]
    assert (first["name"], first["action"], set(first["files"])) == ("checkpoint-100", "strip", CONTINUES)
    assert told["decisions"][-1]["reasons"] == [{"code": "floor", "message": "newest intact resumable", "command": ""}]


def pinned(run: str) -> None:
    pin(f"{run}/checkpoint-100")


def symlinked(run: str) -> None:
    os.rename(f"{run}/checkpoint-100/optimizer.pt", f"{run}/checkpoint-100/elsewhere")
    os.symlink("elsewhere", f"{run}/checkpoint-100/optimizer.pt")


def of_fsdp_and_of_deepspeed(run: str) -> None:
    os.rename(f"{run}/checkpoint-100/optimizer.pt", f"{run}/checkpoint-100/optimizer.bin")
    shutil.copy(f"{run}/checkpoint-100/optimizer.bin", f"{run}/checkpoint-100/pytorch_model_fsdp.bin")
    os.mkdir(f"{run}/checkpoint-100/global_step100")
    shutil.copy(
        f"{run}/checkpoint-100/optimizer.bin", f"{run}/checkpoint-100/global_step100/mp_rank_00_model_states.pt"
    )


def torn(run: str) -> None:
    os.unlink(f"{run}/checkpoint-100/trainer_state.json")
    set_age(f"{run}/checkpoint-100", os.stat(run).st_mtime, 3600)


def being_written(run: str) -> None:
    os.unlink(f"{run}/checkpoint-100/trainer_state.json")


def corrupt(run: str) -> None:
    restep(f"{run}/checkpoint-100", 101)
    set_age(f"{run}/checkpoint-100", os.stat(run).st_mtime, 3600)


def alone(run: str) -> None:
    shutil.rmtree(f"{run}/checkpoint-200")
    shutil.rmtree(f"{run}/checkpoint-300")


REFUSED = {
    "the_floor": (alone, 2, "newest intact resumable"),
    "pinned": (pinned, 2, "pinned"),
    "with_a_symlink": (symlinked, 2, "could not be judged"),
    "of_two_frameworks": (of_fsdp_and_of_deepspeed, 2, "two programs wrote here"),
    "being_written": (being_written, 2, "written to in the last minute"),
    "torn": (torn, 4, "incomplete: trainer_state.json"),
    "corrupt": (corrupt, 4, "corrupt: trainer_state.json"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_that_has_to_stay_is_refused_in_one_line(run_of: RunOf, ckptkit: Ckptkit, name: str) -> None:
    change, code, why = REFUSED[name]
    run = run_of(THREE)
    change(run)
    before = tree(run)
    for more in ((), ("--dry-run",)):
        called = ckptkit("strip", f"{run}/checkpoint-100", *more)
        assert called.code == code and why in called.err and called.err.count("\n") == 1, called.err
    assert tree(run) == before


def test_one_that_a_process_holds_open_is_refused_with_its_name(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    before = tree(run)
    with open(f"{run}/checkpoint-100/adapter_model.safetensors"):
        called = ckptkit("strip", f"{run}/checkpoint-100")
        assert called.code == 2 and f"(pid {os.getpid()})" in called.err
        swept = ckptkit("strip", run, "-y")
        assert swept.code == 0 and resumable(run) == {100: True, 200: False, 300: True}
    assert {path: at for path, at in tree(f"{run}/checkpoint-100").items() if before[path] != at} == {}


def test_usage_that_can_not_be_meant(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of(THREE)
    before = tree(run)
    assert ckptkit("strip").code == 2
    for count in ("0", "-1", "many"):
        assert ckptkit("strip", run, f"--keep-resumable={count}").code == 2
    assert ckptkit("strip", tmp_path / "nowhere").code == 10
    assert ckptkit("strip", f"{run}/checkpoint-999").code == 10
    with lock.hold(run):
        assert ckptkit("strip", run, "-y").code == 11
    assert tree(run) == before


def test_the_audit_lists_what_was_stripped(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    ckptkit("strip", f"{run}/checkpoint-100")
    told = ckptkit("diskreport", run, "--audit").out
    assert f"{run}/checkpoint-100" in told and "ckptkit strip" in told and "stripped to its weights" in told
