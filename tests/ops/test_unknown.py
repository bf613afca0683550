"""Checkpoints that nobody can judge: told with size and age, never counted, never deleted, set aside by a rename."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckptkit.calling import command
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, State, Verdict
from ckptkit.model.decision import Decision, PrunePlan
from ckptkit.ops.discard import set_aside
from ckptkit.ops.pin import pin
from ckptkit.ops.preflight import newer_unknown
from ckptkit.ops.verify import is_sound
from tests.support.runs import CHECKOUT, TYPED, make_run, names, set_age, tree
from tests.support.terminal import on_a_terminal
from tests.support.typed import Called, Ckptkit, Fill, Mount, RunOf

TWO = {100: "intact", 200: "intact"}
TOLD = "can't be judged ("


def add_unknown(run: str, step: int, hours: float = 2.0) -> str:
    """A checkpoint of a person's own loop."""
    path = Path(run, f"checkpoint-{step}")
    path.mkdir(parents=True)
    for rank in range(2):
        (path / f"rank_{rank}.bin").write_bytes(b"\1" * 100_000)
    (path / "training_state.pt").write_bytes(b"\x80\x04.")
    set_age(str(path), time.time(), hours * 3600)
    return str(path)


@pytest.fixture
def run(run_of: RunOf, calm: str) -> str:
    """Two intact ones, and a newer one that nobody here can judge."""
    run = run_of(TWO, at=f"{calm}/run")
    add_unknown(run, 400)
    return run


# --- verify ---------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.mounts


def test_one_that_was_named_exits_4_and_is_told_with_size_and_age(run: str, ckptkit: Ckptkit) -> None:
    called = ckptkit("verify", f"{run}/checkpoint-400")
    assert called.code == 4
    first, second = called.err.splitlines()
    assert first.startswith(f"verify: {run}/checkpoint-400 {TOLD}")
    assert second.endswith(f"{CHECKOUT}/bin/verify {run}/checkpoint-400 --explain")
    assert "kB, written 2.0 h ago; nothing here will delete it" in called.err
    assert ckptkit("verify", f"{run}/checkpoint-400/", f"{run}/checkpoint-100", "-q").code == 4


def test_of_many_the_ten_newest_are_told_and_how_many_more(run: str, ckptkit: Ckptkit) -> None:
    for step in range(500, 1700, 100):
        Path(run, f"checkpoint-{step}").mkdir()
        Path(run, f"checkpoint-{step}", "training_state.pt").write_bytes(b"x")
        set_age(f"{run}/checkpoint-{step}", time.time(), 3600)
    lines = ckptkit("verify", run).err.splitlines()
    assert len(lines) == 12 and lines[10] == "verify: and 3 more that can't be judged"
    assert lines[11].endswith(f"{CHECKOUT}/bin/verify {run} --explain")
    assert "checkpoint-700" in lines[0] and "checkpoint-1600" in lines[9]


def test_a_run_exits_0_if_the_newest_that_can_be_judged_is_intact_and_tells_the_other(
    run: str, ckptkit: Ckptkit
) -> None:
    called = ckptkit("verify", run)
    assert called.code == 0 and f"checkpoint-400 {TOLD}" in called.err
    found = ckptkit("verify", run, "--json").json["checkpoints"][-1]
    assert (found["verdict"], found["refused"]) == ("unknown", False)
    assert found["allocated_bytes"] > 200_000 and found["modified_at"].endswith("Z")


def test_a_run_with_a_damaged_one_or_with_unknown_ones_alone_exits_4(
    run_of: RunOf, run: str, ckptkit: Ckptkit, calm: str
) -> None:
    make_run_of_one = add_unknown(f"{calm}/other", 100)
    assert ckptkit("verify", os.path.dirname(make_run_of_one)).code == 4
    assert ckptkit("verify", calm).code == 4, "a root is as good as the worst run below it"
    (Path(run) / "checkpoint-200" / "trainer_state.json").unlink()
    set_age(f"{run}/checkpoint-200", time.time(), 3600)
    assert ckptkit("verify", run).code == 4


def judged(path: str, state: State, code: str = "") -> Judged:
    findings = (Finding("scheduler.pt", code, "names posix.system"),) if code else ()
    checkpoint = Checkpoint(path, path.rpartition("/")[2], 1, "hf-trainer", 0, 0, (), (), 0, 0.0)
    return Judged(checkpoint, Verdict(state, state == "intact", "quick", findings))


