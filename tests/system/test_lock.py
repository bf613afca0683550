"""The lock on the run itself: at 0 bytes, between real processes, and after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import LockHeld, NoSuchRun
from ckptkit.system import lock
from tests.support.claiming import SINCE, WORDS, claiming
from tests.support.runs import names, tree
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

CHECKOUT = Path(__file__).resolve().parents[2]
THREE = {100: "intact", 200: "intact", 300: "intact"}
HOLD = """
import sys, time
from ckptkit.system import lock
with lock.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder() -> Iterator[Callable[[Any], subprocess.Popen[str]]]:
    """holder(run) is another process that holds the run's lock for a minute, or until it is killed."""
    started = []

    def hold(run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLD, run], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert present(process.stdout).readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()


def is_free(run: str) -> bool:
    """As flock(1) sees it: another program's word for it."""
    return subprocess.run(["flock", "-n", run, "true"], check=False).returncode == 0


def test_lock_creates_nothing_and_is_gone_after_use(tmp_path: Path) -> None:
    before = os.stat(tmp_path)
    with lock.hold(str(tmp_path)):
        assert not is_free(str(tmp_path))
    assert is_free(str(tmp_path))
    assert os.listdir(tmp_path) == [] and os.stat(tmp_path).st_mtime_ns == before.st_mtime_ns


def test_lock_is_let_go_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        with lock.hold(str(tmp_path)):
            raise ZeroDivisionError
    assert is_free(str(tmp_path))


def test_holder_is_named_and_waiting_ends_on_time(
    tmp_path: Path, holder: Callable[[Any], subprocess.Popen[str]]
) -> None:
    other = holder(str(tmp_path))
    began = time.monotonic()
    with pytest.raises(LockHeld, match=f"process {other.pid}:"):
        with lock.hold(str(tmp_path), timeout=0.5):
            pass
    assert 0.5 <= time.monotonic() - began < 5


def test_kill_9_lets_go_of_the_lock(tmp_path: Path, holder: Callable[[Any], subprocess.Popen[str]]) -> None:
    other = holder(str(tmp_path))
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.hold(str(tmp_path)):
        pass


def test_child_that_outlives_the_work_does_not_keep_the_lock(tmp_path: Path) -> None:
    with lock.hold(str(tmp_path)):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        assert is_free(str(tmp_path))
    finally:
        child.kill()
        child.wait()


