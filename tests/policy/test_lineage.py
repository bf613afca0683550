"""One run or two: a real run that was copied is the same run to every verb, and only what was logged shows two."""

import json
import os
import random
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.model.checkpoint import Checkpoint, Judged, Verdict
from ckptkit.ops.latest import latest
from ckptkit.ops.prune import prune
from ckptkit.ops.read import plan as ops_plan
from ckptkit.ops.read import verify as ops_verify
from ckptkit.policy.keep import Best, Range, Rules, plan
from ckptkit.policy.lineage import diverged_names, kind_of, newest_by_time, one_history, stale_names
from tests.policy.test_policy import NOW, judged
from tests.support.runs import make_run
from tests.support.typed import Ckptkit, RunOf, present

# In the order of names 1000 comes first, 900 last: a copy in that order has the newest times on a lower step.
STEPS = (100, 200, 900, 1000, 1100)
RULES = [Rules(Range(1, 1)), Rules(Range(2, 2)), Rules(Range(1, 1), keep_every=200)]
RULES += [Rules(None, Best("loss", "min", 1)), Rules(None, keep_every=1000)]


def cp(run: str, copy: str | Path) -> None:
    subprocess.run(["cp", "-r", run, copy], check=True)


def rsync_without_times(run: str, copy: str | Path) -> None:
    """As rsync -r does: by name, each file new."""
    for parent, directories, files in os.walk(run):
        directories.sort()
        os.makedirs(os.path.join(copy, os.path.relpath(parent, run)), exist_ok=True)
        for name in sorted(files):
            _write(os.path.join(parent, name), run, copy)


def tar(run: str, copy: str | Path) -> None:
    os.mkdir(copy)
    subprocess.run(f"tar -C {run} -c . | tar -C {copy} -x --touch", shell=True, check=True)


def tar_with_times(run: str, copy: str | Path) -> None:
    os.mkdir(copy)
    subprocess.run(f"tar -C {run} -c . | tar -C {copy} -x", shell=True, check=True)


def unzipped(run: str, copy: str | Path) -> None:
    """zipfile extracts without the times."""
    archive = shutil.make_archive(str(copy), "zip", run)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(copy)


def file_by_file_in_random_order(run: str, copy: str | Path) -> None:
    files = sorted(path for path in Path(run).rglob("*") if path.is_file())
    random.Random(7).shuffle(files)
    for path in files:
        _write(str(path), run, copy)


def _write(source: str, run: str, copy: str | Path) -> None:
    target = os.path.join(copy, os.path.relpath(source, run))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)


def spread(copy: str | Path) -> None:
    """So that the order in which it was written shows in times of every file system: a second from file to file."""
    files = sorted((os.stat(path).st_mtime_ns, str(path)) for path in Path(copy).rglob("*") if path.is_file())
    for at, (_, path) in enumerate(files):
        os.utime(path, (time.time() - 7200 + at,) * 2)
    for directory in Path(copy).iterdir():
        os.utime(directory, (time.time() - 7200,) * 2)


def log_emptied(run: str) -> None:
    for path in Path(run).glob("*/trainer_state.json"):
        state = json.loads(path.read_text())
        status = path.stat()
        path.write_text(json.dumps(state | {"log_history": []}))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def said(run: str, logged: bool) -> tuple[Any, str, Any]:
    """What the verbs say of it, without where it lies."""
    plans = [prune(run, rules, dry_run=True, yes=True).plan for rules in RULES if logged or not rules.keep_best]
    verdicts = [(j.checkpoint.name, j.verdict.state, j.verdict.resumable) for j in ops_verify(run)]
    decisions = [[(d.checkpoint.name, d.action, d.reasons) for d in plan.decisions] for plan in plans]
    return verdicts, os.path.basename(latest(run).path), decisions


COPIES = [cp, rsync_without_times, tar, tar_with_times, unzipped, file_by_file_in_random_order]


