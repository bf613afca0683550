"""The only room that removes, on file systems that resist."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from ckptkit.ops.latest import latest
from ckptkit.ops.prune import prune
from ckptkit.ops.read import judge, plan, scan
from ckptkit.policy.keep import Range, Rules
from tests.support.runs import make_run, names, tree
from tests.support.typed import Mount, RunOf, present

THREE = {100: "intact", 200: "intact", 300: "intact"}


def test_no_symlink_is_followed_out_of_the_run(run_of: RunOf, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    run = run_of(THREE)
    (Path(run) / "checkpoint-100" / "link").symlink_to(outside)
    (Path(run) / "checkpoint-100" / "inside").mkdir()
    (Path(run) / "checkpoint-100" / "inside" / "link").symlink_to(outside / "precious")
    assert present(prune(run).outcome).deleted == (f"{run}/checkpoint-100",)
    assert (outside / "precious").read_text() == "kept"


@pytest.mark.parametrize("target", ["checkpoint-200", "/tmp", "nowhere"])
def test_checkpoint_that_is_a_symlink_is_unknown_and_stays(run_of: RunOf, target: str) -> None:
    run = run_of({200: "intact", 300: "intact"})
    os.symlink(target, f"{run}/checkpoint-100")
    assert [d.verdict.state for d in plan(run, Rules(Range(1, 1))).decisions] == ["unknown", "intact", "intact"]
    prune(run, Rules(Range(1, 1)))
    stands_for = [target] if target == "checkpoint-200" else []
    assert names(run) == ["checkpoint-100", *stands_for, "checkpoint-300"]
    assert os.path.basename(latest(run).path) == "checkpoint-300"


def test_hard_links_to_elsewhere_keep_their_bytes_and_are_not_promised(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(THREE)
    before = plan(run).expected_freed_bytes
    os.link(f"{run}/checkpoint-100/optimizer.pt", tmp_path / "kept.pt")
    assert plan(run).expected_freed_bytes < before
    prune(run)
    assert (tmp_path / "kept.pt").exists()


@pytest.mark.mounts
def test_mount_inside_is_never_entered_and_the_checkpoint_stays_whole(run_of: RunOf, mount: Mount) -> None:
    run = run_of(THREE)
    point = mount("tmpfs", at=f"{run}/checkpoint-100/mounted")
    Path(point, "precious").write_text("kept")
    before = tree(run)
    outcome = present(prune(run).outcome)
    assert "another file system is mounted inside" in outcome.failures[0].error
    assert tree(run) == before


@pytest.mark.mounts
def test_immutable_file_is_told_and_what_is_left_of_it_looks_dead(mount: Mount, real: str) -> None:
    run = make_run(real, os.path.join(mount("ext4"), "run"), THREE)
    subprocess.run(["chattr", "+i", f"{run}/checkpoint-100/optimizer.pt"], check=True)
    outcome = present(prune(run).outcome)
    assert outcome.failures[0].path.endswith(".ckptkit-deleting-checkpoint-100/optimizer.pt")
    assert outcome.failures[0].error == "Operation not permitted (immutable or append-only)"
    assert names(run) == ["checkpoint-200", "checkpoint-300", ".ckptkit-deleting-checkpoint-100"]
    subprocess.run(shlex.split(outcome.failures[0].command), check=True)
    assert present(prune(run).outcome).failures == ()
    assert names(run) == ["checkpoint-200", "checkpoint-300"]


@pytest.mark.mounts
def test_directory_that_refuses_gets_its_name_back_whole(mount: Mount, real: str) -> None:
    run = make_run(real, os.path.join(mount("ext4"), "run"), THREE)
    subprocess.run(["chattr", "+a", f"{run}/checkpoint-100"], check=True)  # append-only: nothing in it can go
    try:
        outcome = present(prune(run).outcome)
    finally:
        subprocess.run(["chattr", "-a", f"{run}/checkpoint-100"], check=True)
    assert outcome.failures[0].command == f"chattr -ia {run}/checkpoint-100"
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert all(j.verdict.intact for j in judge(scan(run)))


@pytest.mark.mounts
def test_one_whose_every_file_refuses_gets_its_name_back_whole(mount: Mount, real: str) -> None:
    """Its directory can be renamed, and nothing in it removed."""
    run = make_run(real, os.path.join(mount("ext4"), "run"), THREE)
    files = [str(path) for path in Path(run, "checkpoint-100").iterdir()]
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        outcome = present(prune(run).outcome)
    finally:
        subprocess.run(["chattr", "-R", "-f", "-i", run], check=False)
    assert outcome.failures[0].path.startswith(f"{run}/checkpoint-100/") and "more)" in outcome.failures[0].error
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert all(j.verdict.intact for j in judge(scan(run)))


@pytest.mark.mounts
def test_read_only_volume_deletes_nothing_and_says_so(mount: Mount, real: str) -> None:
    point = mount("ext4")
    run = make_run(real, os.path.join(point, "run"), THREE)
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    assert "Read-only file system" in present(prune(run).outcome).failures[0].error


@pytest.mark.mounts
def test_bytes_that_a_process_keeps_are_told_with_its_name(real: str, mount: Mount) -> None:
    """Held open under another name: the plan can't see it, so the volume's own word counts."""
    run = make_run(real, f"{mount('tmpfs', 'size=40m')}/run", THREE)
    holder = open(f"{run}/checkpoint-100/optimizer.pt", "rb")  # noqa: SIM115 - closed below, after the prune
    held = os.fstat(holder.fileno()).st_size

    from ckptkit.ops import read

    original = read.in_use
    read.in_use = lambda run: {}
    try:
        expected = plan(run).expected_freed_bytes
        outcome = present(prune(run).outcome)
    finally:
        read.in_use = original
        holder.close()
    assert 0 < outcome.freed_bytes < expected - held
    assert any(f"(pid {os.getpid()}) keeps it open" in note for note in outcome.notes)


@pytest.mark.mounts
@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs"])
def test_freed_bytes_on_each_file_system(filesystem: str, real: str, tmp_path: Path) -> None:
    if filesystem != "ext4" and not any(Path(p, f"mkfs.{filesystem}").exists() for p in ("/usr/sbin", "/sbin")):
        pytest.fail(f"mkfs.{filesystem} is missing: apt-get install {filesystem}progs")
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    subprocess.run(["truncate", "-s", "400M", image], check=True)
    subprocess.run([f"mkfs.{filesystem}", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        run = make_run(real, str(point / "run"), THREE, kind="full")
        os.sync()
        pruned = prune(run)
        assert (
            present(pruned.outcome).failures == ()
            and present(pruned.outcome).freed_bytes >= 0.9 * pruned.plan.expected_freed_bytes
        )
    finally:
        subprocess.run(["umount", "-l", point], check=True)
