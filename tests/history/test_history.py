"""The history: bounded, shared by any number of processes, and never worth the work that it is about."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ckptkit.history import records, remembered
from ckptkit.model.events import Alert, Damage, Deletion, Sample, Save
from ckptkit.model.reason import Reason
from ckptkit.ops.prune import discard, prune
from tests.support.runs import make_run, names
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

CHECKOUT = Path(__file__).resolve().parents[2]
THREE = {100: "intact", 200: "intact", 300: "intact"}
NOW = 1_800_000_000.0
LEFT = Reason("leftover", "left by a prune that was killed")
GIVEN_UP = Reason("given-up", "given up by its writer")


def sample(at: float = NOW, **other: Any) -> Sample:
    return Sample(at, "/volume", 100, 40, 60, **other)


def deletion(
    at: float = NOW,
    checkpoint: str = "checkpoint-1",
    reasons: tuple[Reason, ...] = (Reason("released", "no rule keeps it"),),
) -> Deletion:
    return Deletion(at, "root", "ckptkit prune", "cron", 7, "/run", checkpoint, 1, reasons, 10, 10)


EVENTS = (
    sample(run="/run", step=3, checkpoints=2, checkpoint_bytes=9),
    Save(NOW, "/run", "checkpoint-1", 1, 10, "save", 0.5),
    deletion(),
    Damage(NOW, "/run", "checkpoint-1", 1, "corrupt", "full", "bad-crc", "is broken"),
    Alert(NOW, "/volume", "used", 2, "yellow", "more than 60 %", "bin/prune"),
)


@pytest.fixture(autouse=True)
def _nothing_told_yet() -> None:
    records._told.clear()


def file() -> Path:
    return Path(remembered.state_directory(), records.FILE)


# --- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_recorded_is_recalled(event: Any) -> None:
    assert records.record(event) == ""
    assert records.recall(type(event)) == ([event], "")


def test_nothing_recorded_is_nothing_known_and_makes_no_file() -> None:
    assert records.recall(Sample) == ([], "")
    assert not file().exists()


def test_names_that_are_no_text_and_numbers_beyond_64_bits_are_kept() -> None:
    odd = os.fsdecode(b"/run-\xff\n\x1b[31m")
    assert records.record(sample(run=odd, step=10**30), sample(run="/other")) == ""
    assert records.recall(Sample, run=odd) == ([sample(run=odd, step=(1 << 63) - 1)], "")


def test_reasons_of_any_length_are_kept_short() -> None:
    assert records.record(deletion(reasons=(Reason("released", "x" * 100_000),))) == ""
    ((known,), _) = records.recall(Deletion)
    assert sum(len(reason.message) for reason in known.reasons) <= records.LONGEST_TEXT


def written_by_hand(reasons: str) -> tuple[Reason, ...]:
    """The one deletion on record, with its reasons as some version wrote them."""
    records.record(deletion())
    with closing(sqlite3.connect(file())) as db, db:
        db.execute("UPDATE deletions SET reasons = ?", [reasons])
    known, fault = records.recall(Deletion)
    assert fault == ""
    return known[-1].reasons


def test_reasons_that_an_older_version_wrote_are_told_without_a_code() -> None:
    assert written_by_hand('["no rule keeps it", "waits for a yes"]') == (
        Reason("", "no rule keeps it"), Reason("", "waits for a yes"),
    )  # fmt: skip
    assert written_by_hand('["no rule ke') == (Reason("", '["no rule ke'),)


def test_an_older_version_reads_the_sentences_of_what_this_one_writes() -> None:
    both = (Reason("released", "no rule keeps it"), Reason("for-room", "the next save would not fit"))
    records.record(deletion(reasons=both))
    with closing(sqlite3.connect(file())) as db:
        ((stored,),) = db.execute("SELECT reasons FROM deletions").fetchall()
    assert tuple(json.loads(stored)) == ("no rule keeps it", "the next save would not fit"), "as it reads them"
    assert records.recall(Deletion)[0][0].reasons == both


def test_newest_ones_since_a_time_come_oldest_first() -> None:
    records.record(*(sample(NOW + i) for i in range(10)))
    assert [s.at - NOW for s in records.recall(Sample, NOW + 3, most=2)[0]] == [8, 9]
    assert [s.at - NOW for s in records.recall(Sample, NOW + 8)[0]] == [8, 9]


# --- its bounds -----------------------------------------------------------------------------------------------------


def test_more_rows_than_are_kept_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(records.TABLES, Sample, records.Kept("samples", 5, 90))
    for i in range(12):
        records.record(sample(NOW + i))
    assert [s.at - NOW for s in records.recall(Sample)[0]] == [7, 8, 9, 10, 11]


def test_rows_older_than_their_days_are_forgotten() -> None:
    records.record(sample(NOW), deletion(NOW))
    records.record(sample(NOW + 91 * records.DAY))
    assert [s.at - NOW for s in records.recall(Sample)[0]] == [91 * records.DAY]
    assert len(records.recall(Deletion)[0]) == 1  # an audit lasts longer


def test_file_stays_bounded_whatever_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PAGES", 64)
    for i in range(60):
        assert records.record(*(deletion(NOW + i, "x" * 4000) for _ in range(5))) == ""
    assert file().stat().st_size <= 64 * 4096
    assert records.recall(Deletion)[0][-1].at == NOW + 59


# --- several at once ------------------------------------------------------------------------------------------------

WRITER = """
import sys
from ckptkit.history import records
from ckptkit.model.events import Sample
for i in range(40):
    fault = records.record(Sample(1.8e9 + i, sys.argv[1], 100, 40, 60, step=i))
    assert not fault, fault