@pytest.mark.parametrize("logged", [True, False], ids=["losses logged", "logs emptied"])
@pytest.mark.parametrize("how", COPIES, ids=lambda how: how.__name__)
def test_copied_run_has_the_same_verdicts_latest_and_plan(
    run_of: RunOf, tmp_path: Path, how: Callable[[str, str], None], logged: bool
) -> None:
    run = run_of(dict.fromkeys(STEPS, "intact"))
    if not logged:
        log_emptied(run)
    copy = str(tmp_path / "copy")
    how(run, copy)
    spread(copy)
    assert said(copy, logged) == said(run, logged)


def test_run_copied_by_the_order_of_names_loses_nothing_new_to_a_sweep(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = run_of(dict.fromkeys(STEPS, "intact"))
    log_emptied(run)
    rsync_without_times(run, tmp_path / "copy")
    spread(tmp_path / "copy")
    called = ckptkit("prune", tmp_path / "copy", "--keep-last", "1", "-y", "--json")
    assert called.code == 0, called.err
    assert sorted(name for name in os.listdir(tmp_path / "copy")) == ["checkpoint-1100"]


# --- what shows one history, and what two -----------------------------------------------------------------------------


def logged(step: int, *lines: dict[str, float], saved_at: float | None = None, in_order: bool = True) -> Judged:
    """A checkpoint whose log holds these {key: value} lines, from step 10 on."""
    one = judged(step, saved_at=saved_at, in_order=in_order)
    history = {10 * (at + 1): line for at, line in enumerate(lines)}
    state = present(one.verdict.trainer_state)._replace(history=history)
    return one._replace(verdict=one.verdict._replace(trainer_state=state))


ONE: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], bool | None]] = {
    "equal_losses": ([{"loss": 2.0}], [{"loss": 2.0}], True),
    "lines_after_the_save_stand_in_later_ones_alone": ([{"loss": 2.0}], [{"loss": 2.0}, {"loss": 1.0}], True),
    "log_that_a_callback_trims": ([{"loss": 2.0}, {"loss": 1.0}], [{}, {"loss": 1.0}, {"loss": 0.5}], True),
    "nan_is_logged_as_nan": ([{"loss": float("nan")}], [{"loss": float("nan")}], True),
    "another_loss": ([{"loss": 2.0}], [{"loss": 2.1}], False),
    "another_norm_though_losses_were_rounded_alike": (
        [{"loss": 0.0, "grad_norm": 1.0}],
        [{"loss": 0.0, "grad_norm": 2.0}],
        False,
    ),
    "another_learning_rate": ([{"learning_rate": 0.1}], [{"learning_rate": 0.2}], False),
    "nan_where_the_other_has_a_loss": ([{"loss": float("nan")}], [{"loss": 2.0}], False),
    "schedule_that_two_runs_share_shows_nothing": (
        [{"epoch": 0.1, "learning_rate": 0.1}],
        [{"epoch": 0.1, "learning_rate": 0.1}],
        None,
    ),
    "nothing_in_common": ([{"loss": 2.0}], [{}, {"loss": 2.0}], None),
    "other_keys": ([{"loss": 2.0}], [{"eval_loss": 3.0}], None),
    "text_says_nothing": ([{"note": "a"}], [{"note": "b"}], None),
    "logged_twice_with_two_values": ([{"eval_loss": None}], [{"eval_loss": 3.0}], None),
    "no_log": ([], [], None),
}


def test_logs_of_two_kinds_say_nothing_of_one_another() -> None:
    one, other = logged(100, {"loss": 2.0}), logged(200, {"loss": 2.1})
    other = other._replace(checkpoint=other.checkpoint._replace(name="step-200"))
    assert one_history(one, other) is None


@pytest.mark.parametrize("name", ONE)
def test_history(name: str) -> None:
    first, second, expected = ONE[name]
    one, other = logged(100, *first), logged(200, *second)
    assert one_history(one, other) is expected and one_history(other, one) is expected


