"""Run directory → checkpoints, by stat alone, against what the kernel and other tools say of the same files."""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckptkit.errors import NoSuchRun, UsageError
from ckptkit.runs import discover
from tests.support.typed import Mount, RunOf

CHECKOUT = Path(__file__).resolve().parents[2]
STRAY = ("checkpoint-", "checkpoint-best", "checkpoint-500.bak", "checkpoint-07", "checkpoint-5 ", "checkpoint-5\n",
         "checkpoint--5", "checkpoint-٥", "checkpoint-1e3", "checkpoint-5\x1b[m", "checkpoint-" + "9" * 30)  # fmt: skip
OTHER = ("Checkpoint-5", "xcheckpoint-5", "\ncheckpoint-5", "runs", "final", "ckptkit.toml")


def codes(run: Path) -> dict[str, list[str]]:
    return {c.name: [p.code for p in c.problems] for c in discover.scan(str(run)).checkpoints}


# --- names ----------------------------------------------------------------------------------------------------------


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (1000, 200, 0, 30, 999_999_999_999):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert [c.step for c in discover.scan(str(tmp_path)).checkpoints] == [0, 30, 200, 1000, 999_999_999_999]


@pytest.mark.parametrize("name", STRAY)
def test_name_that_only_begins_like_a_checkpoints_is_a_stray(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    run = discover.scan(str(tmp_path))
    assert (run.checkpoints, run.strays) == ((), (name,))


@pytest.mark.parametrize("name", OTHER)
def test_other_name_is_nothing_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    run = discover.scan(str(tmp_path))
    assert (run.checkpoints, run.leftovers, run.strays) == ((), (), ())


def test_name_in_no_encoding_is_a_stray_and_its_neighbours_are_found(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/checkpoint-\xff")
    (tmp_path / "checkpoint-5").mkdir()
    run = discover.scan(str(tmp_path))
    assert ([c.step for c in run.checkpoints], len(run.strays)) == ([5], 1)


def test_leftover_is_no_checkpoint_and_tells_its_bytes(tmp_path: Path) -> None:
    aside = tmp_path / ".ckptkit-deleting-checkpoint-5"
    aside.mkdir()
    (aside / "optimizer.pt").write_bytes(b"\1" * 10_000)
    run = discover.scan(str(tmp_path))
    assert run.checkpoints == () and run.leftovers[0].allocated_bytes >= 10_000


# --- RUN that is none -----------------------------------------------------------------------------------------------


def test_system_and_home_directories_are_refused_by_any_name(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/")
    for path in ("/", "//", "/tmp/..", "/tmp", os.path.expanduser("~"), str(link)):
        with pytest.raises(UsageError):
            discover.scan(path)


def test_missing_dangling_and_file_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("missing", "dangling", "file", "file/checkpoint-5"):
        with pytest.raises(NoSuchRun):
            discover.scan(str(tmp_path / name))


def test_run_behind_a_symlink_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "link").symlink_to("run")
    run = discover.scan(str(tmp_path / "link"))
    assert (run.path, run.checkpoints[0].path) == (f"{tmp_path}/run", f"{tmp_path}/run/checkpoint-5")


# --- what stands inside ---------------------------------------------------------------------------------------------


def test_checkpoint_that_is_no_directory_is_a_problem_and_nothing_behind_it_is_listed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    (tmp_path / "checkpoint-1").symlink_to("other")
    (tmp_path / "checkpoint-2").symlink_to("/etc")
    (tmp_path / "checkpoint-3").symlink_to("nowhere")
    (tmp_path / "checkpoint-4").touch()
    assert codes(tmp_path) == {f"checkpoint-{n}": ["not-a-directory"] for n in (1, 2, 3, 4)}
    assert all(c.files == () for c in discover.scan(str(tmp_path)).checkpoints)


def test_fifo_socket_and_symlink_inside_are_told_and_hang_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "checkpoint-1" / "deep"
    inside.mkdir(parents=True)
    os.mkfifo(inside / "fifo")
    (inside / "link").symlink_to(tmp_path)  # a loop, were it followed
    with socket.socket(socket.AF_UNIX) as listening:
        # By descriptor: a socket's path may have 107 bytes, and pytest's directories are longer.
        folder = os.open(inside, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    found = {p.file: p.code for p in discover.scan(str(tmp_path)).checkpoints[0].problems}
    assert found == dict.fromkeys(("deep/fifo", "deep/link", "deep/socket"), "not-a-file")


def test_allocated_bytes_are_what_find_counts(run_of: RunOf) -> None:
    run = run_of({100: "intact"}, "sharded")
    (Path(run) / "checkpoint-100" / "nested").mkdir()
    (Path(run) / "checkpoint-100" / "nested" / "more").write_bytes(b"\1" * 70_000)
    told = subprocess.run(["find", run, "-type", "f", "-printf", "%b\n"], capture_output=True, text=True, check=True)
    assert discover.scan(run).checkpoints[0].allocated_bytes == 512 * sum(map(int, told.stdout.split()))


def test_hole_is_not_counted_as_allocated(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with open(tmp_path / "checkpoint-1" / ".tmpAb12cD", "wb") as file:
        file.truncate(1 << 30)
    found = discover.scan(str(tmp_path)).checkpoints[0]
    assert found.apparent_bytes == 1 << 30 and found.allocated_bytes < 1 << 16


def test_hard_links_count_once_inside_and_not_at_all_with_one_outside(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    first = tmp_path / "checkpoint-1" / "first"
    first.write_bytes(b"\1" * 40_960)
    alone = discover.scan(str(tmp_path)).checkpoints[0].allocated_bytes
    os.link(first, tmp_path / "checkpoint-1" / "second")
    assert discover.scan(str(tmp_path)).checkpoints[0].allocated_bytes == alone >= 40_960
    os.link(first, tmp_path / "outside")
    assert discover.scan(str(tmp_path)).checkpoints[0].allocated_bytes == 0


@pytest.mark.mounts
def test_mount_inside_is_told_and_what_is_in_it_is_not_listed(tmp_path: Path, mount: Mount) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    point = mount("tmpfs", at=tmp_path / "checkpoint-1" / "mounted")
    Path(point, "elsewhere").write_bytes(b"\1" * 5000)
    (found,) = discover.scan(str(tmp_path)).checkpoints
    assert [(p.file, p.code) for p in found.problems] == [("mounted", "other-device")]
    assert (found.files, found.directories) == ((), ("mounted",))


def test_scan_opens_directories_and_no_file(run_of: RunOf, tmp_path: Path) -> None:
    run, trace = run_of({100: "intact", 200: "torn"}, "sharded"), tmp_path / "trace"
    code = f"from ckptkit.runs import discover; discover.scan({run!r})"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,openat2", sys.executable, "-c", code]
    subprocess.run(strace, cwd=CHECKOUT, check=True)
    opened = [call for call in trace.read_text().splitlines() if run in call]
    assert len(opened) == 3, "the run and its two checkpoints"
    assert all("O_DIRECTORY" in call for call in opened)


def test_checkpoints_that_come_and_go_meanwhile_break_no_scan(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            for step in (2, 3, 4):
                (tmp_path / f"checkpoint-{step}" / "deep").mkdir(parents=True)
                (tmp_path / f"checkpoint-{step}" / "deep" / "file").touch()
            for step in (2, 3, 4):
                os.rename(tmp_path / f"checkpoint-{step}", tmp_path / f".ckptkit-deleting-checkpoint-{step}")
                (tmp_path / f".ckptkit-deleting-checkpoint-{step}" / "deep" / "file").unlink()
                (tmp_path / f".ckptkit-deleting-checkpoint-{step}" / "deep").rmdir()
                (tmp_path / f".ckptkit-deleting-checkpoint-{step}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        found = [discover.scan(str(tmp_path)) for _ in range(1500)]
    finally:
        over.set()
        thread.join()
    assert all("checkpoint-1" in {c.name for c in run.checkpoints} for run in found)
    assert len({len(run.checkpoints) for run in found}) > 1, "nothing came or went while we looked"


# --- find_runs ------------------------------------------------------------------------------------------------------


def test_runs_are_found_at_and_below_a_root_once_each(tmp_path: Path) -> None:
    for path in ("checkpoint-1", "run-0/checkpoint-5", "run-1/checkpoint-5", "a/b/c d\n/checkpoint-9", "none/data"):
        (tmp_path / path).mkdir(parents=True)
    assert discover.find_runs(str(tmp_path)) == sorted(
        [str(tmp_path), f"{tmp_path}/run-0", f"{tmp_path}/run-1", f"{tmp_path}/a/b/c d\n"]
    )


def test_no_run_is_looked_for_in_a_checkpoint_in_what_is_set_aside_or_behind_a_symlink(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path in ("run/checkpoint-1/sub/checkpoint-2", "run/.ckptkit-deleting-checkpoint-3/x/checkpoint-4"):
        (root / path).mkdir(parents=True)
    (tmp_path / "outside" / "checkpoint-7").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert discover.find_runs(str(root)) == [f"{root}/run"]


def test_root_without_a_run_is_no_error_and_a_missing_one_is(tmp_path: Path) -> None:
    assert discover.find_runs(str(tmp_path)) == []
    with pytest.raises(NoSuchRun, match=re.escape("no such directory")):
        discover.find_runs(str(tmp_path / "missing"))


def test_a_directory_marked_with_an_ignore_file_is_not_looked_into_for_runs(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of({100: "intact"}, at=f"{tmp_path}/top/data/run")
    (tmp_path / "top/data/.ckptkit-ignore").touch()
    assert discover.find_runs(f"{tmp_path}/top") == [] and discover.find_runs(f"{tmp_path}/top/data") == [run]


def test_the_checkpoints_of_our_own_tests_are_no_runs_of_a_person() -> None:
    assert [run for run in discover.find_runs(str(CHECKOUT)) if run.startswith(f"{CHECKOUT}/tests/")] == []


def test_a_file_that_goes_while_it_is_listed_leaves_the_others_judged(run_of: RunOf) -> None:
    """The guard's manifest has a temporary name for a moment: the checkpoint is intact before, in and after it."""
    run, stop = run_of({100: "intact"}), threading.Event()
    temporary = os.path.join(run, "checkpoint-100", "ckptkit.json.tmp")

    def come_and_go() -> None:
        while not stop.is_set():
            open(temporary, "w").close()
            os.unlink(temporary)

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        problems = [problem for _ in range(500) for problem in discover.scan(run).checkpoints[0].problems]
    finally:
        stop.set()
        other.join()
    assert problems == []
