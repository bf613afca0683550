"""bin/recover: a dead run, step by step, to the line that resumes; again and again; at 0 bytes; and what killed it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.runs import CHECKOUT, TYPED, make_run, names, tree
from tests.support.typed import Ckptkit, Fill, Mount, RunOf

DEAD = {100: "intact", 200: "intact", 300: "torn"}


@pytest.mark.mounts
def test_a_dead_run_is_brought_to_where_it_can_go_on(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    run = run_of(DEAD, at=f"{calm}/run")
    called = ckptkit("recover", run, "--keep-last", "1", "-y")
    assert called.code == 0, called.out + called.err
    assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-200"
    assert names(run) == ["checkpoint-200"]
    assert "deleted checkpoint-300 (torn)" in called.out and "checkpoint-100" in called.out


def test_every_step_is_told_with_v(run_of: RunOf, ckptkit: Ckptkit) -> None:
    called = ckptkit("recover", run_of(DEAD), "-v")
    assert re.findall(r"(?m)^([1-5])\. ", called.out) == ["1", "2", "3", "4", "5"]
    assert called.out.index("delete  checkpoint-300") < called.out.index("deleted checkpoint-300 (torn)")


@pytest.mark.mounts
def test_a_second_call_finds_nothing_left_to_do(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    run = run_of(DEAD, at=f"{calm}/run")
    ckptkit("recover", run)
    before = tree(run)
    again = ckptkit("recover", run)
    assert again.code == 0 and "Nothing to free" in again.out
    assert again.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-200"
    after = tree(run)
    assert {path: inode for path, (inode, _) in after.items()} == {path: inode for path, (inode, _) in before.items()}


def test_a_dry_run_touches_nothing_and_says_the_same_steps(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(DEAD)
    before = tree(run)
    called = ckptkit("recover", run, "--dry-run", "-v")
    assert tree(run) == before
    assert "delete  checkpoint-300" in called.out and len(re.findall(r"(?m)^[1-5]\. ", called.out)) == 5


def test_a_checkpoint_that_only_reading_it_whole_shows_to_be_corrupt_is_passed_over(
    run_of: RunOf, ckptkit: Ckptkit
) -> None:
    run = run_of({100: "intact", 200: "intact"})
    path = Path(run, "checkpoint-200", "optimizer.pt")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    called = ckptkit("recover", run)
    assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-100"
    assert "skipped" in called.err and "checkpoint-200" in called.err


def test_without_an_intact_one_nothing_is_deleted_and_exit_is_4(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "torn", 200: "torn"})
    called = ckptkit("recover", run)
    assert called.code == 4 and names(run) == ["checkpoint-100", "checkpoint-200"]
    assert "no intact checkpoint" in called.err and "--weights-only-ok" in called.err


def test_json_is_one_document(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(DEAD)
    document = ckptkit("recover", run, "--json").json
    assert document["schema"] == "ckptkit.recover/1" and document["latest"] == f"{run}/checkpoint-200"
    assert document["resume"] == f"{TYPED} {run}/checkpoint-200"
    assert {check["code"] for check in document["checks"]} >= {"volume", "headroom", "resume", "write"}


@pytest.mark.mounts
def test_it_works_at_0_bytes_and_frees_them(real: str, mount: Mount, fill: Fill, ckptkit: Ckptkit) -> None:
    point = mount("tmpfs", "size=3m")
    run = make_run(real, os.path.join(point, "run"), DEAD)
    fill(point)
    assert os.statvfs(point).f_bavail == 0
    called = ckptkit("recover", run, env={"TMPDIR": point, "HOME": point, "CKPTKIT_STATE": f"{point}/state"})
    assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-200", called.err
    assert names(run) == ["checkpoint-100", "checkpoint-200"] and os.statvfs(point).f_bavail > 0


def test_a_log_names_the_cause_and_what_to_type(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("{'loss': 1.9}\n" * 9 + "SafetensorError: I/O error: No space left on device (os error 28)\n")
    called = ckptkit("recover", "--log", log)
    assert called.code == 0 and called.out.startswith("full-disk: The disk was full")
    assert "RUN" not in called.out and "call recover again with the training's output_dir" in called.out
    assert "The disk was full" in ckptkit("recover", run_of(DEAD), "--log", log).out


def test_a_log_without_a_known_cause_is_quoted(ckptkit: Ckptkit, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("Traceback\nKeyError: 'momentum'\n")
    assert "its last error: KeyError: 'momentum'" in ckptkit("recover", "--log", log).out
    assert ckptkit("recover", "--log", tmp_path / "none").code == 10
    assert ckptkit("recover").code == 2


def test_the_script_says_what_it_is_for() -> None:
    done = subprocess.run([CHECKOUT / "bin/recover", "--help"], capture_output=True, text=True, check=True)
    assert "what happened, what was freed" in " ".join(done.stdout.split())