def test_higher_step_is_an_earlier_runs_only_if_its_log_contradicts_a_lower_one_that_was_saved_later() -> None:
    lower, higher = logged(100, {"loss": 2.0}, saved_at=NOW), logged(900, {"loss": 3.0}, saved_at=NOW - 9)
    assert stale_names([lower, higher]) == {"checkpoint-900"}
    assert stale_names([lower, logged(900, {"loss": 3.0}, saved_at=NOW + 9)]) == set()
    assert stale_names([lower, logged(900, {"loss": 2.0}, saved_at=NOW - 9)]) == set()
    assert stale_names([lower, logged(900, saved_at=NOW - 9)]) == set()


def test_newest_by_time_is_doubtful_only_where_its_times_are_its_writers_and_the_logs_show_nothing() -> None:
    def doubtful(*lines: dict[str, float], **of: Any) -> Judged | None:
        line = [logged(100, *lines, saved_at=NOW, **of), logged(900, {"loss": 2.0}, saved_at=NOW - 9)]
        return newest_by_time(line, stale_names(line))

    assert present(doubtful()).checkpoint.step == 100
    assert doubtful(in_order=False) is None
    assert doubtful({"loss": 2.0}) is None
    assert doubtful({"loss": 3.0}) is None, "the other one is an earlier run's"
    assert newest_by_time([], frozenset()) is None


def test_diverged_is_what_names_a_weight_that_an_earlier_one_of_its_kind_does_not() -> None:
    line = [judged(100, nonfinite=("a",)), judged(200), judged(300, nonfinite=("a", "b")), judged(400, nonfinite=())]
    assert diverged_names(line, frozenset()) == {"checkpoint-300"} | set()
    assert diverged_names(line, frozenset({"checkpoint-100"})) == set()
    assert diverged_names([judged(100, nonfinite=(), name="step-{}"), line[2]], frozenset()) == set()


@pytest.mark.parametrize(
    ("name", "step", "stem"),
    [
        ("checkpoint-900", 900, "checkpoint-*"),
        ("step-900", 900, "step-*"),
        ("step-000900", 900, "step-*"),
        ("epoch=1-step=900.ckpt", 900, "epoch=*-step=*.ckpt"),
        ("epoch=1-step=900-v1.ckpt", 900, "epoch=*-step=*.ckpt"),
        ("best-step=900-val_loss=0.25.ckpt", 900, "best-step=*-val_loss=*.ckpt"),
        ("fold-1.ckpt", 900, "fold-1.ckpt"),
        ("resnet18.ckpt", 900, "resnet18.ckpt"),
        ("checkpoint-900-rolling", 900, "checkpoint-*-rolling"),
        ("checkpoint-0", 0, "checkpoint-*"),
    ],
)
def test_kind_is_the_layout_and_the_name_without_the_step(name: str, step: int, stem: str) -> None:
    found = Checkpoint(f"/run/{name}", name, step, "x", 1, 2, (), (), 0, 0.0, single=name.endswith(".ckpt"))
    assert kind_of(found) == ("x", stem)


# --- latest -----------------------------------------------------------------------------------------------------------


