"""What a person or a broken program may have left there: trackers that lie, ranks that are missing, mixed halves."""

import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.errors import NoIntactCheckpoint, NoSuchRun, UsageError
from ckptkit.model.checkpoint import Verdict
from ckptkit.ops.discard import discard_named
from ckptkit.ops.prune import Pruned
from ckptkit.ops.prune import prune as ops_prune
from ckptkit.ops.read import judge, scan, verify
from ckptkit.policy.rules import Range, Rules
from tests.layouts.made import aged, copied
from tests.support.typed import present


def verdict(path: Path) -> Verdict:
    (judged,) = verify(str(path))
    return judged.verdict


def prune(run: Path) -> Pruned:
    """To the newest one; how much that frees is not asked."""
    return ops_prune(str(run), Rules(keep_last=Range(1, 1)), yes=True, settle=False)


# --- trackers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lay",
    [
        lambda run: (run / "latest").write_text("checkpoint-2"),
        lambda run: (run / "latest_checkpointed_iteration.txt").write_text("2\n"),
        lambda run: (run / "last-checkpoint").symlink_to("checkpoint-2"),
        lambda run: (run / "best").symlink_to(run / "checkpoint-2"),
    ],
)
def test_a_tracker_never_points_at_a_deleted_one(tmp_path: Path, lay: Callable[[Any], Any]) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    lay(run)
    done = prune(run)
    assert present(done.outcome).deleted == () and (run / "checkpoint-2").exists()
    (kept,) = [d for d in done.plan.decisions if d.checkpoint.step == 2]
    assert any("names it" in reason.message or "points at it" in reason.message for reason in kept.reasons)
    assert "tracked" in kept.codes


@pytest.mark.parametrize(
    "lay",
    [
        lambda run: (run / "latest").write_text("checkpoint-900"),
        lambda run: (run / "latest").write_text("../elsewhere/checkpoint-2"),
        lambda run: (run / "latest").write_text("/etc/passwd"),
        lambda run: (run / "latest").write_bytes(b"\xff\xfe" * 100_000),
        lambda run: (run / "latest").mkdir(),
        lambda run: os.mkfifo(run / "latest"),
        lambda run: (run / "latest").symlink_to("/dev/zero"),
        lambda run: (run / "latest_checkpointed_iteration.txt").write_text("release"),
        lambda run: (run / "last-checkpoint").symlink_to("checkpoint-900"),
        lambda run: (run / "last-checkpoint").symlink_to(".."),
        lambda run: (run / "last-checkpoint").symlink_to("last-checkpoint"),
    ],
)
def test_one_that_names_nothing_or_something_outside_changes_nothing(tmp_path: Path, lay: Callable[..., Any]) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    lay(run)
    done = prune(run)
    assert [os.path.basename(path) for path in present(done.outcome).deleted] == ["checkpoint-2"]
    assert ckptkit.latest(str(run)).path.endswith("checkpoint-4")


def test_preflight_tells_of_a_tracker_that_names_none(tmp_path: Path) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    (run / "latest").write_text("checkpoint-900")
    (run / "last-checkpoint").symlink_to("checkpoint-800")
    told = [check for check in ckptkit.preflight(str(run)) if check.code == "tracker"]
    assert [check.state for check in told] == ["warn", "warn"]
    assert "latest names checkpoint-900" in told[0].message and "last-checkpoint" in told[1].message


@pytest.mark.parametrize("verb", ["discard", "prune"])
def test_neither_prune_nor_discard_takes_what_a_tracker_stands_for(tmp_path: Path, verb: str) -> None:
    run = copied("dcp", tmp_path / "made")
    (run / "latest").write_text(f"{run}/step-2/")
    (run / "inner").symlink_to("step-2/.metadata")
    if verb == "prune":
        assert present(prune(run).outcome).deleted == ()
    else:
        with pytest.raises(UsageError, match="stays: .*step-2|stays: latest names it|stays: inner points at it"):
            discard_named(str(run / "step-2"))
    assert (run / "step-2/.metadata").exists()


@pytest.mark.parametrize("name", ["2024", "epoch_3", "step_7", "notes.ckpt", "global_step_5"])
def test_discard_takes_no_directory_that_merely_has_such_a_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run" / name
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="not a checkpoint"):
        discard_named(str(folder))
    assert (folder / "a.jpg").exists()


def test_discard_counts_only_what_is_of_its_kind(tmp_path: Path) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    shutil.rmtree(run / "checkpoint-2")
    shutil.copy(copied("lightning-single", tmp_path / "other") / "last.ckpt", run / "base_model.ckpt")
    aged(run)
    with pytest.raises(NoIntactCheckpoint, match="only intact"):
        discard_named(str(run / "checkpoint-4"))


