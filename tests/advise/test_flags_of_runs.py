"""What diskreport flags of a run, or of a volume's last hours, rises on a real volume and clears when it is mended."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.advise import flags
from ckptkit.ops.diskreport import report
from ckptkit.ops.monitor import Watch, conditions
from ckptkit.ops.prune import prune
from ckptkit.system import trainings, usage
from tests.support.runs import make_run, set_age
from tests.support.typed import Mount
from tests.support.waiting import wait_for

GB = 10**9
MIB = 1 << 20
pytestmark = pytest.mark.mounts


@pytest.fixture
def volume(mount: Mount) -> str:
    """An ext4 of 20 GB that takes a few MB of the box: what is allocated on it is not written."""
    return mount("ext4", megabytes=20_000, options=("-m", "0", "-O", "^has_journal"))


def told(run: str, **options: Any) -> dict[str, str]:
    """{code: level} of all flags that speak of the run's volume, or of the run."""
    return {f.code: f.level for f in report([run], **options).flags if os.path.dirname(run) in f.message}


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_no_intact_one_is_red_until_there_is_one(volume: str, real: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "torn"})
    assert told(run)["no-intact"] == "red" and "intact" not in told(run)
    make_run(real, run, {200: "intact"})
    assert told(run)["intact"] == "green" and "no-intact" not in told(run)


