"""bin/move to another box: a real sshd, the real rsync; names of any kind, broken-off copies, what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.ops.read import verify
from ckptkit.runs import discover, pins
from ckptkit.store import ssh as remote
from tests.layouts.made import CASES, copied
from tests.support.runs import names, tree
from tests.support.sshd import sshd
from tests.support.typed import Called, Ckptkit, Mount, RunOf

THREE = {100: "intact", 200: "intact", 300: "intact"}

pytestmark = pytest.mark.mounts  # this box is the other one too: only another volume of it is another place


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    with sshd(tmp_path / "a box's sshd") as command:
        yield command


@pytest.fixture
def volume(mount: Mount) -> str:
    return mount("ext4", megabytes=24)


@pytest.fixture
def move(ckptkit: Ckptkit, ssh: str) -> Callable[..., Called]:
    """move(run, path, ...) types it."""

    def call(run: str, path: str, *more: Any, **options: Any) -> Called:
        return ckptkit("move", run, f"ssh:127.0.0.1:{path}", "--ssh-command", ssh, *more, **options)

    return call


def content(path: str) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def times(path: str) -> dict[str, int]:
    return {str(p.relative_to(path)): p.stat().st_mtime_ns for p in (Path(path), *Path(path).rglob("*"))}


def intact(run: str) -> set[str]:
    """Names of all that are intact, every byte of them read."""
    there = discover.scan(run).checkpoints
    return {j.checkpoint.name for j in verify(run, level="full") if j.verdict.intact} if there else set()


def test_the_newest_and_what_the_rules_keep_are_there_and_the_line_resumes_there(
    run_of: RunOf, move: Callable[..., Called], volume: str
) -> None:
    run = run_of(THREE | {400: "torn"})
    os.chmod(f"{run}/checkpoint-300/optimizer.pt", 0o600)
    Path(run, "ckptkit.toml").write_text("keep_last = 2\n")
    before = tree(run)
    called = move(run, f"{volume}/there/run")
    assert called.code == 0 and called.err == "", called
    copy = f"{volume}/there/run"
    assert names(copy) == ["ckptkit.toml", "checkpoint-200", "checkpoint-300"]
    for name in ("checkpoint-200", "checkpoint-300"):
        assert content(f"{copy}/{name}") == content(f"{run}/{name}")
        assert times(f"{copy}/{name}") == times(f"{run}/{name}")
    assert os.stat(f"{copy}/checkpoint-300/optimizer.pt").st_mode & 0o777 == 0o600
    assert f"resume on 127.0.0.1 with: --resume_from_checkpoint {copy}/checkpoint-300\n" in called.out
    assert "rsync --checksum" in called.out and called.out.index("checkpoint-300 is") < called.out.index("-200 is")
    assert tree(run) == before


def test_a_second_call_copies_nothing_and_says_the_same(
    run_of: RunOf, move: Callable[..., Called], volume: str
) -> None:
    run = run_of(THREE)
    assert move(run, f"{volume}/run").code == 0
    before = tree(volume)
    again = move(run, f"{volume}/run", "--json").json
    assert [(i["name"], i["action"], i["proved"]) for i in again["checkpoints"][:2]] == [
        ("checkpoint-300", "compare", True), ("checkpoint-200", "compare", True)
    ]  # fmt: skip
    assert again["resume"].endswith("checkpoint-300") and tree(volume) == before


def test_dry_run_touches_neither_side(run_of: RunOf, move: Callable[..., Called], volume: str) -> None:
    run = run_of(THREE)
    before = tree(run), tree(volume)
    called = move(run, f"{volume}/run", "-n")
    assert called.code == 0 and "would copy 2 checkpoints" in called.out
    assert (tree(run), tree(volume)) == before


@pytest.mark.parametrize("name", ["a run", "it's", 'a "run"', "$HOME `x` *", "new\nline", "-n", "Läufe"])
def test_any_name_survives(run_of: RunOf, move: Callable[..., Called], volume: str, tmp_path: Path, name: str) -> None:
    run = run_of({100: "intact", 200: "intact"}, at=tmp_path / f"from {name}")
    (Path(run, "checkpoint-200") / "a 'file' of $mine").write_text("mine")
    assert move(run, f"{volume}/{name}").code == 0
    assert names(f"{volume}/{name}") == ["checkpoint-100", "checkpoint-200"]
    assert content(f"{volume}/{name}/checkpoint-200") == content(f"{run}/checkpoint-200")


def test_delete_source_deletes_what_is_proved_and_the_other_box_has_it(
    run_of: RunOf, move: Callable[..., Called], volume: str
) -> None:
    run = run_of(THREE)
    called = move(run, f"{volume}/run", "--delete-source", "--keep-every", "1")
    assert called.code == 0 and "deleted 3 checkpoints" in called.out, called
    assert names(run) == [] and {j.verdict.state for j in verify(f"{volume}/run", level="full")} == {"intact"}


def test_what_an_earlier_call_brought_there_and_is_newer_is_named_last(
    run_of: RunOf, move: Callable[..., Called], volume: str
) -> None:
    run = run_of(THREE)
    assert move(run, f"{volume}/run", "--delete-source", "--keep-last", "1").code == 0
    rest = move(run, f"{volume}/run", "--delete-source", "--keep-every", "1")
    assert rest.code == 0 and f"proved: --resume_from_checkpoint {volume}/run/checkpoint-200\n" in rest.out
    assert "checkpoint-300 lies there too, is newer, and was not compared" in rest.out
    assert rest.out.endswith(f"resume on 127.0.0.1 with: --resume_from_checkpoint {volume}/run/checkpoint-300\n")


def test_a_copy_that_was_changed_since_is_never_counted_and_the_source_stays(
    run_of: RunOf, move: Callable[..., Called], volume: str
) -> None:
    run = run_of({100: "intact", 200: "intact"})
    assert move(run, f"{volume}/run").code == 0
    flip(f"{volume}/run/checkpoint-200/optimizer.pt")
    called = move(run, f"{volume}/run", "--delete-source")
    assert called.code == 3 and "optimizer.pt differs at" in called.err
    assert "checkpoint-200" in names(run)
    fix = called.err.split("to copy it anew: ")[1].splitlines()[0]
    subprocess.run(["sh", "-c", fix], check=True)
    assert move(run, f"{volume}/run", "--delete-source").code == 0
    assert names(run) == [] and "checkpoint-200" in names(f"{volume}/run")


def flip(path: str) -> None:
    """One bit, and no time tells it."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)
        file.seek(status.st_size // 2)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_is_pinned_there_stays_pinned(
    run_of: RunOf, ckptkit: Ckptkit, move: Callable[..., Called], volume: str
) -> None:
    run = run_of(THREE)
    assert move(run, f"{volume}/run", "--keep-last", "3").code == 0
    for pinned in (f"{volume}/run/checkpoint-100", f"{run}/checkpoint-300"):
        assert ckptkit("pin", pinned).code == 0
    assert move(run, f"{volume}/run").code == 0
    assert pins.read(f"{volume}/run") == {"checkpoint-100", "checkpoint-300"}