def test_forked_child_that_outlives_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """Such as a data loader's worker: it shares the open file, and nobody is left to unlock it."""
    code = """
import os, sys, time
from ckptkit.system import lock
with lock.hold(sys.argv[1]):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as parent:
        child = int(present(parent.stdout).readline())  # it has begun
        parent.kill()
        parent.wait()
        try:
            assert is_free(str(tmp_path))
        finally:
            os.kill(child, signal.SIGKILL)


def test_every_name_of_a_run_is_one_lock(
    run_of: RunOf, tmp_path: Path, holder: Callable[[Any], subprocess.Popen[str]], ckptkit: Ckptkit
) -> None:
    run = run_of(THREE)
    os.symlink(run, tmp_path / "link")
    holder(run)
    for path in (tmp_path / "link", f"{run}/../{os.path.basename(run)}", f"{run}/"):
        assert ckptkit("prune", path).code == 11


def test_missing_directory_and_file_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(NoSuchRun):
            with lock.hold(str(tmp_path / name)):
                pass


@pytest.mark.mounts
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_lock_works_where_nothing_can_be_written(mount: Mount, fill: Fill, what: str) -> None:
    volume = mount("ext4", megabytes=8, options=("-m", "0", "-N", "64"))
    if what == "bytes":
        fill(volume)
    else:
        while os.statvfs(volume).f_ffree:
            Path(volume, f"file{len(os.listdir(volume))}").touch()
    room = os.statvfs(volume)
    assert (room.f_bavail if what == "bytes" else room.f_ffree) == 0
    with lock.hold(volume):
        assert not is_free(volume)


@pytest.mark.mounts
def test_lock_works_on_a_read_only_volume(mount: Mount) -> None:
    volume = mount("ext4")
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    with lock.hold(volume):
        assert not is_free(volume)


def test_second_sweep_while_the_first_deletes_exits_11_with_its_pid_and_touches_nothing(
    run_of: RunOf, ckptkit: Ckptkit
) -> None:
    run = run_of(THREE)
    # Each unlink of the first one takes 0.3 s, so it is in the middle of its deletion for seconds.
    slow = ["strace", "-f", "-o", "/dev/null", "-e", "inject=unlinkat:delay_enter=300000"]
    command = [*slow, sys.executable, "-m", "ckptkit", "prune", run]
    first = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while ".ckptkit-deleting-checkpoint-100" not in os.listdir(run):
        assert time.monotonic() < deadline, "the first sweep never began"
        time.sleep(0.01)
    kept = {path: seen for path, seen in tree(run).items() if ".ckptkit-deleting-" not in path}
    second = ckptkit("prune", run)
    assert first.poll() is None, "the first sweep was over too soon to prove anything"
    assert second.code == 11 and second.out == "" and second.err.count("\n") == 1
    assert "is locked by process" in second.err and "--lock-timeout" in second.err
    assert {path: seen for path, seen in tree(run).items() if ".ckptkit-deleting-" not in path} == kept
    assert first.wait(30) == 0 and "deleted 1 checkpoint" in present(first.stdout).read()
    assert names(run) == ["checkpoint-200", "checkpoint-300"]


def test_dry_run_and_latest_ask_for_no_lock(
    run_of: RunOf, holder: Callable[[Any], subprocess.Popen[str]], ckptkit: Ckptkit
) -> None:
    run = run_of(THREE)
    holder(run)
    assert ckptkit("prune", run, "--dry-run").code == 0
    assert ckptkit("latest", run).out == f"{run}/checkpoint-300\n"
    assert ckptkit("verify", run, "-q") == (0, "", "")


# --- the claim of a training -----------------------------------------------------------------------------------------


def test_claim_says_who_and_since_when_until_its_process_is_killed_and_needs_no_file(tmp_path: Path) -> None:
    run, before = str(tmp_path), os.stat(tmp_path)
    with claiming(run) as pid:
        assert lock.claim_of(run) == lock.claim_by(run, str(pid)) == (pid, float(int(SINCE)))
        assert present(lock.claim_of(run)).sentence == f"process {pid} has been training here {WORDS} (under a guard)"
        assert is_free(run), "sweeps run beside a training"
    assert lock.claim_of(run) is None
    assert os.listdir(run) == [] and os.stat(run).st_mtime_ns == before.st_mtime_ns


@pytest.mark.mounts
def test_claim_says_since_when_at_0_bytes_free(mount: Mount, fill: Fill) -> None:
    volume = mount("ext4", megabytes=8, options=("-m", "0"))
    fill(volume)
    assert os.statvfs(volume).f_bavail == 0
    with claiming(volume) as pid:
        assert lock.claim_of(volume) == (pid, float(int(SINCE)))


def test_second_training_is_refused_with_who_since_when_and_what_to_do(tmp_path: Path) -> None:
    run = str(tmp_path)
    with claiming(run) as pid, lock.open_directory(run) as fd:
        with pytest.raises(LockHeld) as told:
            lock.claim(fd, run, time.time())
    what = "wait for its end, or use another output_dir"
    assert str(told.value) == f"{run}: process {pid} has been training here {WORDS} (under a guard): {what}"
    assert not told.value.saving


@pytest.mark.parametrize("now", [None, 0.0, -1.5])
def test_claim_without_a_time_says_who_alone(tmp_path: Path, now: float | None) -> None:
    with lock.open_directory(str(tmp_path)) as fd, lock.open_directory(str(tmp_path)) as other:
        lock.claim(fd, str(tmp_path), now)
        with pytest.raises(LockHeld, match=rf": process {os.getpid()} is training here \(under a guard\): wait"):
            lock.claim(other, str(tmp_path), SINCE)


# Python is process 1 of a container, as a training is that `docker run` starts.
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.mark.mounts
def test_training_of_another_container_that_has_our_number_is_not_taken_for_us(tmp_path: Path) -> None:
    code = "import os, sys; from ckptkit.system import lock; print(os.getpid(), lock.claim_of(sys.argv[1]).sentence)"
    with claiming(str(tmp_path), before=CONTAINER):
        command = (*CONTAINER, sys.executable, "-c", code, str(tmp_path))
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == f"1 process 1 has been training here {WORDS} (under a guard)\n"


def test_refused_lock_says_whether_a_guarded_save_is_running(
    tmp_path: Path, holder: Callable[[Any], subprocess.Popen[str]]
) -> None:
    run = str(tmp_path)
    with claiming(run, held=True) as pid, pytest.raises(LockHeld) as told, lock.hold(run):
        pass
    who = f"{run} is locked by process {pid}, which trains here under a guard: a save is running"
    assert (str(told.value), told.value.saving) == (f"{who}; wait for it, or set lock_timeout", True)
    with claiming(run):
        sweep = holder(run)
        with pytest.raises(LockHeld, match=f"locked by process {sweep.pid}: nothing done; wait for it") as told:
            with lock.hold(run):
                pass
    assert not told.value.saving


@pytest.mark.mounts
def test_guarded_save_in_a_container_is_known_by_the_number_that_it_has_here(tmp_path: Path) -> None:
    with claiming(str(tmp_path), held=True, before=CONTAINER):
        with pytest.raises(LockHeld, match="which trains here under a guard: a save is running") as told:
            with lock.hold(str(tmp_path)):
                pass
    assert told.value.saving and "process 1," not in str(told.value)
