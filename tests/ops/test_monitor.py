"""bin/monitor on real runs and volumes: warns once a change, records, ends cleanly, and holds its memory."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ckptkit as kit
from ckptkit.errors import NoSuchRun, UsageError
from ckptkit.history import records
from ckptkit.model.events import Alert, Outlook, Sample
from ckptkit.ops.monitor import Tick, Watch
from ckptkit.ops.monitor import watch as ops_watch
from ckptkit.ops.prune import prune
from ckptkit.ops.read import scan
from tests.support.runs import make_run, set_age
from tests.support.typed import Ckptkit, Mount, RunOf, present

CHECKOUT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
NOW = 1_800_000_000.0


def codes(tick: Tick) -> set[tuple[str, int]]:
    return {(a.code, a.rung) for a in tick.alerts}


# --- alerts on real volumes -----------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_use_rises_and_clears_on_a_real_volume_and_each_change_is_told_once(mount: Mount) -> None:
    volume = mount("tmpfs", "size=40m")
    watch, ballast = Watch(volume, 600.0), Path(volume, "ballast")
    told = []
    for mib in (0, 21, 21, 25, 33, 37, 37, 1):
        ballast.write_bytes(b"\1" * (mib * MIB))
        told.append([(a.code, a.rung) for a in watch.tick(time.time()).alerts])
    used = [("used", 1)], [("used", 2)], [("used", 3)], [("used", 4)], [("used", 0)]
    assert told == [[], used[0], [], used[1], used[2], used[3], [], used[4]]


@pytest.mark.mounts
def test_headroom_shrinks_and_recovers_with_real_checkpoints_and_looks_come_faster(mount: Mount, real: str) -> None:
    volume = mount("tmpfs", "size=4m")
    run = make_run(real, f"{volume}/run", {100: "intact"})
    save = scan(run).checkpoints[0].allocated_bytes
    watch, ballast = Watch(volume, 600.0), Path(volume, "ballast")
    before = watch.tick(NOW)
    assert before.wait == 600
    need = before.sight.runs[0].save_bytes
    assert need > save
    ballast.write_bytes(b"\1" * (os.statvfs(volume).f_bavail * 4096 - int(1.5 * need)))
    tight = watch.tick(NOW + 1)
    assert ("headroom", 1) in codes(tight) and 400 < tight.wait < 500
    ballast.write_bytes(b"\1" * (ballast.stat().st_size + need))
    assert ("headroom", 2) in codes(watch.tick(NOW + 2))
    ballast.unlink()
    assert ("headroom", 0) in codes(watch.tick(NOW + 3))


@pytest.mark.mounts
def test_inodes_run_out_and_come_back(mount: Mount) -> None:
    volume = mount("tmpfs", "size=4m,nr_inodes=100")
    watch = Watch(volume, 600.0)
    for i in range(92):
        Path(volume, str(i)).touch()
    assert ("inodes", 4) in codes(watch.tick(NOW))
    for i in range(60):
        Path(volume, str(i)).unlink()
    assert ("inodes", 0) in codes(watch.tick(NOW))


@pytest.mark.mounts
def test_read_only_volume_is_told_once_and_when_it_can_be_written_again(mount: Mount) -> None:
    volume = mount("ext4")
    watch = Watch(volume, 600.0)
    assert watch.tick(NOW).alerts == ()
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    assert codes(watch.tick(NOW + 600)) == {("read-only", 1)} and watch.tick(NOW + 1200).alerts == ()
    subprocess.run(["mount", "-o", "remount,rw", volume], check=True)
    assert codes(watch.tick(NOW + 1800)) == {("read-only", 0)}


def test_newest_one_torn_is_told_and_clears_with_the_next_intact_one(run_of: RunOf, real: str) -> None:
    run = run_of({100: "intact", 200: "torn"})
    watch = Watch(run, 600.0)
    (torn,) = [a for a in watch.tick(time.time()).alerts if a.code == "damaged"]
    assert torn.level == "red" and "checkpoint-200, the newest, is incomplete" in torn.message
    make_run(real, run, {300: "intact"}, age=600)
    assert ("damaged", 0) in codes(watch.tick(time.time()))


def test_more_than_the_policy_keeps_is_told_but_not_while_a_save_is_fresh(run_of: RunOf, real: str) -> None:
    run = run_of({100: "intact", 200: "intact"})
    watch = Watch(run, 600.0)
    assert not any(a.code == "count" for a in watch.tick(time.time()).alerts)
    make_run(real, run, {300: "intact"}, age=10)
    assert not any(a.code == "count" for a in watch.tick(time.time()).alerts)
    assert ("count", 1) in codes(watch.tick(time.time() + 300))
    prune(run)
    assert ("count", 0) in codes(watch.tick(time.time() + 301))


def test_no_save_for_three_intervals_and_the_next_one_clears_it(run_of: RunOf, real: str) -> None:
    run, now = run_of({100: "intact", 200: "intact"}), time.time()
    set_age(f"{run}/checkpoint-100", now, 1200)
    set_age(f"{run}/checkpoint-200", now, 600)
    watch = Watch(run, 600.0)
    assert not any(a.code == "no-save" for a in watch.tick(now).alerts)
    assert ("no-save", 1) in codes(watch.tick(now + 1300))
    make_run(real, run, {300: "intact"}, age=0)
    set_age(f"{run}/checkpoint-300", now + 1390, 0)
    assert ("no-save", 0) in codes(watch.tick(now + 1400))


@pytest.mark.mounts
def test_volume_that_goes_away_is_told_once_and_the_monitor_goes_on(calm: str) -> None:
    here, gone = Path(calm, "here"), Path(calm, "gone")
    here.mkdir()
    watch = Watch(str(here), 600.0)
    assert watch.tick(NOW).alerts == ()
    here.rename(gone)
    assert codes(watch.tick(NOW)) == {("unreadable", 1)} and watch.tick(NOW).alerts == ()
    gone.rename(here)
    assert codes(watch.tick(NOW)) == {("unreadable", 0)}


@pytest.mark.mounts
def test_run_with_a_broken_configuration_hides_no_other(run_of: RunOf, calm: str) -> None:
    good, bad = run_of({100: "intact"}, at=f"{calm}/good"), run_of({100: "intact"}, at=f"{calm}/bad")
    Path(bad, "ckptkit.toml").write_text("keep_lats = 1")
    tick = Watch(calm, 600.0).tick(time.time())
    assert [r.sample.run for r in tick.sight.runs] == [good]
    assert [(a.code, a.subject) for a in tick.alerts] == [("unreadable", bad)]


def test_outlook_is_asked_with_the_samples_of_the_run_oldest_first(run_of: RunOf) -> None:
    run, asked = run_of({100: "intact"}), []

    def outlook(samples: Any) -> Outlook:
        asked.append([s.at for s in samples])
        return Outlook(NOW + 3600 * 5, 900, 0, None)

    watch = Watch(run, 600.0, outlook)
    assert ("full-soon", 2) in codes(watch.tick(NOW))
    watch.tick(NOW + 600)
    assert asked == [[NOW], [NOW, NOW + 600]]


# --- what it keeps --------------------------------------------------------------------------------------------------


def test_samples_of_volume_and_run_are_kept_and_not_more_often_than_is_worth_it(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    watch = Watch(run, 600.0)
    for second in (0, 5, 10, 40):
        watch.tick(NOW + second)
    samples, fault = records.recall(Sample)
    assert fault == "" and [(s.at - NOW, s.run) for s in samples] == [(0, ""), (0, run), (40, ""), (40, run)]
    assert (samples[1].step, samples[1].checkpoints) == (200, 2) and samples[1].checkpoint_bytes > 0


def test_next_monitor_goes_on_where_the_last_one_ended(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "torn"})
    assert Watch(run, 600.0).tick(NOW).alerts
    assert Watch(run, 600.0).tick(NOW + 60).alerts == ()
    (trail,) = Watch(run, 600.0).tick(NOW + 120).trail.values()
    assert [s.at - NOW for s in trail] == [0, 60, 120]
    assert [a.code for a in records.recall(Alert)[0]].count("damaged") == 1


def test_lost_history_is_told_once_and_alerts_all_the_same(run_of: RunOf, monkeypatch: pytest.MonkeyPatch) -> None:
    records._told.clear()
    monkeypatch.setenv("CKPTKIT_STATE", "/dev/null/nowhere")
    watch = Watch(run_of({100: "torn"}), 600.0)
    first, second = watch.tick(NOW), watch.tick(NOW + 600)
    assert len(first.faults) == 1 and "can't be written" in first.faults[0] and second.faults == ()
    assert ("damaged", 1) in codes(first) and second.alerts == ()


@pytest.mark.slow
def test_a_day_in_constant_memory(run_of: RunOf) -> None:
    """A look every 10 minutes, at a run whose state changes. What is kept a look adds up every day; a cache that a
    library fills does it once: so the day that grew least counts. Apart, where nothing but it runs: each look goes
    through every process."""
    alone = ("unshare", "--pid", "--fork", "--mount-proc") if os.geteuid() == 0 else ()
    command = [*alone, sys.executable, "-m", "tests.support.days_of_looks", run_of({100: "intact", 200: "intact"})]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    sizes = json.loads(done.stdout)
    assert len(sizes) == 3
    assert min(after - before for before, after in itertools.pairwise(sizes)) < 16 << 10, sizes


def test_loop_waits_as_told_by_the_given_clock_and_sleeper(tmp_path: Path) -> None:
    ticks, waits = list[Tick](), list[float]()

    def rest(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 144

    ops_watch(str(tmp_path), ticks.append, rest, every=600.0, clock=lambda: NOW + sum(waits))
    assert waits == [600.0] * 144
    assert [t.sight.at - NOW for t in ticks] == [600.0 * i for i in range(144)]


# --- in a notebook --------------------------------------------------------------------------------------------------


def until(condition: Callable[[], list[Any] | Tick | None], seconds: int = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


@pytest.mark.mounts
def test_notebooks_handle_tells_alerts_and_stops(run_of: RunOf, calm: str) -> None:
    alerts: list[Any] = []
    watching = kit.monitor(run_of({100: "torn"}, at=f"{calm}/run"), every="1s", alerted=alerts.append)
    until(lambda: alerts and watching.last)
    assert watching.running and alerts[0].code == "damaged"
    watching.stop()
    assert not watching.running


def test_notebooks_monitor_is_no_reason_for_the_kernel_to_stay(tmp_path: Path) -> None:
    code = f"import ckptkit; m = ckptkit.monitor({str(tmp_path)!r}); assert m.running"
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, timeout=30)


def test_notebook_is_told_at_once_what_can_not_be_meant(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        kit.monitor(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="every='often'"):
        kit.monitor(str(tmp_path), every="often")
    with pytest.raises(UsageError, match="--webhook"):
        kit.monitor(str(tmp_path), webhook="file:///etc/passwd")


# --- as typed -------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_once_and_quiet_is_silent_on_a_healthy_run_and_speaks_once_of_a_change(
    run_of: RunOf, ckptkit: Ckptkit, real: str, calm: str
) -> None:
    run = run_of({100: "intact", 200: "intact"}, at=f"{calm}/run")
    now = time.time()
    set_age(f"{run}/checkpoint-100", now, 600)
    set_age(f"{run}/checkpoint-200", now, 300)
    assert ckptkit("monitor", "--once", "-q", run) == (0, "", "")
    os.unlink(f"{run}/checkpoint-200/trainer_state.json")
    set_age(f"{run}/checkpoint-200", now, 300)
    said = ckptkit("monitor", "--once", "-q", run)
    assert said.code == 0 and said.out == "" and said.err.count("\n") == 1 and "RED" in said.err
    assert ckptkit("monitor", "--once", "-q", run) == (0, "", "")
    make_run(real, run, {300: "intact"}, age=100)
    assert "GREEN" in ckptkit("monitor", "--once", "-q", run).err
    assert ckptkit("monitor", "--once", "-q", run) == (0, "", "")


def test_once_prints_a_line_a_volume_and_a_run_and_one_document(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact"})
    said = ckptkit("monitor", "--once", run)
    assert said.out.count("\n") == 2 and "% used" in said.out and "step 200 intact" in said.out
    document = ckptkit("monitor", "--once", "--json", run).json
    assert document["schema"] == "ckptkit.monitor/1"
    assert set(document) >= {"at", "volumes", "runs", "alerts", "standing", "errors", "next_look_seconds"}
    assert document["runs"][0]["newest"] == {"path": f"{run}/checkpoint-200", "verdict": "intact"}


def test_what_is_typed_wrong_is_one_line(ckptkit: Ckptkit, tmp_path: Path) -> None:
    faults = {
        ("monitor", tmp_path / "nowhere"): 10,
        ("monitor", tmp_path, "--every", "often"): 2,
        ("monitor", tmp_path, "--webhook", "ftp://x/y"): 2,
        ("monitor", tmp_path, "--ping", "http://"): 2,
        ("monitor", tmp_path, "--exec", "'"): 2,
    }
    for words, code in faults.items():
        called = ckptkit(*words)
        assert called.code == code and called.err.count("\n") == 1


def begin(*words: str, **options: Any) -> subprocess.Popen[Any]:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"} | options.pop("env", {})
    return subprocess.Popen([sys.executable, "-m", "ckptkit", "monitor", *map(str, words)], env=environment, **options)


@pytest.mark.mounts
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_cleanly(run_of: RunOf, calm: str, number: signal.Signals, code: int) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = begin(run_of({100: "intact"}, at=f"{calm}/run"), "--every", "1h", **pipes)
    assert "% used" in present(process.stdout).readline() and "step 100" in present(process.stdout).readline()
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", "") and process.returncode == code


def rest_of(terminal: int, seconds: int) -> bytes:
    """All that is still written to it until the other end is closed: one that nobody reads would hold the writer up."""
    seen, until = b"", time.monotonic() + seconds
    with suppress(OSError):  # Linux's way of saying that nobody has the other end open
        while select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
            seen += os.read(terminal, 65536)
    return seen


@pytest.mark.parametrize("colour", [True, False])
def test_terminal_gets_a_page_with_gauge_table_and_alerts_and_is_left_as_it_was(run_of: RunOf, colour: bool) -> None:
    run = run_of({100: "intact", 200: "torn"})
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "160"} | ({} if colour else {"NO_COLOR": "1"})
    process = begin(run, "--every", "1h", env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"Ctrl-C ends it" not in seen:
        seen += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    seen += rest_of(ours, seconds=20)
    assert process.wait(timeout=20) == 130
    os.close(ours)
    page = seen.decode()
    assert "█" in page and "room for" in page and "the newest, is incomplete" in page
    assert page.count("\x1b[?25l") == page.count("\x1b[?25h") == 1  # the cursor is shown again
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", page)) == colour


def test_signal_that_a_finaliser_swallows_ends_it_all_the_same() -> None:
    """Python prints and drops what is raised in __del__; the hour's wait that follows must not begin."""
    script = """
import os, signal, sys
from ckptkit.cli.monitor import _Ending
ending = _Ending()
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # gives the handler a turn, here
del (dying := [Dying()])[0]
sys.exit(ending.code() if ending.rest(3600) else 1)
"""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, capture_output=True, text=True)
    assert done.returncode == 130 and "Exception ignored in" in done.stderr