def judging(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Verdicts of real checkpoints, changed as verification will say it: {"checkpoint_300": {"nonfinite": ...}}."""
    from ckptkit.ops import read

    verify = read.verify_checkpoint  # type: ignore[attr-defined]

    def changed(checkpoint: Checkpoint, *words: Any) -> Verdict:
        reading, verdict = words[4], verify(checkpoint, *words)
        change = dict(changes.get(checkpoint.name.replace("-", "_"), {}))
        refused = change.pop("refused", None)
        if refused and reading.pickles and not set(refused) <= set(reading.trust):
            from tests.policy.test_policy import REFUSED

            change["findings"] = (*verdict.findings, *REFUSED)
        return verdict._replace(**change)

    monkeypatch.setattr(read, "verify_checkpoint", changed)


THREE = dict.fromkeys((100, 200, 300), "intact")


def test_latest_takes_the_step_and_tells_of_the_one_that_is_newest_by_time(run_of: RunOf) -> None:
    run = run_of({300: "intact", 100: "intact", 200: "intact"})
    log_emptied(run)
    found = latest(run)
    assert found.path == f"{run}/checkpoint-300"
    told = [(p.checkpoint.name, p.reason.code, p.reason.message) for p in found.passed_over]
    assert told == [("checkpoint-200", "newest-by-time", "newest by time, although not by step")]


def test_times_that_no_save_leaves_say_nothing(run_of: RunOf) -> None:
    run = run_of({300: "intact", 100: "intact", 200: "intact"})
    log_emptied(run)
    weights = f"{run}/checkpoint-200/adapter_model.safetensors"
    os.utime(weights, (time.time() - 60, time.time() - 60))  # later than the state, which is written last
    assert latest(run).passed_over == ()


def test_in_a_copy_of_a_directory_that_two_runs_used_the_newest_of_each_stays() -> None:
    earlier = [judged(s, history=[(10, -1)], in_order=False) for s in (300, 400)]
    live = [judged(s, history=[(10, 1)], in_order=False) for s in (100, 200)]
    decisions = plan("/run", [*live, *earlier], Rules(Range(1, 1)), {}).decisions
    assert {d.checkpoint.step for d in decisions if d.action == "keep"} == {200, 400}


def test_latest_skips_what_a_resume_refuses_and_says_what_it_names(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(THREE)
    judging(monkeypatch, checkpoint_300={"refused": ("pkg.*",)})
    found = latest(run)
    assert found.path == f"{run}/checkpoint-200"
    assert [p.reason for p in found.passed_over] == [("refused-pickle", "refused: scheduler.pt names os.system", "")]
    assert latest(run, trust=("pkg.*",)).path == f"{run}/checkpoint-300"


def test_latest_skips_what_diverged_unless_it_is_asked_for(run_of: RunOf, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(THREE)
    bad = {"nonfinite": ("lm_head.weight",)}
    judging(monkeypatch, checkpoint_100={"nonfinite": ()}, checkpoint_200=bad, checkpoint_300=bad)
    found = latest(run)
    assert found.path == f"{run}/checkpoint-100"
    reason = ("nonfinite", "NaN or Inf in weights that were finite before: lm_head.weight", "")
    assert [p.reason for p in found.passed_over] == [reason, reason]
    assert latest(run, allow_nonfinite=True).path == f"{run}/checkpoint-300"


def test_latest_with_nothing_but_refused_or_diverged_ones_names_the_flags(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(THREE)
    judging(
        monkeypatch, checkpoint_100={"nonfinite": (), "refused": ("p.*",)},
        checkpoint_200={"refused": ("p.*",)}, checkpoint_300={"nonfinite": ("w",)},
    )  # fmt: skip
    with pytest.raises(NoIntactCheckpoint, match="--allow-nonfinite; .*--trust 'pkg") as refusal:
        latest(run)
    assert "\n" not in str(refusal.value)


def test_plan_follows_the_pickles_of_all_that_it_relies_on_before_it_deletes(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(dict.fromkeys((100, 200, 300, 400), "intact"))
    judging(monkeypatch, checkpoint_400={"refused": ("p.*",)}, checkpoint_200={"refused": ("p.*",)})
    keep_1 = Rules(Range(1, 1))
    kept = [d.checkpoint.step for d in ops_plan(run, keep_1).decisions if d.action == "keep"]
    assert kept == [300, 400]
    kept = [d.checkpoint.step for d in ops_plan(run).decisions if d.action == "keep"]
    assert kept == [100, 300, 400], "two that can be resumed from stay, and a refused one as if it were an ordinary one"
    assert len(ops_plan(run, keep_1, trust=("p.*",)).deletions) == 3


def test_plan_with_nothing_to_delete_follows_no_pickles(
    real: str, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of({100: "intact", 200: "intact"})
    judging(monkeypatch, checkpoint_200={"refused": ("p.*",)})
    assert not any(d.verdict.refused for d in ops_plan(run).decisions)
    make_run(real, run, {300: "intact"})
    assert any(d.verdict.refused for d in ops_plan(run).decisions)