SOUND: dict[str, tuple[Any, list[str], bool]] = {
    "intact": ([("/r/checkpoint-1", "intact")], ["/r"], True),
    "in_progress": ([("/r/checkpoint-1", "in_progress")], ["/r"], True),
    "unknown_beside_intact": ([("/r/checkpoint-1", "intact"), ("/r/checkpoint-2", "unknown")], ["/r"], True),
    "unknown_and_in_progress": ([("/r/checkpoint-1", "unknown"), ("/r/checkpoint-2", "in_progress")], ["/r"], False),
    "unknown_named": ([("/r/checkpoint-2", "unknown")], ["/r/checkpoint-2/"], False),
    "unknown_and_intact_elsewhere": ([("/r/checkpoint-1", "unknown"), ("/s/checkpoint-1", "intact")], ["/"], False),
    "incomplete": ([("/r/checkpoint-1", "intact"), ("/r/checkpoint-2", "incomplete")], ["/r"], False),
    "corrupt": ([("/r/checkpoint-1", "corrupt"), ("/r/checkpoint-2", "intact")], ["/r"], False),
    "refused": ([("/r/checkpoint-1", "intact", "refused-pickle"), ("/r/checkpoint-2", "intact")], ["/r"], False),
    "hint": ([("/r/checkpoint-1", "intact", "unknown-global")], ["/r"], True),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_what_verify_calls_sound(name: str) -> None:
    verdicts, paths, sound = SOUND[name]
    assert is_sound([judged(*verdict) for verdict in verdicts], paths) is sound


# --- which of them stand against a start -----------------------------------------------------------------------------


def plan_of(*checkpoints: Any) -> PrunePlan:
    decisions = []
    for name, layout, state in checkpoints:
        step = int(name.rpartition("-")[2])
        checkpoint = Checkpoint(f"/r/{name}", name, step, layout, 0, 0, (), (), 0, 0.0)
        decisions.append(Decision(checkpoint, Verdict(state, state == "intact", "quick"), "keep", ()))
    return PrunePlan("/r", tuple(decisions))


NEWER = {
    "older": ([("checkpoint-1", "hf", "unknown"), ("checkpoint-2", "hf", "intact")], []),
    "newer": ([("checkpoint-1", "hf", "intact"), ("checkpoint-2", "hf", "unknown")], ["checkpoint-2"]),
    "newest_first": (
        [("checkpoint-1", "hf", "intact"), ("checkpoint-2", "hf", "unknown"), ("checkpoint-3", "hf", "unknown")],
        ["checkpoint-3", "checkpoint-2"],
    ),
    "between": (
        [("checkpoint-1", "hf", "intact"), ("checkpoint-2", "hf", "unknown"), ("checkpoint-3", "hf", "intact")], []
    ),
    "newer_than_a_torn_one_too": (
        [("checkpoint-1", "hf", "intact"), ("checkpoint-2", "hf", "unknown"), ("checkpoint-3", "hf", "incomplete")],
        ["checkpoint-2"],
    ),
    "nothing_is_intact": ([("checkpoint-1", "hf", "unknown"), ("checkpoint-2", "hf", "incomplete")], ["checkpoint-1"]),
    "of_another_stem": ([("checkpoint-1", "hf", "intact"), ("step-9", "hf", "unknown")], []),
    "of_another_layout": ([("checkpoint-1", "hf", "intact"), ("checkpoint-9", "titan", "unknown")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", NEWER)
def test_which_unknown_ones_are_newer_than_the_newest_intact_one(name: str) -> None:
    checkpoints, newer = NEWER[name]
    assert [d.checkpoint.name for d in newer_unknown(plan_of(*checkpoints))] == newer


def test_a_run_that_is_not_there_yet_has_none() -> None:
    assert newer_unknown(None) == ()


# --- preflight and recover ------------------------------------------------------------------------------------------


def check(called: Called) -> Any:
    return {found["code"]: found for found in called.json["checks"]}.get("unknown")


def test_one_that_is_newer_stands_against_a_start_until_it_is_set_aside_or_skipped(run: str, ckptkit: Ckptkit) -> None:
    called = ckptkit("preflight", run, "--json")
    assert called.code == 4 and check(called)["state"] == "no-go"
    assert check(called)["command"] == command("recover", run, "--set-aside")
    assert "written 2.0 h ago" in check(called)["message"] and "--skip-unknown" in check(called)["message"]
    skipped = ckptkit("preflight", run, "--skip-unknown", "--json")
    assert skipped.code == 0 and check(skipped)["state"] == "warn"
    set_aside(f"{run}/checkpoint-400")
    called = ckptkit("preflight", run, "--json")
    assert called.code == 0 and check(called) is None


def test_one_that_is_older_stands_against_nothing(run: str, ckptkit: Ckptkit) -> None:
    os.rename(f"{run}/checkpoint-400", f"{run}/checkpoint-150")
    called = ckptkit("preflight", run, "--json")
    assert called.code == 0 and check(called) is None


def test_recover_says_no_go_and_moves_nothing_unless_it_is_told_to(run: str, ckptkit: Ckptkit) -> None:
    before = tree(run)
    called = ckptkit("recover", run)
    assert called.code == 4 and "no-go  unknown" in called.out and tree(run) == before
    assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-200"
    assert ckptkit("recover", run, "--skip-unknown").code == 0 and tree(run) == before
    assert ckptkit("recover", run, "--skip-unknown", "--set-aside").code == 2 and tree(run) == before


def test_recover_sets_it_aside_and_says_how_to_undo_that(run: str, ckptkit: Ckptkit) -> None:
    dry = ckptkit("recover", run, "--set-aside", "--dry-run")
    assert f"Would set aside {run}/checkpoint-400" in dry.out and dry.code == 0 and "checkpoint-400" in names(run)
    called = ckptkit("recover", run, "--set-aside")
    assert called.code == 0 and "set-aside-checkpoint-400" in names(run) and "checkpoint-400" not in names(run)
    (undo,) = [line.partition("undo: ")[2] for line in called.out.splitlines() if "undo: " in line]
    subprocess.run(undo, shell=True, check=True)
    assert "checkpoint-400" in names(run) and "set-aside-checkpoint-400" not in names(run)
    document = ckptkit("recover", run, "--set-aside", "--json").json
    assert document["set_aside"] == [f"{run}/set-aside-checkpoint-400"]
    assert document["resume"] == f"{TYPED} {run}/checkpoint-200"


def test_one_that_could_not_be_read_and_is_set_aside_was_not_left_alone(run_of: RunOf, calm: str) -> None:
    run = run_of(TWO | {300: "intact"}, at=f"{calm}/run")
    refused = f"{run}/checkpoint-300/optimizer.pt"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", refused, "-e", "inject=openat:error=EACCES"]
    typed = [*strace, sys.executable, "-m", "ckptkit", "recover", run, "--set-aside"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(typed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "left alone" not in done.stderr, done
    assert "set-aside-checkpoint-300" in names(run)


def test_a_pinned_one_is_told_and_goes_on_standing_against_it(run: str, ckptkit: Ckptkit) -> None:
    pin(f"{run}/checkpoint-400")
    called = ckptkit("recover", run, "--set-aside")
    assert called.code == 4 and "is pinned" in called.err and "checkpoint-400" in names(run)


@pytest.mark.parametrize("answer, renamed", [("y\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_recover_offers_it_on_a_terminal_and_takes_nothing_but_a_yes(run: str, answer: str, renamed: bool) -> None:
    code, seen = on_a_terminal("recover", run, typed=answer)
    assert (
        "Rename it to set-aside-checkpoint-400, and go on from an older one? It can be undone. [y/N]" in seen
        and "written 2.0 h ago" in seen
    )
    assert ("set-aside-checkpoint-400" in names(run)) is renamed
    assert code == (0 if renamed else 4)


@pytest.mark.parametrize("more", [("-q",), ("--json",), ("--dry-run",), ("--skip-unknown",)])
def test_recover_asks_nobody_who_is_not_there_to_answer(run: str, more: tuple[str]) -> None:
    _, seen = on_a_terminal("recover", run, *more, typed="y\n")
    assert "[y/N]" not in seen and "checkpoint-400" in names(run)


def test_it_works_at_0_bytes(real: str, mount: Mount, fill: Fill, ckptkit: Ckptkit) -> None:
    point = mount("tmpfs", "size=3m")
    run = make_run(real, os.path.join(point, "run"), TWO)
    add_unknown(run, 400)
    fill(point)
    called = ckptkit("recover", run, "--set-aside", env={"TMPDIR": point, "HOME": point, "CKPTKIT_STATE": f"{point}/s"})
    assert called.out.splitlines()[-1] == f"{TYPED} {run}/checkpoint-200", called.err
    assert names(run) == ["checkpoint-100", "checkpoint-200", "set-aside-checkpoint-400"]


# --- nothing deletes or counts it -----------------------------------------------------------------------------------


def test_no_verb_deletes_counts_or_hands_out_one(run: str, ckptkit: Ckptkit) -> None:
    for words in (("prune", "--keep-last", "1", "-y"), ("strip", "-y"), ("latest",), ("recover", "-y")):
        ckptkit(words[0], run, *words[1:])
    assert names(run) == ["checkpoint-200", "checkpoint-400"]
    assert ckptkit("latest", run).out == f"{run}/checkpoint-200\n"
    assert json.loads(ckptkit("prune", run, "--json").out)["runs"][0]["decisions"][-1]["action"] == "leave"


def test_one_that_is_set_aside_is_listed_by_no_verb(run: str, ckptkit: Ckptkit) -> None:
    set_aside(f"{run}/checkpoint-400")
    for verb in ("verify", "diskreport", "prune"):
        more = ("--no-eaters",) if verb == "diskreport" else ()
        assert "checkpoint-400" not in ckptkit(verb, run, *more, "--json").out
    assert "set-aside-checkpoint-400" in names(run)