def test_two_names_of_one_checkpoint_count_once_and_neither_goes(tmp_path: Path) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    (run / "checkpoint-5").symlink_to("checkpoint-2")
    states = {j.checkpoint.name: j.verdict.state for j in ckptkit.verify(str(run))}
    assert states == {"checkpoint-2": "intact", "checkpoint-4": "intact", "checkpoint-5": "unknown"}
    assert present(prune(run).outcome).deleted == ()


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_of_a_thousand_ranks_one_is_missing(tmp_path: Path) -> None:
    run = copied("deepspeed-zero3", tmp_path / "made")
    newest = run / "checkpoint-4"
    states = [f"global_step4/zero_pp_rank_{{}}_mp_rank_00_{of}_states.pt" for of in ("model", "optim")]
    for rank in range(2, 1000):
        for name in ("rng_state_{}.pth", *states):
            os.link(newest / name.format(1), newest / name.format(rank))
    aged(run)
    for name in (states[1].format(0), states[0].format(500), "rng_state_998.pth"):
        (newest / name).rename(tmp_path / "away")
        found = [j.verdict for j in judge(scan(str(run)), quiet=0)][-1]
        assert found.state == "incomplete" and [f.file for f in found.findings] == [name]
        (tmp_path / "away").rename(newest / name)
    assert [j.verdict.resumable for j in judge(scan(str(run)), quiet=0)] == [True, True]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("fsdp2-sharded", "checkpoint-4/rng_state_1.pth"),
        ("fsdp2-sharded", "checkpoint-4/optimizer_0/__1_0.distcp"),
        ("deepspeed-zero2", "checkpoint-4/rng_state_1.pth"),
        ("deepspeed-zero2", "checkpoint-4/global_step4/zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("deepspeed-zero3", "checkpoint-4/global_step4/zero_pp_rank_1_mp_rank_00_model_states.pt"),
        ("deepspeed-zero1", "checkpoint-4/global_step4/mp_rank_00_model_states.pt"),
        ("accelerate-deepspeed", "checkpoints/checkpoint_1/pytorch_model/zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("dcp", "step-4/__1_0.distcp"),
        ("dcp", "step-4/.metadata"),
        ("lightning-sharded", "checkpoints/epoch=1-step=6.ckpt/__1_0.distcp"),
        ("lightning-sharded", "checkpoints/epoch=1-step=6.ckpt/meta.pt"),
        ("sentence-transformers-router", "checkpoint-4/document_0_Transformer/model.safetensors"),
    ],
)
def test_one_file_less_is_incomplete_and_a_resume_gets_the_one_before(tmp_path: Path, case: str, name: str) -> None:
    copied(case, tmp_path / "made")
    path = tmp_path / "made" / name
    path.unlink()
    aged(tmp_path / "made")
    states = {j.checkpoint.name: j.verdict for j in ckptkit.verify(str(tmp_path / "made"))}
    torn = [n for n in states if f"/{n}/" in f"/{name}"]
    assert [states[n].state for n in torn] == ["incomplete"], states[torn[0]].findings


def test_gathered_weights_without_fsdps_own_are_weights_alone(tmp_path: Path) -> None:
    run = copied("fsdp2-full", tmp_path / "made")
    (run / "checkpoint-4/pytorch_model_fsdp.bin").unlink()
    found = verdict(run / "checkpoint-4")
    assert (found.state, found.resumable) == ("intact", False)
    assert ckptkit.latest(str(run)).path.endswith("checkpoint-2")


@pytest.mark.parametrize("kept", [0, 100])
def test_random_states_of_another_rank_that_are_cut_are_incomplete(tmp_path: Path, kept: int) -> None:
    run = copied("accelerate-2ranks", tmp_path / "made")
    states = run / "checkpoint_1/random_states_1.pkl"
    states.write_bytes(states.read_bytes()[:kept])
    aged(run)
    assert verdict(run / "checkpoint_1").state == "incomplete"
    assert ckptkit.latest(str(run)).path.endswith("checkpoint_0")


def test_a_parent_of_runs_names_them(tmp_path: Path) -> None:
    copied("accelerate-own", tmp_path / "made")
    with pytest.raises(NoSuchRun, match="holds no checkpoint itself, but 1 run below it: checkpoints"):
        ckptkit.latest(str(tmp_path / "made"))


