"""The mass-delete guard on real runs: what goes without a yes, what waits for one, and who is asked."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ckptkit import forecast
from ckptkit.calling import command
from ckptkit.ops.prune import prune
from ckptkit.ops.read import scan
from ckptkit.policy.keep import Range, Rules
from ckptkit.system import lock
from tests.support.runs import CHECKOUT, make_run, names, tree
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

FIVE = dict.fromkeys((100, 200, 300, 400, 500), "intact")
KEEP_1 = Rules(Range(1, 1))


def steps(run: str) -> list[int]:
    return [int(name.split("-")[1]) for name in names(run) if name.startswith("checkpoint-")]


def test_new_policy_that_would_delete_more_than_half_deletes_no_intact_one_and_says_what_to_type(run_of: RunOf) -> None:
    run = run_of(FIVE)
    pruned = prune(run)
    assert present(pruned.outcome).deleted == () and steps(run) == [100, 200, 300, 400, 500]
    assert "3 of 5 intact checkpoints wait for your yes" in pruned.stopped
    assert pruned.stopped.endswith("fix: " + command("prune", run, "--keep-last", "2", "--max-delete", "3"))
    assert len(present(prune(run, Rules(max_delete=3)).outcome).deleted) == 3


def test_what_is_damaged_and_what_a_killed_sweep_left_goes_without_a_yes(run_of: RunOf) -> None:
    run = run_of(FIVE | {600: "torn", 50: "torn"})
    os.rename(f"{run}/checkpoint-50", f"{run}/.ckptkit-deleting-checkpoint-50")
    pruned = prune(run)
    assert pruned.stopped and present(pruned.outcome).deleted == (f"{run}/checkpoint-600",)
    assert names(run) == [f"checkpoint-{step}" for step in FIVE]


def test_policy_that_was_stopped_is_not_taken_for_agreed_to(run_of: RunOf) -> None:
    run = run_of(FIVE)
    assert prune(run).stopped and prune(run).stopped
    assert not prune(run, yes=True).stopped
    assert steps(run) == [400, 500]


def test_explicit_limit_stops_too_and_is_named(run_of: RunOf) -> None:
    pruned = prune(run_of(FIVE), Rules(max_delete=2))
    assert "more than --max-delete 2" in pruned.stopped and present(pruned.outcome).deleted == ()


def test_dry_run_shows_the_whole_plan_and_what_would_wait(run_of: RunOf) -> None:
    run = run_of(FIVE)
    before = tree(run)
    pruned = prune(run, dry_run=True)
    assert len(pruned.plan.deletions) == 3 and pruned.outcome is None
    assert "deleting 3 of 5 intact checkpoints needs your yes" in pruned.stopped
    assert tree(run) == before


def test_cron_is_told_once_per_plan_and_exits_25_each_time(real: str, run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(FIVE)
    first, second = (ckptkit("prune", run, "-q") for _ in range(2))
    assert (first.code, second.code) == (25, 25)
    assert first.err.count("\n") == 1 and "--max-delete 3" in first.err
    assert (second.out, second.err) == ("", "")
    make_run(real, run, {600: "intact"})
    assert "--max-delete 4" in ckptkit("prune", run, "-q").err, "another plan"
    assert "--max-delete 4" in ckptkit("prune", run).err, "not under -q"


def test_command_that_is_told_does_the_rest(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(FIVE)
    said = ckptkit("prune", run).err
    subprocess.run(said.split("fix: ")[1], shell=True, capture_output=True, check=True)
    assert steps(run) == [400, 500]


def test_json_says_what_waits(run_of: RunOf, ckptkit: Ckptkit) -> None:
    called = ckptkit("prune", run_of(FIVE), "--json")
    assert called.code == 25
    document = called.json["runs"][0]
    assert "--max-delete 3" in document["stopped"] and not document["dry_run"]
    assert [d["action"] for d in document["decisions"]] == ["keep"] * 5
    assert document["decisions"][0]["reasons"] == [
        {"code": "released", "message": "no rule keeps it", "command": ""},
        {"code": "waits-for-yes", "message": "waits for a yes", "command": ""},
    ]


def test_recover_goes_on_to_the_line_that_resumes_and_exits_25(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(FIVE | {600: "torn"})
    called = ckptkit("recover", run)
    assert steps(run) == [100, 200, 300, 400, 500]
    assert called.out.splitlines()[-1] == f"python YOUR_SCRIPT.py --resume_from_checkpoint {run}/checkpoint-500"
    assert "--max-delete 3" in called.out and called.code in (4, 25)  # 4: the machine's own disk says no-go


# --- room for the next save -------------------------------------------------------------------------------------------


class FullVolume(NamedTuple):
    """Makes runs that leave no room."""

    real: str
    point: str
    fill: Fill

    def __call__(self, states: dict[int, str]) -> str:
        run = make_run(self.real, f"{self.point}/run", states, "full")
        self.fill(self.point)
        assert os.statvfs(self.point).f_bavail == 0
        return run

    def again(self) -> None:
        fill_more(self.point)


@pytest.fixture
def full(real: str, mount: Mount, fill: Fill) -> FullVolume:
    """full(states) is a run on a volume without a byte to spare; what is freed there is used up by full.again()."""
    return FullVolume(real, mount("tmpfs", "size=8m"), fill)


def fill_more(point: str) -> None:
    with open(os.path.join(point, "more"), "ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\1" * size)
            except OSError:
                continue


def need_of(run: str) -> tuple[int, int]:
    """Bytes of the next save, and how many checkpoints make room for it."""
    size = max(c.allocated_bytes for c in scan(run).checkpoints)
    need = forecast.next_save_bytes(size)
    return need, -(-need // size)


SIX = dict.fromkeys((100, 200, 300, 400, 500, 600), "intact")


@pytest.mark.mounts
def test_on_a_full_volume_the_oldest_go_just_enough_for_one_save_once_per_policy(full: FullVolume) -> None:
    run = full(SIX)
    need, count = need_of(run)
    pruned = prune(run, KEEP_1)
    assert steps(run) == list(SIX)[count:]
    assert os.statvfs(run).f_bavail * os.statvfs(run).f_frsize >= need
    assert f"To make room for the next save, the oldest {count} were deleted" in pruned.stopped
    assert present(pruned.outcome).notes == ()
    full.again()
    assert present(prune(run, KEEP_1).outcome).deleted == (), "once per policy"
    again = prune(run, KEEP_1)
    assert again.stopped and len(steps(run)) == 6 - count, "what went counts: the rest is not half all of a sudden"
    assert not prune(run, KEEP_1, yes=True).stopped and steps(run) == [600]


@pytest.mark.mounts
def test_on_a_full_volume_damaged_ones_that_make_enough_room_cost_no_intact_one(full: FullVolume) -> None:
    run = full(SIX | {610: "torn", 620: "torn", 630: "torn"})
    pruned = prune(run, KEEP_1)
    assert len(present(pruned.outcome).deleted) == 3 and steps(run) == list(SIX)


@pytest.mark.mounts
def test_on_a_full_volume_at_most_half_goes_and_none_where_that_is_not_enough(full: FullVolume) -> None:
    run = full({100: "intact", 200: "intact", 300: "intact"})
    assert need_of(run)[1] > 1, "one of three is half of them at most, and not enough"
    pruned = prune(run, KEEP_1)
    assert present(pruned.outcome).deleted == () and "2 of 3 intact checkpoints wait for your yes" in pruned.stopped


@pytest.mark.mounts
def test_room_that_can_not_be_remembered_is_a_note_and_the_same_plan(
    full: FullVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPTKIT_STATE", "/dev/null/nowhere")
    run = full(SIX)
    pruned = prune(run, KEEP_1)
    assert present(pruned.outcome).deleted and pruned.stopped
    assert any(
        "could not be remembered" in note and "Not a directory" in note for note in present(pruned.outcome).notes
    )


@pytest.mark.mounts
def test_cron_on_a_full_volume_with_its_state_there_makes_room_and_remembers_it(
    full: FullVolume, ckptkit: Ckptkit
) -> None:
    run = full(SIX)
    state = {"CKPTKIT_STATE": f"{os.path.dirname(run)}/state"}
    called = ckptkit("prune", run, "--keep-last", "1", "-q", env=state)
    left = steps(run)
    assert called.code == 25 and 3 <= len(left) < 6 and "--max-delete" in called.err
    full.again()
    called = ckptkit("prune", run, "--keep-last", "1", "-q", env=state)
    assert (called.code, called.err, steps(run)) == (25, "", left)


# --- the question -----------------------------------------------------------------------------------------------------


def on_a_terminal(
    answer: bytes | None, *words: str, asked: Callable[..., str | None] = lambda: None
) -> tuple[int, str, str]:
    """Type a command at a real terminal, and `answer` once it asks; returns its exit code, stdout, and the terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ckptkit", *map(str, words)]
    child = subprocess.Popen(command, cwd=CHECKOUT, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the child is done, nobody holds its end any more
            break
        shown += piece
        if not piece:
            break
        if answer is not None and shown.rstrip().endswith(b"[y/N]"):
            asked()
            os.write(ours, answer)
            answer = None
    out = child.communicate(timeout=60)[0]
    os.close(ours)
    return child.returncode, out, shown.decode(errors="replace")


def test_yes_at_the_terminal_deletes_what_was_shown(run_of: RunOf) -> None:
    run = run_of(FIVE)
    code, out, shown = on_a_terminal(b"y\n", "prune", run)
    assert code == 0 and steps(run) == [400, 500]
    assert "Delete 3 of 5 intact checkpoints? [y/N]" in shown
    assert out.count("checkpoint-100") == 1 and "deleted 3 checkpoints" in out


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04", b"yesterday\n", b"\xff\n"])
def test_all_else_at_the_terminal_is_a_no(run_of: RunOf, answer: bytes) -> None:
    run = run_of(FIVE | {600: "torn"})
    code, _, shown = on_a_terminal(answer, "prune", run)
    assert code == 25 and steps(run) == list(FIVE), "what is damaged went"
    assert shown.count("[y/N]") == 1 and "--max-delete 3" in shown


def test_recover_asks_too(run_of: RunOf) -> None:
    run = run_of(FIVE)
    _, out, shown = on_a_terminal(b"y\n", "recover", run)
    assert "Delete 3 of 5 intact checkpoints? [y/N]" in shown and steps(run) == [400, 500]
    assert out.splitlines()[-1] == f"python YOUR_SCRIPT.py --resume_from_checkpoint {run}/checkpoint-500"


def test_nobody_waits_for_the_lock_while_somebody_thinks(run_of: RunOf) -> None:
    run, held = run_of(FIVE), []

    def take() -> None:
        with lock.hold(run):
            held.append(True)

    on_a_terminal(b"n\n", "prune", run, asked=take)
    assert held == [True]


def test_checkpoint_that_appeared_meanwhile_is_not_agreed_to(real: str, run_of: RunOf) -> None:
    run = run_of(FIVE)
    code, _, shown = on_a_terminal(b"y\n", "prune", run, asked=lambda: make_run(real, run, {600: "intact"}))
    assert code == 25 and len(steps(run)) == 6 and "more than --max-delete 3" in shown


@pytest.mark.parametrize("flag", ["-q", "--json", "--dry-run", "-y"])
def test_nobody_is_asked_with(run_of: RunOf, flag: str) -> None:
    run = run_of(FIVE)
    code, _, shown = on_a_terminal(b"y\n", "prune", run, flag)
    assert "[y/N]" not in shown
    assert (code, len(steps(run))) == ((0, 2) if flag == "-y" else (0 if flag == "--dry-run" else 25, 5))


def test_input_that_is_no_terminal_is_no_yes(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(FIVE)
    called = ckptkit("prune", run, stdin=None, input="y\n")
    assert called.code == 25 and "[y/N]" not in called.err and len(steps(run)) == 5


def test_plan_within_half_asks_nobody(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    code, _, shown = on_a_terminal(b"n\n", "prune", run)
    assert (code, shown) == (0, "") and steps(run) == [200, 300]


def test_help_of_the_exit_code_says_it() -> None:
    help_ = subprocess.run([Path(CHECKOUT, "bin/prune"), "--help"], capture_output=True, text=True, check=True).stdout
    assert "25   mass-delete guard: not all was done" in help_
