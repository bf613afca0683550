"""README's path, line by line, on README's disaster: 8 intact checkpoints, the newest torn, 0 bytes free, keep 2."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.model.decision import PrunePlan
from ckptkit.ops.pin import pin
from ckptkit.ops.read import rules_for, scan
from ckptkit.ops.recover import recover, young
from tests.support.bare import bare
from tests.support.runs import TYPED, make_run, names, set_age
from tests.support.terminal import on_a_terminal
from tests.support.typed import Ckptkit, Fill, Mount, present

BIN = Path(__file__).resolve().parent.parent / "bin"
EIGHT = [f"checkpoint-{step}000" for step in range(1, 9)]
LAST_WORDS = "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)"
LINES, COLUMNS = 24, 80
pytestmark = pytest.mark.mounts


@pytest.fixture
def disaster(real: str, mount: Mount, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """disaster(age=3600) is the run, dead for that long; its volume holds the log and the state too."""

    def make(age: float = 3600.0) -> str:
        # A short path, so that the page's lines are as wide as an ordinary run's.
        volume = mount("ext4", megabytes=16, options=("-m", "0"), at=f"/tmp/ckptkit-{os.getpid()}")
        monkeypatch.setenv("CKPTKIT_STATE", f"{volume}/state")
        run = make_run(real, f"{volume}/run", dict.fromkeys(range(1000, 9000, 1000), "intact"), "full", age + 60)
        make_run(real, run, {9000: "torn"}, "full", age)
        os.truncate(f"{run}/checkpoint-9000/optimizer.pt", 1000)
        set_age(f"{run}/checkpoint-9000", time.time(), age)
        log = Path(volume, "train.log")
        log.write_text("{'loss': 1.9}\n" * 9 + f"Traceback (most recent call last):\n{LAST_WORDS}\n")
        os.utime(log, (time.time() - age,) * 2)
        fill(volume)
        assert os.statvfs(volume).f_bavail == 0
        return run

    return make


def checkpoints(run: str) -> list[str]:
    return [name for name in names(run) if name.startswith("checkpoint-")]


def fixes(text: str) -> list[str]:
    """The commands that a text says to type."""
    return [line.partition("fix: ")[2] for line in text.splitlines() if "fix: " in line]


def room_for_a_save(run: str) -> bool:
    largest = max(c.allocated_bytes for c in scan(run).checkpoints)
    return os.statvfs(run).f_bavail * os.statvfs(run).f_frsize > largest


# --- without a terminal ---------------------------------------------------------------------------------------------


def test_the_short_path_without_a_terminal_ends_in_a_start(disaster: Callable[..., str], ckptkit: Ckptkit) -> None:
    run = disaster()
    volume = os.path.dirname(run)
    told = bare(volume, BIN / "recover", "--log", f"{volume}/train.log")
    assert told.returncode == 0 and LAST_WORDS in told.stdout and fixes(told.stdout) == [f"{BIN}/recover {run}"]
    dry = bare(volume, BIN / "recover", run, "--dry-run")
    assert dry.returncode == 0 and checkpoints(run) == [*EIGHT, "checkpoint-9000"]
    done = bare(volume, BIN / "recover", run)
    assert done.returncode == 25, done.stdout + done.stderr
    assert checkpoints(run) == EIGHT[2:] and room_for_a_save(run), "the damaged one and just enough for a save"
    assert done.stdout.splitlines()[-1] == f"{TYPED} {run}/checkpoint-8000"
    assert bare(volume, BIN / "preflight", run).returncode == 0, "more than the policy keeps, and the next save fits"
    (rest,) = fixes(done.stdout)
    assert subprocess.run(rest, shell=True, capture_output=True, check=False).returncode == 0
    assert checkpoints(run) == EIGHT[-2:]
    again = bare(volume, BIN / "recover", run)
    assert again.returncode == 0 and "Nothing to free" in again.stdout and fixes(again.stdout) == []


def test_the_long_path_without_a_terminal_ends_in_a_start(disaster: Callable[..., str]) -> None:
    run = disaster()
    volume = os.path.dirname(run)
    assert bare(volume, BIN / "diskreport", run).returncode == 0
    dry = bare(volume, BIN / "prune", run, "--dry-run")
    assert dry.returncode == 0 and "only what is damaged and the oldest 2 will go" in dry.stderr
    done = bare(volume, BIN / "prune", run)
    assert done.returncode == 25 and checkpoints(run) == EIGHT[2:] and room_for_a_save(run)
    found = bare(volume, BIN / "latest", run)
    assert (found.returncode, found.stdout) == (0, f"{run}/checkpoint-8000\n")
    go = bare(volume, BIN / "preflight", run)
    assert go.returncode == 0 and "no-go" not in go.stdout, go.stdout
    (rest,) = fixes(done.stderr)
    subprocess.run(rest, shell=True, capture_output=True, check=True)
    assert checkpoints(run) == EIGHT[-2:]


def test_the_command_that_a_dry_run_names_does_all_of_it(disaster: Callable[..., str]) -> None:
    run = disaster()
    (whole,) = fixes(bare(os.path.dirname(run), BIN / "prune", run, "--dry-run").stderr)
    subprocess.run(whole, shell=True, capture_output=True, check=True)
    assert checkpoints(run) == EIGHT[-2:]


# --- on a terminal --------------------------------------------------------------------------------------------------


def test_the_short_path_on_a_terminal_asks_once_and_fits_the_screen(disaster: Callable[..., str]) -> None:
    run = disaster()
    log = f"{os.path.dirname(run)}/train.log"
    code, told = on_a_terminal("recover", "--log", log)
    assert code == 0 and len(fixes(told)) == 1
    pages = [on_a_terminal("recover", run, "--dry-run"), on_a_terminal("recover", run, typed="y\n")]
    for code, page in pages:
        lines = page.splitlines()
        assert code == 0 and len(lines) <= LINES, page
        commands = ("fix: ", "see: ", TYPED)  # one line each, or they could not be pasted
        assert all(len(line) <= COLUMNS or any(words in line for words in commands) for line in lines), page
        assert "The disk was full" in page and "train.log" in page and "checkpoint-9000 is torn" in page
        assert lines[-1] == f"{TYPED} {run}/checkpoint-8000"
    assert pages[0][1].count("[y/N]") == 0 and pages[1][1].count("[y/N]") == 1
    assert checkpoints(run) == EIGHT[-2:]
    assert on_a_terminal("preflight", run)[0] == 0


def test_a_no_at_the_terminal_makes_room_for_one_save_and_training_can_start(disaster: Callable[..., str]) -> None:
    run = disaster()
    code, page = on_a_terminal("recover", run, typed="n\n")
    assert code == 25 and checkpoints(run) == EIGHT[2:] and "no-go" not in page
    assert on_a_terminal("preflight", run)[0] == 0


def test_the_long_path_on_a_terminal_asks_once(disaster: Callable[..., str]) -> None:
    run = disaster()
    assert on_a_terminal("prune", run, "--dry-run")[0] == 0
    code, page = on_a_terminal("prune", run, typed="y\n")
    assert code == 0 and page.count("[y/N]") == 1 and checkpoints(run) == EIGHT[-2:]
    assert on_a_terminal("latest", run) == (0, f"{run}/checkpoint-8000\r\n")
    assert on_a_terminal("preflight", run)[0] == 0


# --- the dry run judges the state that it will have made -----------------------------------------------------------


def judged(document: dict[str, Any]) -> tuple[list[Any], Any, Any]:
    """What a person decides by: go or not, what is resumed, and what goes."""
    against = [check["code"] for check in document["checks"] if check["state"] == "no-go"]
    return against, document["latest"], document["resume"]


@pytest.mark.parametrize("flags", [(), ("-y",), ("--keep-last", "7"), ("--keep-last", "8")])
def test_the_dry_run_and_the_run_agree(
    disaster: Callable[..., str], ckptkit: Ckptkit, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run, elsewhere = disaster(), {"CKPTKIT_STATE": str(tmp_path)}  # what the history takes was not to be foreseen
    dry = ckptkit("recover", run, "--dry-run", "--json", *flags, env=elsewhere).json
    done = ckptkit("recover", run, "--json", *flags, env=elsewhere).json
    assert judged(dry) == judged(done)
    expected = dry["freed_bytes"]
    assert expected == pytest.approx(done["freed_bytes"], rel=0.02), "directories' own blocks are not told by stat"
    messages = [{c["code"]: c["message"] for c in d["checks"]} for d in (dry, done)]
    for code in ("headroom", "checkpoints", "resume"):
        assert numbers(messages[0][code]) == pytest.approx(numbers(messages[1][code]), rel=0.03), code


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w/-])\d+(?:\.\d+)?", text)]


def test_a_dry_run_of_what_will_not_be_enough_says_no_go_too(disaster: Callable[..., str], ckptkit: Ckptkit) -> None:
    run = disaster()
    for path in EIGHT[:-1]:
        pin(f"{run}/{path}") if room_to_pin(run) else pytest.fail("no room to pin")
    dry = ckptkit("recover", run, "--dry-run", "--json")
    done = ckptkit("recover", run, "--json")
    assert dry.code == done.code == 4 and judged(dry.json) == judged(done.json)


def room_to_pin(run: str) -> bool:
    """A few blocks of the ballast make room for the file of pins."""
    ballast = Path(os.path.dirname(run), "ballast")
    os.truncate(ballast, ballast.stat().st_size - (1 << 13))
    return True


def test_a_plan_that_is_executed_leaves_what_the_dry_run_foretold(disaster: Callable[..., str]) -> None:
    run = disaster()
    rules = rules_for(run, {})
    foretold = recover(run, rules, dry_run=True)
    done = recover(run, rules)
    assert isinstance(foretold.done, PrunePlan) and isinstance(done.done, PrunePlan)
    assert [d.checkpoint.name for d in foretold.done.deletions] == [d.checkpoint.name for d in done.done.deletions]


# --- within a minute of the crash -----------------------------------------------------------------------------------


def test_within_a_minute_it_says_how_long_to_wait_and_changes_nothing(
    disaster: Callable[..., str], ckptkit: Ckptkit
) -> None:
    run = disaster(age=20)
    called = ckptkit("recover", run, "--keep-last", "3")
    assert called.code == 11 and checkpoints(run) == [*EIGHT, "checkpoint-9000"]
    told = re.search(r"checkpoint-9000 is not finished, and was last written (\d+) s ago", called.err)
    wait = re.search(r"if nothing is training, try again in (\d+) s; nothing was changed", called.err)
    assert told and wait and 59 <= int(told[1]) + int(wait[1]) <= 61, called.err
    assert fixes(called.err) == [f"{BIN}/recover {run} --keep-last 3 --wait"]
    assert ckptkit("recover", run, "--json").json["error"]["exit_code"] == 11


def test_with_wait_it_waits_and_goes_on(disaster: Callable[..., str], ckptkit: Ckptkit) -> None:
    run = disaster(age=58)
    assert present(young(run)).wait_seconds <= 2
    called = ckptkit("recover", run, "--wait")
    assert called.code in (0, 25) and called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-8000"


def test_on_a_terminal_it_offers_to_wait(disaster: Callable[..., str]) -> None:
    run = disaster(age=20)
    code, seen = on_a_terminal("recover", run, typed="n\n")
    assert code == 11 and "then go on? [y/N]" in seen and checkpoints(run) == [*EIGHT, "checkpoint-9000"]


def test_one_whose_times_are_ahead_of_the_clock_does_not_keep_recover_waiting(disaster: Callable[..., str]) -> None:
    run = disaster(age=-7200)
    assert young(run) is None
