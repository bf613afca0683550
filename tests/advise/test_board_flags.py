"""Every flag of diskreport rises on a real volume when its threshold is passed, and clears when it is mended."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.advise import flags
from ckptkit.calling import command
from ckptkit.model import thresholds
from ckptkit.model.disk import Eaters
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.report import Trail
from ckptkit.ops.diskreport import report
from ckptkit.system import trainings
from tests.support.runs import make_run
from tests.support.typed import Mount
from tests.support.waiting import wait_for

MB = 1 << 20
pytestmark = pytest.mark.mounts


@pytest.fixture
def place(mount: Mount, real: str, tmp_path: Path) -> str:
    """A run on a volume of 40 MB."""
    volume = mount("tmpfs", "size=40m,nr_inodes=1000", at=tmp_path / "volume")
    return make_run(real, f"{volume}/run", {100: "intact", 200: "intact"})


def codes(run: str, **options: Any) -> dict[str, tuple[str, str]]:
    """{code: (level, command)} of all flags that speak of the run's volume, or of the run."""
    found = report([run], **options).flags
    mine = os.path.dirname(run)
    return {f.code: (f.level, f.command) for f in found if mine in f.message or f.code.startswith("training")}


def ballast(run: str, share: float, name: str = "ballast") -> None:
    """Fill the run's volume up to a share of its bytes."""
    volume = os.path.dirname(run)
    Path(volume, name).unlink(missing_ok=True)
    status = os.statvfs(volume)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    Path(volume, name).write_bytes(b"\1" * (int(share * status.f_blocks * status.f_frsize) - used))


USE = [
    (0.30, "volume-ok", "green"),
    (0.55, "volume-noticed", "green"),
    (0.70, "volume-filling", "yellow"),
    (0.85, "volume-high", "yellow"),
    (0.95, "volume-critical", "red"),
    (0.30, "volume-ok", "green"),
]


def test_use_rises_from_green_to_red_and_clears(place: str) -> None:
    for share, code, level in USE:
        ballast(place, share)
        found = {c: told for c, told in codes(place).items() if c.startswith("volume-")}
        assert list(found) == [code] and found[code][0] == level, share


def test_page_that_walked_a_full_volume_never_names_itself_as_the_fix(place: str, real: str) -> None:
    ballast(place, 0.95)
    assert codes(place)["volume-critical"][1] == command("diskreport", os.path.dirname(place))
    assert codes(place, depth=3)["volume-critical"][1].startswith("du -xh --max-depth=3 ")
    make_run(real, place, {300: "torn"})
    for depth in (0, 3):
        assert codes(place, depth=depth)["volume-critical"][1] == command("prune", place, "--dry-run")


def test_inodes_rise_from_green_to_red_and_clear(place: str) -> None:
    folder = Path(os.path.dirname(place), "many")
    folder.mkdir()
    for share, code, level in USE:
        wanted = int(share * 1000) - (1000 - os.statvfs(place).f_ffree) + len(list(folder.iterdir()))
        for number in range(1000):
            (Path.touch if number < wanted else _unlink)(folder / str(number))
        found = {c: told for c, told in codes(place).items() if c.startswith("inodes-")}
        assert list(found) == [code.replace("volume", "inodes")], share
        assert found[code.replace("volume", "inodes")][0] == level


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def test_read_only_volume_rises_and_clears(mount: Mount, real: str, tmp_path: Path) -> None:
    volume = mount("ext4", megabytes=24, at=tmp_path / "volume")
    run = make_run(real, f"{volume}/run", {100: "intact"})
    assert "read-only" not in codes(run) and "not-durable" not in codes(run)
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    assert codes(run)["read-only"][0] == "red"
    subprocess.run(["mount", "-o", "remount,rw", volume], check=True)
    assert "read-only" not in codes(run)


def test_run_in_memory_or_on_an_overlay_is_told(place: str, mount: Mount, real: str, tmp_path: Path) -> None:
    assert codes(place)["not-durable"][0] == "yellow"
    layers = Path(mount("tmpfs", at=tmp_path / "layers"))
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    root = mount("overlay", options, at=tmp_path / "root")
    run = make_run(real, f"{root}/run", {100: "intact"})
    (told,) = [f.message for f in report([run]).flags if f.code == "not-durable"]
    assert "container is removed; use another volume" in told