"""


def test_eight_processes_that_begin_with_no_file_lose_nothing() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(i)], cwd=CHECKOUT) for i in range(8)]
    assert [writer.wait() for writer in writers] == [0] * 8
    samples, _ = records.recall(Sample)
    assert sorted((int(s.mount), s.step) for s in samples) == [(p, i) for p in range(8) for i in range(40)]
    with closing(sqlite3.connect(file())) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_killed_writer_leaves_a_file_that_the_next_one_uses() -> None:
    records.record(sample())
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER.replace("40", "100000"), "x"], cwd=CHECKOUT)
        time.sleep(0.4)
        writer.kill()
        writer.wait()
        assert records.record(sample()) == ""
    assert records.recall(Sample)[1] == "" and not file().with_name(f"{records.FILE}.broken").exists()


def test_locked_for_ever_costs_a_bounded_time_and_is_told_once() -> None:
    records.record(sample())
    with closing(sqlite3.connect(file(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert "database is locked" in records.record(sample())
        assert time.monotonic() - began < records.LONGEST_SECONDS + 1
        other.execute("ROLLBACK")
    assert records.record(sample()) == ""


# --- what can be in its way -----------------------------------------------------------------------------------------


def lost_once(*words: str) -> None:
    """Recording fails in words, the second time in none, and raises neither time."""
    told = records.record(sample())
    assert all(word in told for word in words) and records.record(sample()) == ""


@pytest.mark.mounts
@pytest.mark.parametrize("when", ["from the beginning", "later"])
def test_full_disk_loses_samples_alone(mount: Mount, fill: Fill, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    volume = mount("ext4", megabytes=8)
    monkeypatch.setenv("CKPTKIT_STATE", f"{volume}/state")
    if when == "later":
        records.record(sample())
    fill(volume)
    for _ in range(400):  # what fits into the pages that are there may still be kept
        if told := records.record(deletion(checkpoint="x" * 3000)):
            break
    assert "full" in told or "No space" in told or "unable to open" in told
    os.unlink(f"{volume}/ballast")
    assert records.record(sample(NOW + 1)) == ""
    assert records.recall(Sample)[0][-1].at == NOW + 1


@pytest.mark.mounts
def test_read_only_disk_loses_samples_and_is_still_read(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = mount("tmpfs", "size=4m")
    monkeypatch.setenv("CKPTKIT_STATE", volume)
    records.record(sample())
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    lost_once("read")
    assert records.recall(Sample) == ([sample()], "")


@pytest.mark.parametrize("offset", [0, 4096])
def test_file_of_wrong_bytes_is_moved_aside_and_a_new_one_begun(offset: int) -> None:
    for i in range(200):
        records.record(sample(NOW + i))
    with file().open("r+b") as broken:
        broken.seek(offset)
        broken.write(b"\xa5" * 8192)
    content = file().read_bytes()
    for i in range(300):
        assert records.record(sample(NOW + 500 + i)) == ""
    assert file().with_name(f"{records.FILE}.broken").read_bytes()[:2000] == content[:2000]
    samples, fault = records.recall(Sample)
    assert fault == "" and samples[-1].at == NOW + 799


@pytest.mark.parametrize("change", ["application_id=7", "user_version=99"])
def test_other_programs_and_later_versions_file_stays_as_it_is(change: str) -> None:
    file().parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file())) as db:
        db.execute("CREATE TABLE samples (theirs)")
        db.execute(f"PRAGMA {change}")
    before = file().read_bytes()
    lost_once("it is not ours")
    assert file().read_bytes() == before and os.listdir(file().parent) == [records.FILE]


def test_directory_in_its_place_loses_samples() -> None:
    file().mkdir(parents=True)
    lost_once("unable to open")
    assert "can't be read" in records.recall(Sample)[1]


@pytest.mark.parametrize("home", ["", None], ids=["HOME is empty", "nobody knows it"])
def test_user_without_a_home_loses_samples_and_leaves_nothing_about(tmp_path: Path, home: str | None) -> None:
    tmp_path.chmod(0o777)
    stranger = ("setpriv", "--reuid=54321", "--clear-groups") if home is None and os.geteuid() == 0 else ()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)} | ({} if home is None else {"HOME": home})
    code = (
        "from ckptkit.history import *; from ckptkit.history import records; from ckptkit.model.events import Sample\n"
    )
    code += (
        "print(records.record(Sample(1.0, '/', 1, 1, 1))); remember_policy('/run', {}); print(recall_policy('/run'))"
    )
    done = subprocess.run(
        [*stranger, sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "can't be written" in done.stdout and done.stdout.endswith("None\n")
    assert os.listdir(tmp_path) == []


# --- what sweeps record ---------------------------------------------------------------------------------------------


@pytest.mark.mounts  # what was freed is measured: nobody else may write there
def test_sweep_records_what_is_gone_by_whom_and_why(run_of: RunOf, ckptkit: Ckptkit, mount: Mount) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"}, at=f"{mount('tmpfs')}/run")
    assert ckptkit("prune", run).code == 0
    gone, fault = records.recall(Deletion)
    assert fault == "" and [d.checkpoint for d in gone] == ["checkpoint-100", "checkpoint-200"]
    assert {(d.program, d.run, d.at > 0) for d in gone} == {("ckptkit prune", run, True)}
    assert gone[0].expected_bytes > 0 and gone[0].sweep_freed_bytes >= gone[0].expected_bytes * 0.9
    assert [[reason.code for reason in d.reasons] for d in gone] == [["released"], ["incomplete"]]
    assert gone[0].reasons[0].message == "no rule keeps it"


def test_library_call_has_the_programs_own_name(run_of: RunOf, tmp_path: Path) -> None:
    script = tmp_path / "tidy.py"
    script.write_text(f"from ckptkit.ops.prune import prune; prune({run_of(THREE)!r})")
    process = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": str(CHECKOUT)})
    assert process.wait() == 0
    ((gone,), _) = records.recall(Deletion)
    assert (gone.program, gone.pid) == ("tidy.py", process.pid)


def test_dry_run_and_idle_sweep_record_nothing_and_load_no_sqlite(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    for words in ((run, "-n"), (run, "--keep-last", "5")):
        called = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "ckptkit", "prune", *words],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "sqlite3" not in called.stderr and "ckptkit.model.events" not in called.stderr
    assert not file().exists()


@pytest.mark.mounts
def test_what_could_not_be_deleted_is_not_recorded(mount: Mount, real: str) -> None:
    volume = mount("ext4", megabytes=16)
    run = make_run(real, f"{volume}/run", THREE)
    subprocess.run(["chattr", "+i", f"{run}/checkpoint-100"], check=True)
    assert present(prune(run, patient=False).outcome).failures
    assert records.recall(Deletion) == ([], "")
    subprocess.run(["chattr", "-i", f"{run}/checkpoint-100"], check=True)


def test_killed_sweeps_deletion_is_recorded_by_the_one_that_finishes_it(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    os.rename(f"{run}/checkpoint-100", f"{run}/.ckptkit-deleting-checkpoint-100")
    prune(run)
    ((gone,), _) = records.recall(Deletion)
    assert (gone.checkpoint, gone.step, gone.reasons) == ("checkpoint-100", 100, (LEFT,))


def test_failed_save_that_is_given_up_is_recorded(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "torn"})
    discard(f"{run}/checkpoint-200", by="the guard")
    ((gone,), _) = records.recall(Deletion)
    assert (gone.program, gone.step, gone.reasons) == ("the guard", 200, (GIVEN_UP,))


@pytest.mark.parametrize("trouble", ["junk", "directory", "foreign", "no home"])
def test_no_trouble_with_the_history_reaches_a_sweep(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, trouble: str
) -> None:
    run, state = run_of(THREE), tmp_path / "state"
    state.mkdir()
    if trouble == "junk":
        (state / records.FILE).write_bytes(os.urandom(5000))
    elif trouble == "directory":
        (state / records.FILE).mkdir()
    elif trouble == "foreign":
        with closing(sqlite3.connect(state / records.FILE)) as db:
            db.execute("CREATE TABLE theirs (x)")
    environment = {"CKPTKIT_STATE": "" if trouble == "no home" else str(state), "HOME": "", "XDG_STATE_HOME": ""}
    called = ckptkit("prune", run, env=environment)
    assert called.code == 0 and called.err == "" and names(run) == ["checkpoint-200", "checkpoint-300"]
    assert called.out.count("can't be written") == (trouble != "junk")
    assert os.listdir(tmp_path / "run") and "~" not in os.listdir(tmp_path)


@pytest.mark.mounts
def test_sweep_at_0_bytes_with_its_history_there_frees_and_then_records(
    mount: Mount, real: str, fill: Fill, ckptkit: Ckptkit
) -> None:
    volume = mount("ext4", megabytes=16, options=("-m", "0"))
    run = make_run(real, f"{volume}/run", THREE)
    fill(volume)
    called = ckptkit("prune", run, env={"CKPTKIT_STATE": f"{volume}/state"})
    assert called.code == 0 and names(run) == ["checkpoint-200", "checkpoint-300"]
    assert "can't be written" not in called.out and os.path.getsize(f"{volume}/state/{records.FILE}") > 0
