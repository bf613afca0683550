"""The public functions as a script calls them: what they take, what they refuse, and what then stands on the disk."""

import inspect
import os
import pathlib
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ckptkit as kit
from ckptkit.verify.verdict import QUIET_SECONDS
from tests.support.runs import names, set_age, tree
from tests.support.typed import Ckptkit, RunOf, present

CHECKOUT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("scan", "verify", "plan", "prune", "strip", "latest", "report", "preflight", "recover", "monitor", "pin",
             "unpin", "guard")  # fmt: skip
FIVE = dict.fromkeys((100, 200, 300, 400, 500), "intact")


# --- prune and plan -------------------------------------------------------------------------------------------------


def test_prune_takes_the_rules_by_name(run_of: RunOf) -> None:
    run = run_of(FIVE)
    done = kit.prune(Path(run), keep_last=2, keep_every=300, min_age_seconds=60)
    assert [os.path.basename(path) for path in present(done.outcome).deleted] == ["checkpoint-100", "checkpoint-200"]
    assert names(run) == ["checkpoint-300", "checkpoint-400", "checkpoint-500"]


def test_plan_and_prune_without_rules_hear_the_runs_settings_as_the_shell_does(
    run_of: RunOf, ckptkit: Ckptkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(FIVE)

    def deleted(*flags: str) -> list[Any]:
        said = ckptkit("prune", run, "--dry-run", "--json", *flags).json["runs"][0]["decisions"]
        return [d["name"] for d in said if d["action"] == "delete"]

    def planned(**asked: Any) -> list[str]:
        found = [d.checkpoint.name for d in kit.plan(run, **asked).deletions]
        assert found == [d.checkpoint.name for d in kit.prune(run, dry_run=True, **asked).plan.deletions]
        return found

    assert planned() == deleted() == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    Path(run, "ckptkit.toml").write_text("keep_last = 4\n")
    assert planned() == deleted() == ["checkpoint-100"]
    monkeypatch.setenv("CKPTKIT_KEEP_LAST", "3")
    assert planned() == deleted() == ["checkpoint-100", "checkpoint-200"]
    assert planned(keep_every=200) == deleted("--keep-every", "200") == ["checkpoint-100"]
    assert planned(keep_last=5) == deleted("--keep-last", "5") == []
    assert planned(rules=kit.Rules(keep_last=1)) == deleted("--keep-last", "1")
    assert planned(keep_last="1..5", free_target="99%") == deleted("--keep-last", "1..5", "--free-target", "99%")
    monkeypatch.setenv("CKPTKIT_KEEP_LATS", "3")
    with pytest.raises(kit.UsageError, match="did you mean CKPTKIT_KEEP_LAST"):
        kit.prune(run)
    assert sorted(names(run)) == sorted([*(f"checkpoint-{step}" for step in FIVE), "ckptkit.toml"])


def test_save_in_progress_stays_whatever_is_passed_as_quiet(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "young"})
    with pytest.raises(TypeError, match="quiet"):
        kit.prune(run, quiet=True)  # type: ignore[call-arg]
    for value in (True, None, "0", -1, float("nan"), float("inf")):
        with pytest.raises(kit.UsageError, match="min_age_seconds"):
            kit.prune(run, min_age_seconds=value)  # type: ignore[arg-type]
    kit.prune(run)
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]


def test_min_age_is_the_quiet_period_in_seconds(run_of: RunOf) -> None:
    assert inspect.signature(kit.prune).parameters["min_age_seconds"].default == QUIET_SECONDS
    run = run_of({100: "intact", 200: "intact", 300: "torn"})
    set_age(f"{run}/checkpoint-300", time.time(), 2400)  # so long that no torch process of the machine protects it
    assert kit.plan(run, min_age_seconds=3600).deletions == ()
    assert [d.checkpoint.step for d in kit.plan(run, min_age_seconds=60).deletions] == [300]


def test_mass_deletion_is_raised_with_what_was_done_all_the_same(run_of: RunOf) -> None:
    run = run_of(FIVE)
    with pytest.raises(kit.MassDelete) as stopped:
        kit.prune(run, keep_last=1)
    assert stopped.value.exit_code == 25 and stopped.value.pruned.stopped == str(stopped.value)
    assert stopped.value.pruned.plan.run == run
    assert names(run) == [f"checkpoint-{step}" for step in FIVE]
    dry = kit.prune(run, keep_last=1, dry_run=True)
    assert dry.stopped and dry.outcome is None
    assert len(present(kit.prune(run, keep_last=1, max_delete=4).outcome).deleted) == 4


def test_rules_and_single_rules_are_not_both_taken(run_of: RunOf) -> None:
    run = run_of(FIVE)
    before = tree(run)
    for call in (kit.plan, kit.prune):
        with pytest.raises(kit.UsageError, match="rules and keep_last, max_delete: give one or the other"):
            call(run, kit.Rules(), keep_last=1, max_delete=9)
        with pytest.raises(kit.UsageError, match="rules=2: must be a ckptkit.Rules"):
            call(run, 2)  # type: ignore[arg-type]
    assert tree(run) == before