# --- what the save before it had --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "name"),
    [("accelerate-2ranks", "random_states_1.pkl"), ("accelerate-own", "custom_checkpoint_0.pkl"),
     ("accelerate-own", "scheduler.bin"), ("accelerate-fsdp2", "random_states_1.pkl")],
)  # fmt: skip
def test_of_accelerate_one_file_less_is_unknown_until_the_next_save_lacks_it_too(
    tmp_path: Path, case: str, name: str
) -> None:
    run = copied(case, tmp_path / "made")
    (run / "checkpoint_1" / name).unlink()
    found = verdict(run / "checkpoint_1")
    assert (found.state, found.findings[0].code) == ("unknown", "fewer-files")
    assert ckptkit.latest(str(run)).path.endswith("checkpoint_0")
    assert present(prune(run).outcome).deleted == ()
    shutil.copytree(run / "checkpoint_1", run / "checkpoint_2")
    aged(run)
    states = {j.checkpoint.name: j.verdict.state for j in ckptkit.verify(str(run))}
    assert states == {"checkpoint_0": "intact", "checkpoint_1": "intact", "checkpoint_2": "intact"}


def test_a_bystander_named_latest_in_one_of_accelerate_decides_nothing(tmp_path: Path) -> None:
    run = copied("accelerate-own", tmp_path / "made")
    (run / "checkpoint_1/latest").write_text("checkpoint_0")
    (run / "checkpoint_1/best_model").mkdir()
    (run / "checkpoint_1/best_model/model.safetensors").write_bytes(b"cut")
    aged(run)
    assert verdict(run / "checkpoint_1").resumable


# --- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
def test_a_shard_that_is_cut_is_incomplete(tmp_path: Path, kept: int) -> None:
    run = copied("dcp", tmp_path / "made")
    shard = run / "step-4/__1_0.distcp"
    shard.write_bytes(shard.read_bytes()[:kept])
    aged(run)
    assert verdict(run / "step-4").state == "incomplete"
    assert ckptkit.latest(str(run)).path.endswith("step-2")


def test_a_shard_with_a_tail_of_zeros_and_one_of_zeros_are_incomplete(tmp_path: Path) -> None:
    for at in (0, 4096):
        run = copied("dcp", tmp_path / f"made{at}")
        shard = run / "step-4/__1_0.distcp"
        shard.write_bytes(shard.read_bytes()[:at].ljust(shard.stat().st_size, b"\0"))
        aged(run)
        assert verdict(run / "step-4").state == "incomplete"


def test_a_bit_in_a_shard_is_seen_at_full_and_not_before(tmp_path: Path) -> None:
    run = copied("dcp", tmp_path / "made")
    shard = run / "step-4/__0_0.distcp"
    raw = bytearray(shard.read_bytes())
    at = raw.find(b"/data/0") + 200
    raw[at] ^= 1
    shard.write_bytes(raw)
    aged(run)
    assert verdict(run / "step-4").state == "intact"
    (judged,) = verify(str(run / "step-4"), level="full")
    assert judged.verdict.state == "corrupt" and judged.verdict.findings[0].file == "__0_0.distcp"


def test_newer_shards_under_an_old_index_are_unknown_so_nobody_resumes_from_them_and_nobody_deletes_them(
    tmp_path: Path,
) -> None:
    """As a save into a directory that holds one leaves it, killed before its own .metadata; or as `touch` does."""
    run = tmp_path / "run"
    made = copied("dcp", tmp_path / "made")
    for step in ("step-2", "step-4"):
        (run / step).mkdir(parents=True)
        for name in ("__0_0.distcp", "__1_0.distcp", ".metadata"):
            shutil.copyfile(made / step / name, run / step / name)
    time.sleep(0.05)
    shutil.copyfile(made / "step-2/__0_0.distcp", run / "step-4/__0_0.distcp")
    (older, newer) = judge(scan(str(run)), quiet=0)
    assert older.verdict.intact and newer.verdict.state == "unknown"
    assert [f.code for f in newer.verdict.findings] == ["perhaps-mixed"]
    assert os.path.basename(ckptkit.latest(str(run)).path) == "step-2"
    assert present(prune(run).outcome).deleted == ()


def test_a_shard_of_another_step_laid_into_a_copy_is_unknown(tmp_path: Path) -> None:
    run = copied("dcp", tmp_path / "made")
    shutil.copyfile(run / "step-4/__0_0.distcp", run / "step-2/__0_0.distcp")
    states = {j.checkpoint.name: j.verdict.state for j in judge(scan(str(run)), quiet=0)}
    assert states == {"step-2": "unknown", "step-4": "intact"}


def test_a_shard_of_another_size_than_its_index_says_is_corrupt(tmp_path: Path) -> None:
    run = copied("dcp", tmp_path / "made")
    shutil.copy(copied("dcp-1rank", tmp_path / "other") / "step-4/__0_0.distcp", run / "step-4/__0_0.distcp")
    aged(run)
    found = verdict(run / "step-4")
    assert (found.state, found.findings[0].code) == ("corrupt", "of-another-save")