def test_a_link_where_a_stage_would_lie_is_not_followed(
    run_of: RunOf, move: Callable[..., Called], volume: str, tmp_path: Path
) -> None:
    run, elsewhere = run_of({100: "intact"}), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("mine")
    os.makedirs(f"{volume}/run")
    os.symlink(elsewhere, f"{volume}/run/.ckptkit-moving-checkpoint-100")
    assert move(run, f"{volume}/run").code == 0
    assert os.listdir(elsewhere) == ["thesis.tex"] and not os.path.islink(f"{volume}/run/checkpoint-100")


def test_nothing_leaves_the_source_for_a_place_in_memory(run_of: RunOf, move: Callable[..., Called], calm: str) -> None:
    run = run_of({100: "intact"})
    called = move(run, f"{calm}/run", "--delete-source")
    assert called.code == 2 and "lies in memory" in called.err and names(run) == ["checkpoint-100"]
    assert move(run, f"{calm}/run").code == 0


def test_a_copy_that_broke_off_is_gone_on_with(run_of: RunOf, move: Callable[..., Called], volume: str) -> None:
    run = run_of({100: "intact"})
    stage = Path(volume, "run", ".ckptkit-moving-checkpoint-100")
    stage.mkdir(parents=True)
    (stage / "optimizer.pt").write_bytes(Path(run, "checkpoint-100/optimizer.pt").read_bytes()[:1000])
    (stage / "of another save").write_text("x")
    assert move(run, f"{volume}/run").code == 0
    assert names(f"{volume}/run") == ["checkpoint-100"]
    assert content(f"{volume}/run/checkpoint-100") == content(f"{run}/checkpoint-100")


def test_what_does_not_fit_is_told_with_what_is_missing(
    run_of: RunOf, move: Callable[..., Called], mount: Mount
) -> None:
    small = mount("tmpfs", "size=200k")
    run = run_of(THREE)
    called = move(run, f"{small}/run")
    assert called.code == 5 and "checkpoint-200 did not fit" in called.err and "are missing" in called.err
    assert names(f"{small}/run") == ["checkpoint-300"]


def test_a_full_volume_is_refused_before_anything_is_written(
    run_of: RunOf, move: Callable[..., Called], mount: Mount
) -> None:
    small = mount("tmpfs", "size=20k")
    called = move(run_of(THREE), f"{small}/run")
    assert called.code == 5 and names(small) == []


