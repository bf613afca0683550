"""bin/strip killed, refused, on a full disk: never called resumable or corrupt wrongly, and finished by the next."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.ops.latest import latest
from ckptkit.ops.pin import pin
from ckptkit.ops.read import verify
from ckptkit.ops.strip import strip as ops_strip
from ckptkit.system import lock
from ckptkit.verify import manifest
from tests.support.runs import CHECKOUT, make_run, names, restep, tree
from tests.support.stripped import CONTINUES, MARK, files, half_strip, resumable, with_manifests
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

THREE = {100: "intact", 200: "intact", 300: "intact"}
CHANGING = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "write", "fsync", "utimensat")


def killed_at(call: str, number: int, run: str) -> bool:
    """Whether a strip was killed at its `number`th call of that name on anything in the run, before it was done."""
    paths = (run, *tree(run), f"{run}/checkpoint-100/{manifest.FILE}.tmp")
    within = [word for path in paths for word in ("-P", path)]
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
    strip = (sys.executable, "-m", "ckptkit", "strip", run, "-y")
    command = ("strace", "-f", "-o", "/dev/null", *within, *inject, *strip)
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode in (0, -9, 137), done.stderr
    return done.returncode != 0


def test_killed_at_any_call_it_is_resumable_or_weights_only_and_the_next_strip_ends_the_same(
    run_of: RunOf, tmp_path: Path
) -> None:
    origin = with_manifests(run_of({100: "intact", 200: "intact"}, at=tmp_path / "origin"))
    run, seen, kills = tmp_path / "run", set(), 0
    for call in CHANGING:
        for number in range(1, 100):
            shutil.copytree(origin, run)
            killed = killed_at(call, number, str(run))
            state = resumable(run)
            assert state.keys() == {100, 200} and state[200], f"killed at {call} {number}: {state}"
            assert latest(str(run)).path == f"{run}/checkpoint-200"
            seen.add((killed, state[100], MARK in files(run, 100)))
            ops_strip(str(run), 1, quiet=0)
            assert files(run, 100) == files(origin, 100) - CONTINUES and files(run, 200) == files(origin, 200)
            assert resumable(run) == {100: False, 200: True}
            shutil.rmtree(run)
            kills += killed
            if not killed:
                break
    assert seen == {(True, True, False), (True, False, True), (True, False, False), (False, False, False)}
    assert kills >= 10, "before each of its calls; after each is before the next"


def test_prune_finishes_what_a_killed_strip_left_and_says_so_before(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = with_manifests(run_of({200: "intact", 300: "intact"}))
    at = os.stat(f"{run}/checkpoint-200/trainer_state.json").st_mtime
    half_strip(run, 200)
    assert resumable(run) == {200: False, 300: True}
    told = ckptkit("prune", run, "--dry-run")
    assert f"checkpoint-200/{MARK}" in told.out and "optimizer.pt" in files(run, 200)
    called = ckptkit("prune", run)
    assert called.code == 0, called.err
    assert not files(run, 200) & {*CONTINUES, MARK}
    assert resumable(run) == {200: False, 300: True}
    assert os.stat(f"{run}/checkpoint-200").st_mtime == pytest.approx(at, abs=1)
    assert f"{run}/checkpoint-200" in ckptkit("diskreport", run, "--audit").out
    assert "nothing to delete" in ckptkit("prune", run).out


def test_one_that_prune_deletes_is_not_finished_first(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    half_strip(run, 100)
    document = ckptkit("prune", run, "--json").json["runs"][0]
    assert document["leftovers"] == [] and names(run) == ["checkpoint-200", "checkpoint-300"]


def test_a_pinned_one_stays_half_stripped(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    half_strip(run, 200)
    pin(f"{run}/checkpoint-200")
    before = files(run, 200)
    assert ckptkit("strip", run, "-y").code == 0 and ckptkit("prune", run).code == 0
    assert files(run, 200) == before


def test_a_save_over_a_half_stripped_one_is_resumable_again_and_none_of_it_goes(
    run_of: RunOf, ckptkit: Ckptkit, real: str
) -> None:
    run = run_of({200: "intact", 300: "intact"})
    half_strip(run, 200)
    shutil.copytree(f"{real}/lora/checkpoint-100", f"{run}/checkpoint-200", dirs_exist_ok=True)
    restep(f"{run}/checkpoint-200", 200)
    assert resumable(run) == {200: True, 300: True}
    before = files(run, 200)
    assert ckptkit("prune", run).code == 0 and files(run, 200) == before
    assert ckptkit("strip", f"{run}/checkpoint-200").code == 0
    assert not {name for name in files(run, 200) if name in CONTINUES or name.startswith(".ckptkit")}


def test_a_save_that_comes_to_a_half_stripped_one_right_now_loses_nothing(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({200: "intact", 300: "intact"})
    half_strip(run, 200)
    os.utime(f"{run}/checkpoint-200/optimizer.pt")
    before = files(run, 200)
    assert ckptkit("strip", run).code == 0 and ckptkit("prune", run).code == 0
    refused = ckptkit("strip", f"{run}/checkpoint-200")
    assert refused.code == 2 and "somebody may be saving there again" in refused.err and files(run, 200) == before


@pytest.mark.mounts
def test_what_resists_is_told_and_what_is_left_is_called_weights_only(
    mount: Mount, real: str, ckptkit: Ckptkit
) -> None:
    run = make_run(real, os.path.join(mount("ext4"), "run"), {100: "intact", 200: "intact"})
    stubborn = f"{run}/checkpoint-100/rng_state.pth"
    subprocess.run(["chattr", "+i", stubborn], check=True)
    called = ckptkit("strip", run, "-y")
    assert called.code == 3 and f"can't delete {stubborn}: Operation not permitted" in called.err
    assert resumable(run) == {100: False, 200: True}
    assert "optimizer.pt" not in files(run, 100), "the large one is gone all the same"
    subprocess.run(["chattr", "-i", stubborn], check=True)
    assert ckptkit("strip", run).code == 0
    assert not files(run, 100) & {*CONTINUES, MARK}


@pytest.mark.mounts
def test_where_nothing_can_be_removed_it_is_resumable_as_before(mount: Mount, real: str, ckptkit: Ckptkit) -> None:
    run = make_run(real, os.path.join(mount("ext4"), "run"), {100: "intact", 200: "intact"})
    before = files(run, 100)
    for stubborn in ("optimizer.pt", "rng_state.pth"):
        subprocess.run(["chattr", "+i", f"{run}/checkpoint-100/{stubborn}"], check=True)
    called = ckptkit("strip", run, "-y")
    assert called.code == 3 and resumable(run) == {100: True, 200: True} and files(run, 100) == before


@pytest.mark.mounts
@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_at_0_bytes_it_frees_what_it_said(
    mount: Mount, real: str, fill: Fill, ckptkit: Ckptkit, filesystem: str
) -> None:
    point = mount(filesystem, options=("-m", "0") if filesystem == "ext4" else ())
    run = with_manifests(make_run(real, os.path.join(point, "run"), THREE, "full"))
    fill(point)
    assert os.statvfs(point).f_bavail == 0
    here = {"TMPDIR": point, "HOME": point, "CKPTKIT_STATE": f"{point}/state"}
    called = ckptkit("strip", run, "-y", "--json", env=here)
    assert called.code == 0, called.out + called.err
    (done,) = called.json["runs"]
    free = os.statvfs(point).f_bavail * os.statvfs(point).f_frsize
    assert done["freed_bytes"] >= 0.9 * done["expected_freed_bytes"] > 0 and free > 0
    assert resumable(run) == {100: False, 200: False, 300: True}
    assert not (files(run, 100) | files(run, 200)) & {*CONTINUES, MARK}


@pytest.mark.mounts
def test_a_manifest_that_has_no_room_leaves_the_mark_and_the_right_verdict(
    mount: Mount, real: str, fill: Fill, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    point = mount("tmpfs")
    run = with_manifests(make_run(real, os.path.join(point, "run"), {100: "intact", 200: "intact"}))
    os.mkdir(f"{point}/links")
    for name in CONTINUES:  # so that nothing of it comes back
        os.link(f"{run}/checkpoint-100/{name}", f"{point}/links/{name}")
    fill(point)
    called = ckptkit("strip", run, "-y")
    assert called.code == 3 and f"{MARK}: the manifest can't be rewritten now: No space left" in called.err
    assert files(run, 100) & {*CONTINUES, MARK} == {MARK}
    assert {j.verdict.state for j in verify(run, level="full")} == {"intact"}
    assert resumable(run) == {100: False, 200: True}
    os.unlink(f"{point}/ballast")
    assert ckptkit("strip", run).code == 0 and MARK not in files(run, 100)
    assert resumable(run) == {100: False, 200: True}


def test_hard_links_to_elsewhere_keep_their_bytes_and_are_not_promised(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(THREE)
    before = ops_strip(run, 1, dry_run=True).plan.expected_freed_bytes
    os.link(f"{run}/checkpoint-100/optimizer.pt", tmp_path / "kept.pt")
    kept = (tmp_path / "kept.pt").read_bytes()
    done = ops_strip(run, 1)
    assert done.plan.expected_freed_bytes < before and (tmp_path / "kept.pt").read_bytes() == kept


def test_a_manifest_is_not_written_while_a_strip_holds_the_run(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    path = Path(run, "checkpoint-100", manifest.FILE)
    code = "import sys; from ckptkit.ops import read, verify; (one,) = read.verify(sys.argv[1], level='full'); "
    command = [sys.executable, "-c", f"{code}print(1, flush=True); verify.write_manifest(one)", run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT) as writer:
        with lock.hold(run):
            assert present(writer.stdout).readline() == "1\n"
            shutil.move(f"{run}/checkpoint-100/optimizer.pt", f"{run}/optimizer.pt")
        assert "checkpoint-100: no manifest written: No such file" in writer.communicate()[1]
    assert not path.exists()


@pytest.mark.mounts
def test_another_file_system_in_a_checkpoints_place_is_left_alone(
    mount: Mount, run_of: RunOf, ckptkit: Ckptkit
) -> None:
    run = run_of(THREE)
    point = mount("tmpfs", at=f"{run}/checkpoint-100")
    shutil.copytree(f"{run}/checkpoint-200", point, dirs_exist_ok=True)
    restep(point, 100)
    before = files(run, 100)
    called = ckptkit("strip", run, "-y")
    assert called.code == 3 and "another file system is mounted here" in called.err and files(run, 100) == before


def test_a_floor_that_broke_since_the_plan_saves_the_others(run_of: RunOf) -> None:
    run = run_of(THREE)
    before = {step: files(run, step) for step in (100, 200)}

    def breaks(plan: object) -> None:
        os.truncate(f"{run}/checkpoint-300/optimizer.pt", 100)

    with pytest.raises(
        NoIntactCheckpoint, match=r"checkpoint-300 is not intact any more \(optimizer.pt .*\): nothing was deleted"
    ):
        ops_strip(run, 1, announce=breaks)
    assert {step: files(run, step) for step in (100, 200)} == before


def test_a_file_written_since_the_plan_is_not_what_was_judged(run_of: RunOf) -> None:
    run = run_of(THREE)
    done = ops_strip(run, 1, announce=lambda plan: os.utime(f"{run}/checkpoint-100/optimizer.pt"))
    assert [os.path.basename(f.path) for f in present(done.outcome).failures] == ["checkpoint-100"]
    assert resumable(run) == {100: True, 200: False, 300: True}