@pytest.mark.parametrize("case", ["dcp", "fsdp2-sharded", "lightning-sharded"])
@pytest.mark.parametrize("copy", [shutil.copyfile, shutil.copy2])
def test_a_copy_with_or_without_its_times_in_any_order_is_as_intact(tmp_path: Path, case: str, copy: Any) -> None:
    made = copied(case, tmp_path / "made")
    orders: tuple[Callable[[Iterable[Path]], list[Path]], ...] = (sorted, partial(sorted, reverse=True))
    for number, order in enumerate(orders):
        to = tmp_path / f"copy{number}"
        for path in order(made.rglob("*")):
            if path.is_file():
                target = to / path.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy(path, target)
                time.sleep(0.01)
        assert {j.verdict.state for j in judge(scan(str(to)), quiet=0)} == {"intact"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 500, b"{}", pickle.dumps({"storage_data": {}}), b"\x80\x04.", b"cos\nsystem\n(S'true'\ntR."],
)
def test_an_index_that_is_none_is_never_intact(tmp_path: Path, content: bytes) -> None:
    run = copied("dcp", tmp_path / "made")
    (run / "step-4/.metadata").write_bytes(content)
    aged(run)
    assert verdict(run / "step-4").state in ("incomplete", "corrupt")
    assert ckptkit.latest(str(run)).path.endswith("step-2")


def test_an_index_that_names_a_program_is_refused(tmp_path: Path) -> None:
    run = copied("dcp", tmp_path / "made")
    raw = (run / "step-4/.metadata").read_bytes()
    (run / "step-4/.metadata").write_bytes(raw[:2] + b"cos\nsystem\n0" + raw[2:])
    aged(run)
    found = verdict(run / "step-4")
    assert found.state == "intact" and found.refused
    assert ckptkit.latest(str(run)).path.endswith("step-2")


@pytest.mark.parametrize("case", ["deepspeed-zero1", "deepspeed-zero2", "deepspeed-zero3", "accelerate-deepspeed"])
def test_deepspeed_without_the_optimizers_states_is_weights_alone(tmp_path: Path, case: str) -> None:
    run = copied(case, tmp_path / "made")
    newest = sorted(run.iterdir())[-1]
    for path in newest.rglob("*optim_states.pt"):
        path.unlink()
    found = verdict(newest)
    assert (found.state, found.resumable) == ("intact", False)


@pytest.mark.parametrize("case", ["dcp", "lightning-single"])
def test_of_two_runs_in_one_directory_the_newest_by_time_stays(tmp_path: Path, case: str) -> None:
    run = copied(case, tmp_path / "made")
    old, new = ("step-4", "step-2") if case == "dcp" else ("epoch=1-step=6.ckpt", "epoch=0-step=2.ckpt")
    for path in (run / new, *(run / new).rglob("*")):
        os.utime(path, (path.stat().st_mtime + 1800,) * 2)
    assert present(prune(run).outcome).deleted == () and (run / old).exists()


# --- halves of two ----------------------------------------------------------------------------------------------------


def test_half_of_it_from_another_layout_is_unknown_and_stays(tmp_path: Path) -> None:
    run = copied("fsdp2-sharded", tmp_path / "made")
    other = copied("deepspeed-zero2", tmp_path / "other")
    shutil.copytree(other / "checkpoint-4/global_step4", run / "checkpoint-4/global_step4")
    aged(run)
    found = verdict(run / "checkpoint-4")
    assert (found.state, found.findings[0].code) == ("unknown", "foreign-layout")
    assert present(prune(run).outcome).deleted == ()
    assert ckptkit.latest(str(run)).path.endswith("checkpoint-2")


@pytest.mark.parametrize("tag", ["", "global_step9", "../checkpoint-2/global_step2", "/", "."])
def test_deepspeeds_latest_that_names_no_directory_of_it_is_never_intact(tmp_path: Path, tag: str) -> None:
    run = copied("deepspeed-zero2", tmp_path / "made")
    (run / "checkpoint-4/latest").write_text(tag)
    aged(run)
    assert verdict(run / "checkpoint-4").state in ("incomplete", "corrupt")
    assert ckptkit.latest(str(run)).path.endswith("checkpoint-2")


def test_a_ckpt_of_another_program_is_unknown(tmp_path: Path) -> None:
    run = copied("lightning-single", tmp_path / "made")
    (run / "sd-v1-4.ckpt").write_bytes(b"model weights of somebody, " * 1000)
    shutil.copy(Path(copied("accelerate-own", tmp_path / "third")) / "checkpoint_0/optimizer.bin", run / "x.ckpt")
    aged(run)
    states = {j.checkpoint.name: j.verdict.state for j in ckptkit.verify(str(run))}
    assert states["x.ckpt"] == "unknown" and states["sd-v1-4.ckpt"] == "unknown"
    prune(run)
    assert {"x.ckpt", "sd-v1-4.ckpt"} <= set(os.listdir(run))
