"""Live processes as they are: who holds deleted bytes, who trains, what keeps it, where it writes."""

import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.model.disk import OpenDeleted, Training
from ckptkit.system import processes, trainings, unlinked, volumes
from ckptkit.system.trainings import TEMPORARY
from tests.support.typed import present
from tests.support.waiting import wait_for

MB = 1 << 20
# What a training looks like from outside: the script's name. Its open file is in the run.
SCRIPT = """
import sys, time
kept = open(sys.argv[1] + "/events.log", "a") if len(sys.argv) > 1 else None
print("step 1", flush=True)
time.sleep(60)
"""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A run, and a train.py that holds it open."""
    (tmp_path / "run").mkdir()
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """start(words, ...) is a live process, ended with the test."""
    started = []

    def go(*words: Any, **options: Any) -> subprocess.Popen[Any]:
        started.append(subprocess.Popen([*map(str, words)], start_new_session=True, **options))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def training(run: str | Path) -> Training | None:
    """The one training of the run, once it has said its first line."""
    found = [t for t in trainings.trainings([str(run)], []) if t.run]
    return found[0] if found else None


# --- deleted, but open ----------------------------------------------------------------------------------------------


def held_in(folder: Path) -> list[OpenDeleted]:
    return [file for file in unlinked.open_deleted() if file.path.startswith(str(folder))]


def test_deleted_file_is_told_with_bytes_and_holder_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "old\nlog"
    with open(path, "wb") as file:
        file.write(b"\1" * (3 * MB))
        file.flush()
        assert held_in(tmp_path) == []
        path.unlink()
        (found,) = held_in(tmp_path)
        assert (found.path, found.pid, found.allocated_bytes) == (str(path), os.getpid(), 3 * MB)
        assert found.mount == volumes.volume(str(tmp_path)).mount
    assert held_in(tmp_path) == []


def test_command_frees_the_bytes_of_a_log_under_its_writer_and_ends_a_reader(
    tmp_path: Path, start: Callable[..., subprocess.Popen[Any]]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\1" * (2 * MB))
    with open(log, "ab") as file:
        log.unlink()
        subprocess.run(held_in(tmp_path)[0].command, shell=True, check=True)
        assert held_in(tmp_path) == [] and not file.closed
    data = tmp_path / "data"
    data.write_bytes(b"\1" * MB)
    reader = start("tail", "-f", data, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(f.path == str(data) for f in processes.open_files(str(tmp_path))))
    data.unlink()
    (found,) = held_in(tmp_path)
    assert found.command == f"kill {reader.pid}"
    subprocess.run(found.command, shell=True, check=True)
    reader.wait()
    assert held_in(tmp_path) == []


@pytest.mark.parametrize("mode, empties", [(os.O_WRONLY, True), (os.O_RDWR, False), (os.O_RDONLY, False)])
def test_only_a_file_that_nobody_reads_back_is_emptied_under_its_process(
    tmp_path: Path, mode: int, empties: bool
) -> None:
    """A database or a memory map is open for reading and writing: emptied, it would break what holds it."""
    path = tmp_path / "held"
    path.write_bytes(b"\1" * MB)
    fd = os.open(path, mode)
    try:
        path.unlink()
        (found,) = held_in(tmp_path)
        assert found.command == (f"truncate -s 0 /proc/{os.getpid()}/fd/{fd}" if empties else f"kill {os.getpid()}")
    finally:
        os.close(fd)


def test_file_that_two_hold_counts_once_and_one_with_another_name_left_not_at_all(
    tmp_path: Path, start: Callable[..., subprocess.Popen[Any]]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\1" * MB)
    start("tail", "-f", path, stdout=subprocess.DEVNULL)
    wait_for(lambda: processes.open_files(str(tmp_path)))
    with open(path, "rb"):
        os.link(path, tmp_path / "again")
        path.unlink()
        assert held_in(tmp_path) == []
        (tmp_path / "again").unlink()
        assert len(held_in(tmp_path)) == 1


def test_file_really_called_deleted_and_memory_are_not_told(tmp_path: Path) -> None:
    with open(tmp_path / "x (deleted)", "wb") as file:
        file.write(b"\1" * MB)
        memory = os.memfd_create("scratch")
        os.write(memory, b"\1" * MB)
        assert held_in(tmp_path) == []
        assert not [f for f in unlinked.open_deleted() if "memfd" in f.path]
        os.close(memory)


# --- trainings ------------------------------------------------------------------------------------------------------


def test_training_is_found_by_its_open_file_with_its_log(
    box: Path, start: Callable[..., subprocess.Popen[Any]]
) -> None:
    with open(box / "out.log", "wb") as log:
        process = start(sys.executable, "train.py", box / "run", cwd=box, stdout=log)
    found = wait_for(lambda: training(box / "run"))
    assert (found.pid, found.run, found.log) == (process.pid, f"{box}/run", f"{box}/out.log")
    assert found.session == "detached" and not found.log_deleted
    assert abs(present(found.started_at) - time.time()) < 60 and abs(present(found.log_written_at) - time.time()) < 60
    (box / "out.log").unlink()
    assert present(training(box / "run")).log_deleted
    process.kill()
    process.wait()
    assert training(box / "run") is None


def test_since_when_a_process_runs_is_known_until_it_ends(start: Callable[..., subprocess.Popen[Any]]) -> None:
    psutil = pytest.importorskip("psutil")
    process = start("sleep", "60")
    started = processes.started_at(str(process.pid))
    assert started == pytest.approx(psutil.Process(process.pid).create_time(), abs=0.02)
    process.kill()
    process.wait()
    assert processes.started_at(str(process.pid)) is None


def open_output(box: Path, name: str) -> Any:
    """A file to write into, by its name; or a buffer that has none, as the programs make it that use such."""
    if name == "TemporaryFile":
        return tempfile.TemporaryFile(dir=box)
    if name == "memory":
        return os.memfd_create("train.log")
    if name == "mktemp":
        name = subprocess.run(["mktemp"], check=True, capture_output=True, text=True).stdout.strip()
    return open(box / name, "wb")


# What a process's output goes to, deleted by now, and whether somebody misses it.
DELETED_OUTPUT = {
    "TemporaryFile": False,
    "memory": False,
    "mktemp": False,
    "capture-x7": False,
    "train.log": True,
    "nohup.out": True,
    "train.log.1": True,
    "LOG_2026-11-24": True,
}


@pytest.mark.parametrize("name", DELETED_OUTPUT)
def test_deleted_output_is_a_log_only_if_it_was_one(
    box: Path, start: Callable[..., subprocess.Popen[Any]], name: str
) -> None:
    output = open_output(box, name)
    path = os.readlink(f"/proc/self/fd/{output if isinstance(output, int) else output.fileno()}")
    start(sys.executable, "train.py", box / "run", cwd=box, stdout=output, stderr=output)
    if not path.endswith(" (deleted)"):
        os.unlink(path)
    found = wait_for(lambda: training(box / "run"))
    assert (found.log, found.log_deleted) == ((path, True) if DELETED_OUTPUT[name] else ("", False))
    os.close(output) if isinstance(output, int) else output.close()


def test_deleted_output_outside_of_temporary_directories_is_a_log_whatever_it_was_called(
    box: Path, start: Callable[..., subprocess.Popen[Any]]
) -> None:
    # A home or a checkout may itself lie below /tmp.
    lasting = next(p for p in (Path.home(), Path.cwd(), "/srv") if not f"{p}/".startswith(TEMPORARY))
    with tempfile.TemporaryDirectory(dir=lasting) as folder, open(f"{folder}/monday", "wb") as output:
        start(sys.executable, "train.py", box / "run", cwd=box, stdout=output)
        os.unlink(output.name)
        found = wait_for(lambda: training(box / "run"))
        assert (found.log, found.log_deleted) == (output.name, True)


def test_run_that_the_command_line_names_is_its_run_and_a_neighbours_is_not(
    box: Path, start: Callable[..., subprocess.Popen[Any]]
) -> None:
    (box / "train.py").write_text("import time; time.sleep(60)")
    start(sys.executable, "train.py", "--output_dir=run", cwd=box)
    assert wait_for(lambda: training(box / "run")).run == f"{box}/run"
    assert training(f"{box}/ru") is None and training(f"{box}/run-2") is None


def test_process_that_mapped_torch_trains_whatever_its_script_is_called(
    box: Path, start: Callable[..., subprocess.Popen[Any]], tmp_path: Path
) -> None:
    library = tmp_path / "libtorch_cpu.so"
    library.write_bytes(b"\1" * 4096)
    code = f"""
