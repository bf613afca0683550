"""What a save began is told from all else: by its mark while it is under way, by the guard's memory after it failed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import UsageError
from ckptkit.guard import claim
from ckptkit.model.checkpoint import SAVING
from ckptkit.ops.pin import pin
from ckptkit.ops.prune import discard
from ckptkit.ops.read import judge, scan, verify
from tests.support.typed import RunOf, SmallDisk

PARTS = ["_save", "_save_optimizer_and_scheduler", "_save_rng_state"]
EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
KILLS = ["killed_before", "killed_within"] if EXHAUSTIVE else ["killed_before"]


def left(run: str | Path) -> list[str]:
    return [c.name for c in scan(str(run)).checkpoints]


def foreign(path: str | Path) -> str:
    """What nobody here can judge: as no framework writes."""
    os.makedirs(path, exist_ok=True)
    for name in ("moments.part", "weights.part"):
        with open(os.path.join(path, name), "wb") as file:
            file.write(b"\1" * 100)
    return str(path)


# --- the mark --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_mark_is_there_through_the_whole_save_and_gone_after_it(tmp_path: Path, lora: bool) -> None:
    import tiny

    seen, ended = [], {}
    trainer = tiny.trainer(tmp_path / "run", lora=lora, max_steps=20)
    for part in PARTS:
        original = getattr(trainer, part)

        def looked(folder: Any, *args: Any, original: Any = original, part: Any = part, **kwargs: Any) -> Any:
            seen.append((part, SAVING in os.listdir(folder)))
            return original(folder, *args, **kwargs)

        setattr(trainer, part, looked)
    save = trainer._save_checkpoint

    def saved(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        path = tmp_path / "run" / f"checkpoint-{trainer.state.global_step}"
        ended[path] = (os.stat(path).st_mtime_ns, SAVING in os.listdir(path))

    trainer._save_checkpoint = saved
    ckptkit.guard(trainer, 3)
    trainer.train()
    assert seen == [(part, True) for part in PARTS] * 2
    assert len(ended) == 2
    for path, (modified_at, marked) in ended.items():
        assert marked and SAVING not in os.listdir(path)
        assert os.stat(path).st_mtime_ns == modified_at, "the Trainer's rotation sorts by it"


def test_checkpoint_has_the_files_that_it_has_without_the_guard(tmp_path: Path) -> None:
    import tiny

    tiny.trainer(tmp_path / "bare", max_steps=10).train()
    trainer = tiny.trainer(tmp_path / "run", max_steps=10)
    ckptkit.guard(trainer)
    trainer.train()
    ours = {name for name in os.listdir(tmp_path / "run" / "checkpoint-10") if not name.startswith(".ckptkit-manifest")}
    assert ours == set(os.listdir(tmp_path / "bare" / "checkpoint-10"))


def test_nothing_of_the_mark_is_sent_to_the_hub(tmp_path: Path) -> None:
    import tiny

    sent = []
    trainer = tiny.trainer(tmp_path / "run", max_steps=10)
    trainer._push_from_checkpoint = lambda folder: sent.append(sorted(os.listdir(folder)))
    ckptkit.guard(trainer)
    trainer.args.push_to_hub = True
    trainer.create_model_card = trainer.push_to_hub = trainer.init_hf_repo = lambda *args, **kwargs: None
    trainer.train()
    assert len(sent) == 1 and "trainer_state.json" in sent[0] and SAVING not in sent[0]


def test_mark_that_can_not_be_made_stops_no_save(disk: SmallDisk) -> None:
    volume = disk(1 << 20, inodes=2)
    os.mkdir(os.path.join(volume, "run"))
    claim.mark(os.path.join(volume, "run", "checkpoint-10"))
    assert os.listdir(os.path.join(volume, "run")) == []


def test_failed_save_leaves_no_mark_behind_and_the_second_attempt_has_its_own(tmp_path: Path) -> None:
    import tiny

    seen = []

    class Fails(tiny.Trainer):
        def _save_optimizer_and_scheduler(self, folder: Any) -> None:
            seen.append(SAVING in os.listdir(folder))
            if self.state.global_step == 20 and seen.count(True) < 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            super()._save_optimizer_and_scheduler(folder)

    trainer = tiny.trainer(tmp_path / "run", kind=Fails, max_steps=30)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert seen == [True] * 4 and guard.skipped == 1
    assert left(tmp_path / "run") == ["checkpoint-10", "checkpoint-30"]


@pytest.fixture(scope="module")
def all_killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each kind and way: runs in which a guarded save of step 20 was killed, one a file of the save."""
    top = tmp_path_factory.mktemp("killed")
    script = os.path.join(os.path.dirname(__file__), "killed_saves.py")
    done = subprocess.run([sys.executable, script, "--each", top, *KILLS], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return top


@pytest.fixture(scope="module", params=[(kind, how) for kind in ("lora", "full") for how in KILLS], ids="-".join)
def killed(request: pytest.FixtureRequest, all_killed: Path) -> tuple[str, list[Path]]:
    """A kind, and those runs of it."""
    return request.param[0], sorted((all_killed / "-".join(request.param)).iterdir())


@pytest.mark.slow
def test_save_killed_at_any_file_leaves_its_mark_and_is_made_again_after_the_restart(
    killed: tuple[Any, list[Path]], told: list[str]
) -> None:
    import tiny

    kind, runs = killed
    assert len(runs) == 8
    for run in runs:
        remains = os.listdir(run / "checkpoint-20")
        assert SAVING in remains
        (judged,) = [j for j in judge(scan(str(run)), quiet=0) if j.checkpoint.name == "checkpoint-20"]
        assert judged.verdict.state == "incomplete", (run.name, remains, judged.verdict.findings)
        trainer = tiny.trainer(run, lora=kind == "lora", max_steps=20)
        guard = ckptkit.guard(trainer, 3)
        trainer.train(resume_from_checkpoint=True)
        assert any(line.endswith(f"resuming from {run}/checkpoint-10") for line in told)
        assert (trainer.state.global_step, guard.skipped) == (20, 0)
        assert all(j.verdict.resumable for j in verify(str(run), level="full"))
        assert SAVING not in os.listdir(run / "checkpoint-20")


# --- its own to remove -----------------------------------------------------------------------------------------------


def test_what_nobody_can_judge_goes_only_for_whoever_began_it(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    path = foreign(f"{run}/checkpoint-200")
    with pytest.raises(UsageError, match="could not be judged"):
        discard(path)
    assert discard(path, own=True).deleted == (path,)
    assert left(run) == ["checkpoint-100"]


def test_the_only_intact_one_and_a_pinned_one_are_not_ones_own_to_remove(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    with pytest.raises(ckptkit.NoIntactCheckpoint):
        discard(f"{run}/checkpoint-100", own=True)
    path = foreign(f"{run}/checkpoint-200")
    pin(path)
    with pytest.raises(UsageError, match="is pinned"):
        discard(path, own=True)
    assert left(run) == ["checkpoint-100", "checkpoint-200"]


def test_remains_that_nobody_can_judge_are_removed_after_the_save_that_began_them_failed(tmp_path: Path) -> None:
    import tiny

    class Sharded(tiny.Trainer):
        attempts = 0

        def _save_optimizer_and_scheduler(self, folder: Any) -> None:
            if self.state.global_step == 20 and not type(self).attempts:
                type(self).attempts += 1
                os.unlink(os.path.join(folder, SAVING))
                foreign(folder)
                raise OSError(errno.ENOSPC, "No space left on device")
            super()._save_optimizer_and_scheduler(folder)

    trainer = tiny.trainer(tmp_path / "run", kind=Sharded, max_steps=20)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert (Sharded.attempts, guard.skipped) == (1, 0)
    assert all(j.verdict.resumable and not j.verdict.findings for j in verify(str(tmp_path / "run")))


# --- an older one in the way -----------------------------------------------------------------------------------------


def test_older_one_that_nobody_can_judge_is_set_aside_for_the_save_and_told(tmp_path: Path, told: list[str]) -> None:
    import tiny

    run = tmp_path / "run"
    foreign(run / "checkpoint-20")
    foreign(run / "set-aside-checkpoint-20")
    trainer = tiny.trainer(run, max_steps=20)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert (guard.skipped, left(run)) == (0, ["checkpoint-10", "checkpoint-20"])
    assert sorted(os.listdir(run / "set-aside-checkpoint-20.1")) == ["moments.part", "weights.part"]
    (line,) = [line for line in told if "renamed to set-aside-checkpoint-20.1, not deleted" in line]
    assert f"{run}/checkpoint-20" in line and "could not be judged" in line


def test_pinned_one_that_nobody_can_judge_stays_and_that_save_is_skipped(tmp_path: Path, told: list[str]) -> None:
    import tiny

    run = tmp_path / "run"
    pin(foreign(run / "checkpoint-20"))
    trainer = tiny.trainer(run, max_steps=20)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert guard.skipped == 1 and "weights.part" in os.listdir(run / "checkpoint-20")
    assert any("is pinned" in line for line in told)


def test_older_one_that_is_damaged_is_removed_for_the_save(tmp_path: Path, real: str) -> None:
    import tiny

    run = tmp_path / "run"
    shutil.copytree(os.path.join(real, "lora", "checkpoint-100"), run / "checkpoint-20")
    os.unlink(run / "checkpoint-20" / "trainer_state.json")
    trainer = tiny.trainer(run, max_steps=20)
    guard = ckptkit.guard(trainer, 3)
    trainer.train()
    assert guard.skipped == 0 and sorted(os.listdir(run)) == ["checkpoint-10", "checkpoint-20"]