@pytest.mark.parametrize("state, code", [("torn", "incomplete"), ("corrupt", "corrupt")])
def test_damaged_one_is_red_until_prune_took_it(volume: str, real: str, state: str, code: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact", 200: state, 300: "intact"})
    assert told(run)[code] == "red"
    prune(run)
    assert code not in told(run)


def test_one_that_cant_be_judged_is_yellow_until_it_can(volume: str, real: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact"})
    held = f"{run}/checkpoint-200/optimizer.pt"
    os.rename(held, f"{run}/optimizer.pt")
    os.mkfifo(held)
    assert told(run)["unknown"] == "yellow"
    os.rename(f"{run}/optimizer.pt", held)
    assert "unknown" not in told(run)


def test_more_than_the_policy_keeps_are_red_until_prune_took_them(volume: str, real: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact", 300: "intact"})
    assert told(run)["too-many"] == "red"
    prune(run)
    assert "too-many" not in told(run)


def test_one_that_is_much_larger_is_yellow_until_that_is_gone(volume: str, real: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact", 300: "intact"})
    assert "outlier" not in told(run)
    Path(run, "checkpoint-200", "dump").write_bytes(b"\1" * 4 * MIB)
    assert told(run)["outlier"] == "yellow"
    Path(run, "checkpoint-200", "dump").unlink()
    assert "outlier" not in told(run)


def test_what_a_killed_sweep_left_is_yellow_until_the_next_one(volume: str, real: str) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact"})
    os.rename(f"{run}/checkpoint-100", f"{run}/.ckptkit-deleting-checkpoint-100")
    assert told(run)["leftovers"] == "yellow"
    prune(run)
    assert "leftovers" not in told(run)


def test_run_in_memory_is_yellow_until_it_lies_on_a_disk(volume: str, mount: Mount, real: str) -> None:
    run = make_run(real, f"{mount('tmpfs')}/run", {100: "intact"})
    assert told(run)["not-durable"] == "yellow"
    assert "not-durable" not in told(shutil.move(run, f"{volume}/run"))


def test_walk_that_ran_out_of_time_is_yellow_and_one_that_did_not_is_not(
    volume: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(volume, "a", "b").mkdir(parents=True)
    with monkeypatch.context() as box:
        box.setenv("PATH", str(tmp_path))  # one without `du`, which might be done before it is ended
        cut, whole = (list(flags.of_eaters(usage.eaters(volume, seconds=seconds))) for seconds in (0, 60))
    assert [(f.code, f.level) for f in cut] == [("unfinished", "yellow")] and whole == []


# --- the last hours -------------------------------------------------------------------------------------------------


def allocate(path: str, size: int) -> None:
    """Make a file of so many bytes; none of them is written."""
    Path(path).unlink(missing_ok=True)
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


@pytest.fixture
def hours(volume: str, real: str) -> Callable[..., list[tuple[set[tuple[str, int]], str, dict[str, str]]]]:
    """hours(sizes) lets a monitor look every 10 minutes at ballast of those GB; yields what it and diskreport told."""
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact"})
    watch, clock = Watch(volume, 600.0), [time.time() - 86_000]

    def go(sizes: tuple[Any, ...]) -> Iterator[tuple[set[tuple[str, int]], str, dict[str, str]]]:
        for size in sizes:
            allocate(f"{volume}/ballast", int(size * GB))
            clock[0] += 600
            for path in sorted(Path(run).iterdir()):  # a run that saves: no news of that
                set_age(str(path), clock[0], 300)
            tick = watch.tick(clock[0])
            alerts = {(a.code, a.rung) for a in tick.alerts if a.subject == volume}
            yield alerts, conditions(tick)[volume], told(run, now=clock[0] + 1)

    return lambda *sizes: list(go(sizes))


def test_more_than_5_gb_an_hour_is_yellow_until_it_grows_no_more(
    hours: Callable[..., list[tuple[set[tuple[str, int]], str, dict[str, str]]]],
) -> None:
    slow = hours(1, 1.5, 2, 2.5, 3, 3.5)  # 3 GB an hour
    assert not any(("growth", 1) in alerts or "fast-growth" in seen for alerts, _, seen in slow)
    fast = hours(4.5, 5.5, 6.5, 7.5, 8.5)  # 6 GB an hour
    assert [("growth", 1) in alerts for alerts, _, _ in fast].count(True) == 1
    assert fast[-1][2]["fast-growth"] == "yellow" and fast[-1][1].startswith("growing 6.0 GB")
    calm = hours(*[8.5] * 7)
    assert [("growth", 0) in alerts for alerts, _, _ in calm].count(True) == 1
    assert "fast-growth" not in calm[-1][2]


def test_30_to_40_percent_for_hours_is_green_and_stable(
    hours: Callable[..., list[tuple[set[tuple[str, int]], str, dict[str, str]]]],
) -> None:
    """Of 20.9 GB: a third, then more than 40 %, then a third again for longer than six hours."""
    first = hours(6.9, 7.1, 7.0)
    assert first[-1][1] == "healthy" and first[-1][2]["stable"] == "green"
    above = hours(9.5, 9.5, 9.5)
    assert above[-1][1] != "healthy" and "stable" not in above[-1][2]
    again = hours(*[7.0] * 38)
    assert "stable" not in again[0][2] and again[-1][1] == "healthy" and again[-1][2]["stable"] == "green"


@pytest.mark.slow
def test_steady_outside_of_it_is_not_called_healthy(
    hours: Callable[..., list[tuple[set[tuple[str, int]], str, dict[str, str]]]],
) -> None:
    for size in (3, 15):
        assert hours(*[size] * 38)[-1][1] == "stable"
        assert "stable" not in hours(size)[-1][2]


# --- a live training ------------------------------------------------------------------------------------------------


def test_training_whose_session_is_gone_is_yellow_until_it_ends(volume: str, real: str, tmp_path: Path) -> None:
    run = make_run(real, f"{volume}/run", {100: "intact"})
    script = tmp_path / "train.py"
    script.write_text("import sys, time; f = open(sys.argv[1] + '/events', 'a'); time.sleep(600)")
    tmux = ("tmux", "-S", str(tmp_path / "socket"))
    # It ignores SIGHUP and keeps its terminal: nohup would let go of that, which ends the session at once.
    train = f"trap '' HUP; exec {sys.executable} {script} {run}"
    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-s", "mine", train], check=True, cwd=tmp_path)

    def seen() -> set[str]:
        """Of this training alone: others of the box may hold deleted files."""
        return {f.code for f in report([run]).flags if f"(pid {training.pid})" in f.message}

    try:
        training = wait_for(
            lambda: next((t for t in trainings.trainings([run], []) if t.session == "tmux" and t.run), None)
        )
        assert seen() == {"training"}
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    wait_for(lambda: "session-lost" in seen())
    os.kill(training.pid, 9)
    wait_for(lambda: seen() == set())