import mmap, time
with open({str(library)!r}, "rb") as file:
    kept = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
time.sleep(60)
"""
    process = start(sys.executable, "-c", code, cwd=box / "run")
    assert wait_for(lambda: training(box / "run")).pid == process.pid


def test_editor_of_train_py_does_not_train(box: Path, start: Callable[..., subprocess.Popen[Any]]) -> None:
    start("tail", "-f", "train.py", cwd=box, stdout=subprocess.DEVNULL)
    start(sys.executable, "-c", "import time; time.sleep(60)", cwd=box / "run")
    time.sleep(0.3)
    assert training(box / "run") is None


def test_ranks_of_a_launcher_are_one_training(box: Path, start: Callable[..., subprocess.Popen[Any]]) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
    (box / "train_all.py").write_text(code)
    launcher = start(sys.executable, "train_all.py", "train.py", "run", cwd=box)
    wait_for(lambda: (box / "run" / "events.log").exists())
    assert [t.pid for t in trainings.trainings([f"{box}/run"], []) if t.run] == [launcher.pid]


def test_log_behind_tee_is_found(box: Path, start: Callable[..., subprocess.Popen[Any]]) -> None:
    start("sh", "-c", f"{sys.executable} train.py run | tee out.log", cwd=box, stdout=subprocess.DEVNULL)
    wait_for(lambda: training(box / "run") and (box / "out.log").exists())
    assert wait_for(lambda: present(training(box / "run")).log) == f"{box}/out.log"


def test_nohup_keeps_it_and_a_terminal_does_not(box: Path, start: Callable[..., subprocess.Popen[Any]]) -> None:
    start("nohup", sys.executable, "train.py", "run", cwd=box, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_for(lambda: training(box / "run")).session == "nohup"


def test_training_on_a_terminal_is_told(box: Path) -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, str(box / "train.py"), str(box / "run")])
    try:
        assert wait_for(lambda: training(box / "run")).session == "terminal"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_tmux_keeps_it_and_its_name_attaches_until_the_server_is_gone(box: Path) -> None:
    tmux = ("tmux", "-S", str(box / "socket"))
    train = f"exec {sys.executable} {box}/train.py {box}/run"
    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-s", "mine", train], check=True, cwd=box)
    try:
        found = wait_for(lambda: training(box / "run"))
        assert (found.session, found.session_lost) == ("tmux", False)
        named = subprocess.run([*tmux, "has-session", "-t", found.session_name], check=False, capture_output=True)
        assert named.returncode == 0, found.session_name
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def test_screen_keeps_it_and_its_name_attaches_until_it_is_gone(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENDIR", str(box / "screens"))
    monkeypatch.delenv("STY", raising=False)
    (box / "screens").mkdir(mode=0o700)
    # It ignores SIGHUP and keeps its terminal: nohup would let go of that, which ends the screen at once.
    train = f"trap '' HUP; exec {sys.executable} {box}/train.py {box}/run"
    subprocess.run(["screen", "-d", "-m", "-S", "mine", "sh", "-c", train], check=True, cwd=box)
    found = wait_for(lambda: training(box / "run"))
    try:
        assert (found.session, found.session_lost) == ("screen", False)
        listed = subprocess.run(["screen", "-ls", found.session_name], check=False, capture_output=True, text=True)
        assert found.session_name.endswith(".mine") and found.session_name in listed.stdout
    finally:
        subprocess.run(["screen", "-S", found.session_name, "-X", "quit"], check=False)
    try:
        left = wait_for(lambda: seen if (seen := training(box / "run")) and seen.session != "screen" else None)
        assert (left.session, left.session_lost) == ("nohup", True)
    finally:
        os.kill(found.pid, 9)


def test_training_that_outlived_its_tmux_is_told(box: Path, start: Callable[..., subprocess.Popen[Any]]) -> None:
    environment = {**os.environ, "TMUX": f"{Path(box, 'socket')},1,0"}
    start("nohup", sys.executable, "train.py", "run", cwd=box, env=environment, stdout=subprocess.DEVNULL,
          stderr=subprocess.DEVNULL)  # fmt: skip
    found = wait_for(lambda: training(box / "run"))
    assert (found.session, found.session_lost) == ("nohup", True)