@pytest.mark.parametrize("name", ["dry_run", "yes"])
@pytest.mark.parametrize("value", ["no", 0, 1, None, []])
def test_switch_is_true_or_false_itself(run_of: RunOf, name: str, value: Any) -> None:
    run = run_of(FIVE)
    before = tree(run)
    for call in (kit.prune, kit.strip, kit.recover):
        with pytest.raises(kit.UsageError, match=f"{name}=.*: must be True or False"):
            call(run, **{name: value})
    assert tree(run) == before


# --- the others -----------------------------------------------------------------------------------------------------


def test_report_of_a_text_is_of_one_path_and_of_a_list_of_several(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = run_of({100: "intact"}, at=tmp_path / "RUN"), run_of({100: "intact"}, at=tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    for one in ("RUN", Path("RUN"), ["RUN"], run):
        assert [plan.run for plan in kit.report(one).plans] == [run]
    assert [plan.run for plan in kit.report(("RUN", Path("more"))).plans] == [run, other]
    for nothing in ([], b"RUN", [b"RUN"], None, 3, {"RUN": 1}, "", ["RUN", ""]):
        with pytest.raises(kit.UsageError, match="paths"):
            kit.report(nothing)  # type: ignore[arg-type]


def test_level_is_one_of_three(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    for call in (kit.verify, kit.latest):
        for level in ("bogus", "", None, "QUICK", 3, ["quick"]):
            with pytest.raises(kit.UsageError, match="level=.*: must be one of quick, full, deep"):
                call(run, level=level)  # type: ignore[arg-type]
        call(run, level="deep")


def test_strip_without_a_number_hears_the_runs_settings(run_of: RunOf) -> None:
    run = run_of(FIVE)
    Path(run, "ckptkit.toml").write_text("keep_resumable = 4\n")
    assert [d.checkpoint.step for d in kit.strip(run, dry_run=True).plan.strips] == [100]
    assert [d.checkpoint.step for d in kit.strip(run, 3, dry_run=True).plan.strips] == [100, 200]
    for value in (0, -1, True, 1.0, "2"):
        with pytest.raises(kit.UsageError, match="keep_resumable="):
            kit.strip(run, value)  # type: ignore[arg-type]


def test_preflight_and_recover_hear_the_runs_settings(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    Path(run, "ckptkit.toml").write_text("keep_last = 3\n")
    assert {check.code: check.state for check in kit.preflight(run, probe=False)}["checkpoints"] == "go"
    assert {check.code: check.state for check in kit.preflight(run, kit.Rules(1), probe=False)}["checkpoints"] != "go"
    assert present(kit.recover(run, dry_run=True).pruned).plan.deletions == ()


def test_monitor_takes_seconds_too(run_of: RunOf) -> None:
    with kit.monitor(Path(run_of({100: "intact"})), every=600) as watching:
        assert "every 600s" in repr(watching)
    for every in (0, -1, True, "", "0s", float("nan"), None):
        with pytest.raises(kit.UsageError, match="every="):
            kit.monitor(".", every=every)  # type: ignore[arg-type]


def test_pinned_one_stays_whatever_the_rules_say_until_it_is_unpinned(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(FIVE)
    assert kit.pin(Path(run, "checkpoint-100")) == f"{run}/checkpoint-100"
    assert [d.checkpoint.step for d in kit.plan(run).deletions] == [200, 300]
    assert "pinned" in ckptkit("prune", run, "--dry-run").out, "the shell knows of it too"
    assert kit.unpin(f"{run}/checkpoint-100") == f"{run}/checkpoint-100"
    assert [d.checkpoint.step for d in kit.plan(run).deletions] == [100, 200, 300]


def test_only_a_checkpoint_that_is_there_can_be_pinned(run_of: RunOf) -> None:
    run = run_of(FIVE)
    before = tree(run)
    for path in (run, f"{run}/checkpoint-600", f"{run}/notes"):
        with pytest.raises(kit.NoSuchRun, match="not a checkpoint|no such checkpoint"):
            kit.pin(path)
    with pytest.raises(kit.CkptkitError):
        kit.unpin(f"{run}/notes")
    assert tree(run) == before


# --- the face -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_names_each_parameter_and_every_error(name: str) -> None:
    function = getattr(kit, name)
    words = present(inspect.getdoc(function))
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"\b{parameter}[:,]", words), f"{name}: {parameter}"
    assert "Raises UsageError" in words and "Returns" in words


def test_paths_are_texts_or_path_likes_everywhere(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    for name in FUNCTIONS[:-1]:
        call, first = getattr(kit, name), next(iter(inspect.signature(getattr(kit, name)).parameters))
        made = call(pathlib.PurePosixPath(run, "checkpoint-100" if name in ("pin", "unpin") else ""))
        if name == "monitor":
            made.stop()
        for path in (None, b"x", "", "a\0b", 3, object(), "\ud800", [None], {}):
            with pytest.raises(kit.UsageError, match=f"^{first}"):
                call(path)


def test_public_names_check_their_types() -> None:
    """mypy --strict on a script that uses them all; what must be refused stands there with the error it has to give."""
    script = CHECKOUT / "tests/typed/public_api.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--config-file", "pyproject.toml"]
    done = subprocess.run([*command, script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_parameter_of_a_public_function_is_told_in_its_docstring() -> None:
    for name in kit.__all__:
        public = getattr(kit, name)
        if inspect.isclass(public) and issubclass(public, Exception):
            continue
        words = set(re.findall(r"\w+", inspect.getdoc(public) or ""))
        assert set(inspect.signature(public).parameters) - words == set(), name
