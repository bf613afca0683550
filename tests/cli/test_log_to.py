"""--log-to FILE: our own log. Whatever is not ours is never written, renamed or deleted; a log never stops the work."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import names, tree
from tests.support.typed import Ckptkit, Fill, Mount, RunOf

THREE = {100: "intact", 200: "intact", 300: "intact"}
OURS = "ckptkit 2026-01-01T00:00:00+0000 INFO prune: deleted 1 checkpoint\n"
FULL = 10_000_000  # bytes, at which it is rotated


def full_log(path: Path) -> Path:
    """A log of ours that the next line rotates."""
    path.write_text(OURS)
    os.truncate(path, FULL)
    return path


def rotations(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p.name.startswith(f"{path.stem}.2"))


def old_rotations(folder: Path, first_line: Any = OURS) -> None:
    """Seven of them, each a minute older than the one before."""
    for number in range(7):
        path = folder / f"prune.2026-01-01_00-00-0{number}_000000.log"
        path.write_text(first_line)
        os.utime(path, (time.time() - 60 * (10 - number),) * 2)


# --- what is not ours -----------------------------------------------------------------------------------------------


def test_logs_of_a_person_beside_ours_are_never_rotated_nor_deleted(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = run_of(THREE)
    (tmp_path / "train.log").write_text("{'loss': 1.9}\n" * 800_000)
    for number in range(1, 9):
        (tmp_path / f"train.run{number}.log").write_text("a person's\n")
    before = tree(tmp_path)
    for more in (("--dry-run",), ()):
        called = ckptkit("prune", run, *more, "--log-to", "train.log")
        assert called.code == 2 and called.err.count("\n") == 1 and "not a log of ckptkit" in called.err
        assert called.out == "" and tree(tmp_path) == before


NOT_OURS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("a person's notes\n"),
    "one_byte": lambda path: path.write_bytes(b"\0"),
    "talks_of_us": lambda path: path.write_text("ckptkit is set up here\n"),
    "an_older_mark": lambda path: path.write_text("2026-01-01T00:00:00+0000 INFO train: step 1\n"),
    "a_directory": lambda path: path.mkdir(),
    "a_pipe": lambda path: os.mkfifo(path),
    "a_symlink": lambda path: path.symlink_to(_elsewhere(path)),
    "a_dangling_symlink": lambda path: path.symlink_to("nowhere"),
}


def _elsewhere(path: Path) -> Path:
    other = path.with_name("elsewhere")
    other.write_text(OURS)
    return other


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_is_not_ours_is_refused_before_anything_is_done(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, name: str
) -> None:
    run = run_of(THREE)
    NOT_OURS[name](tmp_path / "log")
    before = tree(tmp_path)
    called = ckptkit("prune", run, "--log-to", tmp_path / "log")
    assert called.code == 2 and called.err.count("\n") == 1 and "name a" in called.err
    assert tree(tmp_path) == before and len(names(run)) == 3


def test_a_device_is_refused_and_json_says_so(run_of: RunOf, ckptkit: Ckptkit) -> None:
    called = ckptkit("verify", run_of(THREE), "--log-to", "/dev/null", "--json")
    assert called.code == 2 and "a device" in called.json["error"]["message"]


VERBS = {
    "prune": "RUN", "strip": "RUN", "verify": "RUN", "latest": "RUN", "diskreport": "RUN", "preflight": "RUN",
    "monitor": "RUN", "recover": "RUN", "pin": "RUN/checkpoint-100", "unpin": "RUN/checkpoint-100",
    "plan": "--from=RUN", "discard": "RUN/checkpoint-100", "move": "RUN",
}  # fmt: skip
MORE = {"plan": ("--max-steps", "9"), "move": ("/dev/shm/copy",)}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_log_that_is_not_ours_and_no_verb_but_recover_knows_log(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, verb: str
) -> None:
    words = [VERBS[verb].replace("RUN", run_of(THREE)), *MORE.get(verb, ())]
    (tmp_path / "train.log").write_text("{'loss': 1.9}\n")
    before = tree(tmp_path)
    called = ckptkit(verb, *words, "--log-to", "train.log")
    assert called.code == 2 and "not a log of ckptkit" in called.err
    if verb != "recover":
        for old in (("--log", "train.log"), ("--log=train.log",), ("--log",)):
            called = ckptkit(verb, *words, *old)
            assert called.code == 2 and called.err.count("\n") == 1 and "--log is --log-to FILE" in called.err
    assert tree(tmp_path) == before


def test_recover_reads_one_log_and_writes_the_other(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("No space left on device (os error 28)\n")
    called = ckptkit("recover", "--log", "train.log", "--log-to", "ours.log")
    assert called.code == 0 and "full-disk" in called.out
    assert "full-disk" in (tmp_path / "ours.log").read_text()
    assert (tmp_path / "train.log").read_text() == "No space left on device (os error 28)\n"


# --- what is ours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", OURS, "ckptk"], ids=["empty", "ours", "first_line_cut_by_a_full_disk"])
def test_a_log_of_ours_and_an_empty_file_are_appended_to(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, start: str
) -> None:
    (tmp_path / "log").write_text(start)
    assert ckptkit("prune", run_of(THREE), "-q", "--log-to", "log") == (0, "", "")
    text = (tmp_path / "log").read_text()
    assert text.startswith(start) and "deleted 1 checkpoint" in text


def test_what_we_write_is_ours_at_the_next_call_and_after_a_rotation(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run, log = run_of(THREE), tmp_path / "prune.log"
    for _ in range(2):
        assert ckptkit("verify", run, "--log-to", log).code == 0
    os.truncate(log, FULL)
    for _ in range(2):
        assert ckptkit("verify", run, "--log-to", log).code == 0
    assert len(rotations(log)) == 1 and log.read_text().startswith("ckptkit 2")


def test_a_name_with_braces_and_stars_is_the_name_itself(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run, log = run_of(THREE), tmp_path / "{time}*[a].log"
    (tmp_path / "{time}xa.2026-01-01_00-00-00_000000.log").write_text(OURS)
    full_log(log)
    assert ckptkit("verify", run, "--log-to", log).code == 0
    assert log.exists() and len(os.listdir(tmp_path)) == 4


def test_rotation_deletes_the_oldest_of_its_own_alone(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run, log = run_of(THREE), full_log(tmp_path / "prune.log")
    old_rotations(tmp_path)
    persons = {
        "prune.run1.log": OURS,
        "prune.log.1": OURS,
        "prune.2025-01-01_00-00-00_000000.log": "a person's\n",
        "prune.2025-01-01.log": OURS,
        "prune.2025-01-02_00-00-00_000000.log.gz": OURS,
    }
    for name, content in persons.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "prune.2025-01-03_00-00-00_000000.log").symlink_to("prune.run1.log")
    os.mkfifo(tmp_path / "prune.2025-01-04_00-00-00_000000.log")
    assert ckptkit("verify", run, "--log-to", log).code == 0
    left = set(os.listdir(tmp_path)) - {"run", *persons}
    ours = {name for name in left if name.startswith("prune.2026-01-01")}
    assert sorted(ours) == [f"prune.2026-01-01_00-00-0{number}_000000.log" for number in (3, 4, 5, 6)]
    kept = {"prune.log", "prune.2025-01-03_00-00-00_000000.log", "prune.2025-01-04_00-00-00_000000.log"}
    assert kept <= left and len(left - ours - kept) == 1, "five rotations, the one just made is the newest"
    assert {name: (tmp_path / name).read_text() for name in persons} == persons


def test_a_dry_run_appends_and_rotates_and_deletes_nothing(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run, log = run_of(THREE), full_log(tmp_path / "prune.log")
    old_rotations(tmp_path)
    before = set(os.listdir(tmp_path))
    called = ckptkit("prune", run, "--dry-run", "--log-to", log)
    assert called.code == 0 and set(os.listdir(tmp_path)) == before
    assert log.stat().st_size > FULL and b"would free" in log.read_bytes()[-1000:]


def test_a_log_that_cant_be_written_stops_nothing(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of(THREE)
    (tmp_path / "file").write_text("")
    for place in ("/proc/nowhere/log", tmp_path / "file" / "log", tmp_path / ("x" * 300)):
        called = ckptkit("verify", run, "--log-to", place)
        assert called.code == 0 and called.err.count("\n") == 1 and "going on without it" in called.err


@pytest.mark.mounts
def test_a_log_on_a_full_disk_stops_nothing(run_of: RunOf, mount: Mount, fill: Fill, ckptkit: Ckptkit) -> None:
    volume = mount("ext4", megabytes=16, options=("-m", "0"))
    run = run_of(THREE, at=f"{volume}/run")
    fill(volume)
    called = ckptkit("prune", run, "--log-to", f"{volume}/prune.log")
    assert called.code == 0 and names(run) == ["checkpoint-200", "checkpoint-300"]
    assert Path(volume, "prune.log").read_text().startswith("ckptkit 2")