@pytest.mark.parametrize("case", ["lightning-single", "deepspeed-zero2"])
def test_checkpoints_of_other_frameworks_and_single_files_move_too(
    move: Callable[..., Called], volume: str, tmp_path: Path, case: str
) -> None:
    run = str(copied(case, tmp_path / "made"))
    called = move(run, f"{volume}/run", "--delete-source", "--keep-every", "1")
    assert called.code in (0, 3), called
    assert intact(f"{volume}/run") | intact(run) >= set(CASES[case].checkpoints)
    assert not [name for name in os.listdir(f"{volume}/run") if name.startswith(".ckptkit")]
    assert f"{volume}/run/" in called.out.splitlines()[-1]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_same_volume_by_another_name_of_this_box_is_refused(
    run_of: RunOf, move: Callable[..., Called], tmp_path: Path
) -> None:
    run = run_of(THREE)
    for path in (run, f"{tmp_path}/copy", f"{run}/inside"):
        called = move(run, path, "--delete-source")
        assert called.code == 2 and "on the same volume" in called.err and called.err.count("\n") == 1
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]


@pytest.mark.parametrize("path", ["/", "/tmp", "/root", ".", "~/"])
def test_system_directories_there_are_refused(run_of: RunOf, move: Callable[..., Called], path: str) -> None:
    called = move(run_of(THREE), path)
    assert called.code == 2 and "is a system or home directory on 127.0.0.1" in called.err


def test_a_file_there_is_refused(run_of: RunOf, move: Callable[..., Called], volume: str) -> None:
    Path(volume, "file").write_text("x")
    for path in (f"{volume}/file", f"{volume}/file/run"):
        assert move(run_of({100: "intact"}, at=f"{volume}/../r{len(path)}"), path).code == 2


@pytest.mark.parametrize("dest", ["ssh:", "ssh:box", "ssh::/run", "ssh:box:", "ssh:-oProxyCommand=x:/run"])
def test_what_names_no_box_and_path_is_one_line(run_of: RunOf, ckptkit: Ckptkit, dest: str) -> None:
    called = ckptkit("move", run_of(THREE), dest)
    assert called.code == 2 and called.err.count("\n") == 1 and "must be ssh:HOST:PATH" in called.err


def test_a_box_that_cant_be_reached_is_75_and_one_line(run_of: RunOf, ckptkit: Ckptkit) -> None:
    called = ckptkit("move", run_of(THREE), "ssh:127.0.0.1:/run/x", "--ssh-command", "ssh -p 1")
    assert called.code == 75 and called.err.count("\n") == 1 and "127.0.0.1 can't be reached" in called.err


def test_without_a_terminal_no_password_is_waited_for(
    run_of: RunOf, ckptkit: Ckptkit, ssh: str, tmp_path: Path
) -> None:
    (tmp_path / "a box's sshd" / "mine.pub").write_text("")
    called = ckptkit("move", run_of(THREE), "ssh:127.0.0.1:/run/x", "--ssh-command", ssh)
    assert called.code == 75 and "Permission denied" in called.err and called.err.count("\n") == 1
    assert "BatchMode=yes" in remote.shell("", asks=False) and "BatchMode=yes" not in remote.shell("", asks=True)


def test_rsync_that_is_missing_here_or_there_is_told_with_what_to_install(
    run_of: RunOf, ckptkit: Ckptkit, ssh: str, tmp_path: Path, volume: str
) -> None:
    run = run_of(THREE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").symlink_to("/usr/bin/ssh")
    called = ckptkit("move", run, f"ssh:127.0.0.1:{volume}/run", env={"PATH": str(tmp_path / "bin")})
    assert called.code == 2 and "fix: apt-get install -y rsync" in called.err
    for tool in ("sh", "printf", "stat", "df", "tail", "cat", "du", "cut"):
        (tmp_path / "bin" / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    with sshd(tmp_path / "bare", SetEnv=f"PATH={tmp_path}/bin") as bare:
        called = ckptkit("move", run, f"ssh:127.0.0.1:{volume}/run", "--ssh-command", bare)
    assert called.code == 2 and "rsync is not installed on 127.0.0.1; fix: ssh " in called.err


# --- kill points ------------------------------------------------------------------------------------------------------


def test_a_line_that_is_lost_while_copying_is_75_and_the_next_call_goes_on(
    run_of: RunOf, ckptkit: Ckptkit, ssh: str, volume: str, tmp_path: Path
) -> None:
    """rsync's ssh dies after so many bytes; what it brought is no checkpoint to anybody."""
    run = run_of({100: "intact", 200: "intact"})
    cutter = tmp_path / "cutter"
    some = f"{sys.executable} -c 'import os; [os.write(1, os.read(0, 4096)) for _ in range(12)]'"
    cutter.write_text(f'#!/bin/sh\ncase "$*" in *rsync*) ({some}; kill -9 $$) | {ssh} "$@" ;; *) {ssh} "$@" ;; esac\n')
    cutter.chmod(0o755)
    called = ckptkit("move", run, f"ssh:127.0.0.1:{volume}/run", "--ssh-command", cutter)
    assert called.code == 75, called
    assert not [name for name in names(f"{volume}/run") if not name.startswith(".ckptkit-moving-")]
    assert ckptkit("move", run, f"ssh:127.0.0.1:{volume}/run", "--ssh-command", ssh).code == 0
    assert names(f"{volume}/run") == ["checkpoint-100", "checkpoint-200"]