def test_log_holds_the_warnings(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    assert ckptkit("monitor", "--once", "-q", run_of({100: "torn"}), "--log-to", tmp_path / "log").code == 0
    assert "WARNING monitor: RED" in (tmp_path / "log").read_text()


# --- the past -------------------------------------------------------------------------------------------------------


def test_audit_tells_each_deletion_by_whom_and_why(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"})
    assert ckptkit("prune", run).code == 0
    page = ckptkit("diskreport", "--audit", run)
    assert page.code == 0 and f"{run}/checkpoint-100" in page.out and "with ckptkit prune (process" in page.out
    assert "no rule keeps it" in page.out and page.out.count("    why ") == 2
    document = ckptkit("diskreport", "--audit", run, "--json").json
    assert document["schema"] == "ckptkit.diskreport/1" and [d["step"] for d in document["deletions"]] == [100, 200]
    assert all(d["at"].endswith("Z") and d["expected_bytes"] > 0 for d in document["deletions"])
    assert [[reason["code"] for reason in d["reasons"]] for d in document["deletions"]] == [
        ["released"],
        ["incomplete"],
    ]
    assert ckptkit("diskreport", "--audit", f"{run}-other").out == "no deletion is on record\n"


def test_use_over_time_is_drawn_from_the_samples(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    watch, now = Watch(run, 600.0), time.time()
    for i in range(30):
        watch.tick(now - 18_000 + i * 600)
    page = ckptkit("diskreport", "--since", "24h", run)
    assert page.code == 0 and re.search("[▁▂▃▄▅▆▇█]{30}", page.out) and "step 100" in page.out
    recent = ckptkit("diskreport", "--since", "2h", run, "--json").json
    assert 0 < len([s for s in recent["samples"] if s["run"] == run]) < 15
    assert "no samples since" in ckptkit("diskreport", "--since", "24h", run, env={"CKPTKIT_STATE": "/nowhere"}).out


def test_history_that_can_not_be_read_is_told_and_is_no_success(ckptkit: Ckptkit, tmp_path: Path) -> None:
    (tmp_path / "state" / records.FILE).mkdir(parents=True)
    for words in (("--audit",), ("--since", "1h")):
        called = ckptkit("diskreport", *words, ".", "--json", env={"CKPTKIT_STATE": str(tmp_path / "state")})
        assert called.code == 3 and "can't be read" in called.err and json.loads(called.out)["errors"]
