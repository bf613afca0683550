"""The outlook, from the history to the person: what was sampled says when the volume is full, and the flag says so."""

import os
import re
import time
from pathlib import Path

import pytest

from ckptkit.model.events import Sample
from ckptkit.ops.diskreport import report
from ckptkit.ops.monitor import Watch
from ckptkit.ops.outlook import foreseen
from ckptkit.ops.prune import prune
from ckptkit.ops.read import rules_for
from tests.support.runs import make_run
from tests.support.typed import Ckptkit, Mount, RunOf, present

GB = 10**9


def sampled(run: str, mount: str, count: int, per_save: int, other: int = 0) -> list[Sample]:
    """Samples an hour apart, a save each, on a volume of 100 GB of which 70 are taken."""
    return [
        Sample(3600.0 * i, mount, 100 * GB, (70 + other * i) * GB + per_save * i, (30 - other * i) * GB - per_save * i,
               run, 1000 * i, i, per_save * i)
        for i in range(1, count + 1)
    ]  # fmt: skip


def test_checkpoints_that_nothing_deletes_fill_the_volume_at_a_step_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "ckptkit.toml").write_text("keep_last = 9\n")
    seen = present(foreseen(sampled(str(tmp_path), "/", 5, 4 * GB)))
    assert seen.full_step == 8000 and seen.full_at == 8 * 3600.0


def test_a_policy_that_keeps_two_never_fills_it(tmp_path: Path) -> None:
    two = [sample._replace(checkpoints=2, checkpoint_bytes=6 * GB, used_bytes=76 * GB, available_bytes=24 * GB)
           for sample in sampled(str(tmp_path), "/", 6, 3 * GB)]  # fmt: skip
    assert present(foreseen(two)).full_at is None


def test_too_few_samples_foresee_nothing(tmp_path: Path) -> None:
    assert foreseen(sampled(str(tmp_path), "/", 2, 4 * GB)) is None and foreseen([]) is None


# --- from real volumes to the page ----------------------------------------------------------------------------------


def save(real: str, run: str, step: int, megabytes: int) -> None:
    """One more checkpoint, with a file of such a size that the real one has not."""
    make_run(real, run, {step: "intact"})
    with open(f"{run}/checkpoint-{step}/payload", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, megabytes << 20)


@pytest.fixture
def two_runs(mount: Mount, real: str, tmp_path: Path) -> list[str]:
    """Two runs, each on a volume of 2 GB, a save of 100 MB an hour for five hours: one is pruned, the other is not."""
    runs = [f"{mount('ext4', megabytes=2000, options=('-m', '0', '-O', '^has_journal'))}/run" for _ in range(2)]
    watches = [Watch(run, 600.0) for run in runs]
    for hour in range(1, 6):
        for run, watch in zip(runs, watches, strict=True):
            save(real, run, 1000 * hour, 100)
            Path(run, "ckptkit.toml").write_text(f"keep_last = {2 if run == runs[0] else 99}\n")
            prune(run, rules_for(run, {}))
            assert not watch.tick(time.time() - (5 - hour) * 3600 - 60).sight.errors
    return runs


@pytest.mark.mounts
def test_each_of_several_runs_has_its_own_outlook_on_every_page(two_runs: list[str], ckptkit: Ckptkit) -> None:
    kept, growing = two_runs
    found = ckptkit("diskreport", kept, growing, "--no-eaters", "--json").json
    never, full = found["forecast"]
    assert (never["run"], never["full_at"], never["full_step"]) == (kept, None, None)
    assert never["message"].startswith(f"{os.path.dirname(kept)}: the disk will not fill up in this run (peak 1")
    assert full["run"] == growing and 18_000 <= full["full_step"] <= 20_000 and full["full_at"].endswith("Z")
    assert [flag["code"] for flag in found["flags"] if growing in flag["message"]].count("growth") == 1
    assert not [flag for flag in found["flags"] if flag["code"] == "growth" and kept in flag["message"]]
    pages = ckptkit("diskreport", kept, growing, "--no-eaters").out, report([kept, growing])._repr_html_()
    for page in pages:
        assert page and ": the disk will not fill up in this run (peak 1" in page
        assert f"will be full at step {full['full_step']:,}" in page


@pytest.mark.mounts
def test_a_flag_that_keeps_fewer_changes_the_outlook(two_runs: list[str], ckptkit: Ckptkit) -> None:
    found = ckptkit("diskreport", two_runs[1], "--no-eaters", "--json", "--keep-last", 5).json
    assert [seen["full_at"] for seen in found["forecast"]] == [None]


@pytest.mark.mounts
def test_room_that_was_made_after_the_last_look_counts_at_once(two_runs: list[str]) -> None:
    def codes() -> list[str]:
        return [flag.code for flag in report([two_runs[1]]).flags]

    assert "growth" in codes()
    Path(two_runs[1], "ckptkit.toml").write_text("keep_last = 2\n")
    prune(two_runs[1], yes=True)
    assert "growth" not in codes()


@pytest.mark.mounts
def test_training_that_ends_before_the_volume_is_full_is_no_alarm(two_runs: list[str], ckptkit: Ckptkit) -> None:
    for run in two_runs:
        for path in Path(run).glob("checkpoint-*/trainer_state.json"):
            path.write_text(re.sub(r'"max_steps": \d+', '"max_steps": 15000', path.read_text()))
    found = ckptkit("diskreport", two_runs[1], "--no-eaters", "--json").json
    (seen,) = found["forecast"]
    assert seen["full_at"] is None and seen["peak_step"] == 15_000 and "this run (peak 7" in seen["message"]
    (told,) = Watch(two_runs[1], 600.0).tick(time.time()).sight.runs
    assert present(told.outlook).full_at is None and present(told.outlook).peak_step == 15_000


@pytest.mark.mounts
def test_monitor_warns_a_day_before_and_takes_it_back_when_pruning_works_again(two_runs: list[str]) -> None:
    key = (two_runs[1], "full-soon")
    before = Watch(two_runs[1], 600.0).tick(time.time())
    assert before.active_alerts[key] == 2 and before.alerts == (), "it was told when it came in sight"
    Path(two_runs[1], "ckptkit.toml").write_text("keep_last = 2\n")
    prune(two_runs[1], rules_for(two_runs[1], {}), yes=True)
    after = Watch(two_runs[1], 600.0).tick(time.time() + 60)
    assert key not in after.active_alerts and [(a.subject, a.code) for a in after.alerts if a.rung == 0] == [key]


def test_run_without_a_past_has_no_outlook(run_of: RunOf, ckptkit: Ckptkit) -> None:
    assert ckptkit("diskreport", run_of({100: "intact"}), "--no-eaters", "--json").json["forecast"] == []