def test_caches_above_a_twentieth_of_the_volume_rise_and_their_command_clears_them(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.path.dirname(place), "home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    blobs = home / ".cache/huggingface/hub/models--a--b/blobs"
    blobs.mkdir(parents=True)
    (blobs / "x").write_bytes(b"\1" * int(1.5 * MB))
    assert "caches" not in codes(place)
    (blobs / "x").write_bytes(b"\1" * 3 * MB)
    level, command = codes(place)["caches"]
    assert level == "yellow"
    subprocess.run(command, shell=True, check=True)
    assert "caches" not in codes(place)


def test_torn_save_and_core_dump_rise_and_their_commands_clear_them(place: str) -> None:
    for code, path in (("torn-save", f"{place}/checkpoint-100/.tmpAbCdEf"), ("core-dump", f"{place}/core.7")):
        Path(path).write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\4\0" + b"\1" * 2 * MB)
        os.utime(path, (time.time() - 9999,) * 2)
        level, command = codes(place)[code]
        assert level == "yellow"
        subprocess.run(command, shell=True, check=True)
        assert code not in codes(place)


def test_much_that_is_deleted_but_open_rises_and_clears_when_it_is_closed(
    mount: Mount, real: str, tmp_path: Path
) -> None:
    volume = mount("tmpfs", "size=1g", at=tmp_path / "volume")
    run = make_run(real, f"{volume}/run", {100: "intact"})
    much = int(thresholds.OPEN_DELETED_SHARE * (1 << 30))
    with open(f"{volume}/log", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, much - MB)
        os.unlink(f"{volume}/log")
        assert "open-deleted" not in codes(run)
        os.posix_fallocate(file.fileno(), 0, much + MB)
        level, command = codes(run)["open-deleted"]
        assert level == "yellow" and command.startswith(f"truncate -s 0 /proc/{os.getpid()}/fd/")
        subprocess.run(command, shell=True, check=True)
        assert "open-deleted" not in codes(run)


def test_directories_that_cant_be_read_are_told_and_clear(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Path(os.path.dirname(place), "closed")
    closed.mkdir(mode=0o700)
    volume = str(closed.parent)
    # As nobody: root reads everything. The walk runs from inside, for nobody can't pass through pytest's folders.
    code = f"""
import json, os, sh  # nobody may not read the packages of this Python
from ckptkit.advise import flags
from ckptkit.model.disk import Eaters; from ckptkit.model.report import Trail
from ckptkit.system import usage as du
os.chdir({volume!r})
os.setgroups([]); os.setgid(65534); os.setuid(65534)
walked = du.walk_with_du(".", 3, 4096)
found = Eaters({volume!r}, unreadable=walked.unreadable, first_unreadable=walked.first_unreadable)
print(json.dumps([flag.code for flag in flags.of_eaters(found)]))
"""

    def told() -> Any:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
        return json.loads(done.stdout)

    assert told() == ["unreadable"]
    closed.chmod(0o755)
    assert told() == []


CHECKOUT = Path(__file__).resolve().parents[2]


def test_walk_that_was_cut_short_is_told() -> None:
    assert [f.code for f in flags.of_eaters(Eaters("/", 5, unfinished=True))] == ["unfinished"]
    assert list(flags.of_eaters(Eaters("/", 5))) == []


# --- a live training ------------------------------------------------------------------------------------------------


@pytest.fixture
def train(place: str, tmp_path: Path) -> Iterator[Callable[[Any], subprocess.Popen[bytes]]]:
    """train(log) is a live train.py that holds the run."""
    script = tmp_path / "train.py"
    script.write_text("import sys, time; f = open(sys.argv[1] + '/events', 'a'); print(1, flush=True); time.sleep(60)")
    started = []

    def go(log: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, script, place], stdout=log, start_new_session=True))
        wait_for(lambda: Path(place, "events").exists() and any(t.run for t in trainings.trainings([place], [])))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def about_training(run: str) -> dict[str, str]:
    # Whoever else on this box holds a deleted file open is no training.
    return {f.code: f.level for f in report([run]).flags if "pid" in f.message and f.code != "open-deleted"}


def test_training_is_green_its_silent_log_and_deleted_log_yellow(
    place: str, train: Callable[[Any], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    assert about_training(place) == {}
    with open(tmp_path / "out.log", "wb") as log:
        process = train(log)
    wait_for(lambda: (tmp_path / "out.log").stat().st_size)
    assert about_training(place) == {"training": "green"}
    os.utime(tmp_path / "out.log", (time.time() - thresholds.SILENT_LOG_SECONDS - 60,) * 2)
    assert about_training(place) == {"training": "green", "log-silent": "yellow"}
    os.utime(tmp_path / "out.log")
    assert about_training(place) == {"training": "green"}
    (tmp_path / "out.log").unlink()
    assert about_training(place) == {"training": "green", "log-deleted": "yellow"}
    process.kill()
    process.wait()
    assert about_training(place) == {}


def test_training_on_a_terminal_is_yellow_until_it_ends(place: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import time; time.sleep(60)")
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, str(tmp_path / "train.py"), place])
    try:
        wait_for(lambda: "on-terminal" in about_training(place))
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    assert "on-terminal" not in about_training(place)


# --- growth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "level"), [(2, "red"), (23, "red"), (30, "yellow"), (24 * 8, None), (None, None), (-1, "red")]
)
def test_growth_is_red_a_day_before_and_yellow_a_week_before(place: str, hours: int | None, level: str | None) -> None:
    now = time.time()
    sample = Sample(now - 3600, os.path.dirname(place), 40 * MB, 4 * MB, 36 * MB, place, 100)
    outlook = Outlook(None if hours is None else now + hours * 3600, 900, 40 * MB, 900)
    found = codes(place, trails=[Trail((sample,), outlook)], now=now).get("growth")
    assert found == (None if level is None else (level, command("prune", place, "--dry-run")))
    assert "growth" not in codes(place)
