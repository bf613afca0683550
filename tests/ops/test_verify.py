"""bin/verify as a person and as cron type it: levels, budget, manifests, plain words; what it leaves alone."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import NoSuchRun
from ckptkit.model.checkpoint import Checkpoint, Finding, Judged, State, Verdict
from ckptkit.ops.read import scan, verify
from ckptkit.ops.verify import Budget
from ckptkit.ops.verify import reading as ops_reading
from ckptkit.render.explain import explain
from ckptkit.verify.verdict import Reading
from tests.support.runs import CHECKOUT, set_age, tree
from tests.support.terminal import on_a_terminal
from tests.support.typed import Ckptkit, Mount, RunOf

THREE = {100: "intact", 200: "intact", 300: "intact"}


def cut(run: str, step: int, name: str, keep: float = 0.5) -> None:
    """Cut a file of a checkpoint short, an hour ago."""
    path = Path(run, f"checkpoint-{step}")
    os.truncate(path / name, int((path / name).stat().st_size * keep))
    set_age(str(path), time.time(), 3600)


def flip(run: str, step: int, name: str) -> None:
    """Flip a bit in the middle of a file, an hour ago."""
    path = Path(run, f"checkpoint-{step}")
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / name).write_bytes(raw)
    set_age(str(path), time.time(), 3600)


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_verify_changes_nothing(run_of: RunOf, ckptkit: Ckptkit, level: str) -> None:
    run = run_of(THREE)
    before = tree(run)
    assert ckptkit("verify", run, "--level", level).code == 0
    assert tree(run) == before


def test_full_reads_every_byte_of_every_file(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    (found,) = ckptkit("verify", run, "--level", "full", "--json").json["checkpoints"]
    size = scan(run).checkpoints[0].apparent_bytes
    assert found["bytes_read"] >= size
    assert found["files_unread"] == 0 and found["digests"].keys() == set(os.listdir(f"{run}/checkpoint-100"))


# --- budget ---------------------------------------------------------------------------------------------------------


WRONG = [
    ("--sample", "8/7"), ("--sample", "0/7"), ("--sample", "x"), ("--max-rate", "fast"), ("--max-duration", "soon")
]  # fmt: skip


@pytest.mark.parametrize("flag, value", WRONG)
def test_a_budget_that_cant_be_meant_is_refused(run_of: RunOf, ckptkit: Ckptkit, flag: str, value: str) -> None:
    called = ckptkit("verify", run_of({100: "intact"}), "--level", "full", flag, value)
    assert called.code == 2 and f"{flag} '{value}'" in called.err and called.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [("--sample", "1/7"), ("--max-rate", "1M"), ("--sha256",), ("--write", "--sample", "1/7", "--level", "full")],
)
def test_flags_that_would_do_nothing_are_refused(run_of: RunOf, ckptkit: Ckptkit, words: tuple[str, ...]) -> None:
    assert ckptkit("verify", run_of({100: "intact"}), *words).code == 2


def test_samples_rotate_until_each_file_was_read_once(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    read = []
    for _ in range(3):
        called = ckptkit("verify", run, "--level", "full", "--sample", "1/3", "--json").json
        read += [(c["name"], name) for c in called["checkpoints"] for name in c["digests"]]
        assert all(c["verdict"] == "intact" for c in called["checkpoints"])
    every = [(c.name, file.name) for c in scan(run).checkpoints for file in c.files]
    assert sorted(read) == sorted(every)


def test_damage_is_found_when_its_turn_comes(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    flip(run, 200, "optimizer.pt")
    codes = [ckptkit("verify", run, "--level", "full", "--sample", "2/4", "-q").code for _ in range(2)]
    assert sorted(codes) == [0, 4]


def test_no_file_is_begun_after_the_time_is_up(run_of: RunOf) -> None:
    run = run_of(THREE)
    reading = ops_reading([run], Budget(max_seconds=1e-9))
    time.sleep(0.001)
    judged = verify(run, level="full", reading=reading)
    assert [j.verdict.state for j in judged] == ["intact"] * 3 and all(j.verdict.files_unread for j in judged)
    assert not any(j.verdict.digests for j in judged)


def test_a_rate_is_kept(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    rate = scan(run).checkpoints[0].apparent_bytes  # so that it takes a second
    began = time.monotonic()
    assert ckptkit("verify", run, "--level", "full", "--max-rate", rate).code == 0
    assert time.monotonic() - began > 0.9


def test_one_that_a_sweep_removes_while_it_is_read_is_no_finding(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})

    def wanted(path: str) -> bool:
        if "checkpoint-100" in path:
            shutil.rmtree(f"{run}/checkpoint-100", ignore_errors=True)
        return True

    judged = verify(run, level="full", reading=Reading(wanted))
    assert [(j.checkpoint.step, j.verdict.state) for j in judged] == [(200, "intact"), (300, "intact")]
    with pytest.raises(NoSuchRun):
        verify(f"{run}/checkpoint-100")


def test_reading_yields_to_others(run_of: RunOf) -> None:
    import psutil

    run = run_of({100: "intact"})
    command = [sys.executable, "-m", "ckptkit", "verify", run, "--level", "full", "--max-rate", "20K"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as reading:
        deadline = time.monotonic() + 30
        while psutil.Process(reading.pid).ionice().ioclass != psutil.IOPRIO_CLASS_IDLE:
            assert time.monotonic() < deadline and reading.poll() is None
            time.sleep(0.02)
        reading.kill()


@pytest.mark.mounts
def test_what_was_read_does_not_stay_in_the_page_cache(real: str, mount: Mount) -> None:
    from tests.support.runs import make_run

    run = make_run(real, os.path.join(mount("ext4", megabytes=24), "run"), {100: "intact"}, kind="full")
    os.sync()
    weights = f"{run}/checkpoint-100/model.safetensors"
    Path(weights).read_bytes()
    assert cached_pages(weights) > 0, "the test would prove nothing"
    verify(run, level="full")
    assert cached_pages(weights) == 0


def cached_pages(path: str) -> int:
    """As fincore(1) counts them."""
    done = subprocess.run(["fincore", "-nb", "-o", "PAGES", path], capture_output=True, text=True, check=True)
    return int(done.stdout)


# --- a person at a terminal -----------------------------------------------------------------------------------------


def test_a_bar_shows_bytes_rate_and_time_left(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    code, seen = on_a_terminal("verify", run, "--level", "full", "--max-rate", "200K")
    assert code == 0 and re.search(r"[0-9.]+/[0-9.]+ [kM]B", seen) and "B/s" in seen and re.search(r"0:00:0", seen)


def test_no_bar_for_quick_nor_without_a_terminal_nor_under_q(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    assert "B/s" not in on_a_terminal("verify", run)[1]
    assert "B/s" not in on_a_terminal("verify", run, "--level", "full", "-q")[1]
    assert ckptkit("verify", run, "--level", "full").err == ""


# --- manifests ------------------------------------------------------------------------------------------------------


def test_write_makes_a_manifest_for_each_intact_one_and_says_which_got_none(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact"})
    called = ckptkit("verify", run, "--write")
    assert called.code == 4 and called.out.count("wrote the manifest of") == 2
    assert f"{run}/checkpoint-200 is incomplete: no manifest written" in called.err
    assert "wrote" not in ckptkit("verify", run, "--write").out, "what stands is left alone"


def test_a_flipped_bit_of_the_weights_is_seen_by_full_with_a_manifest_alone(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact"})
    ckptkit("verify", f"{run}/checkpoint-100", "--write")
    for step in (100, 200):
        flip(run, step, "adapter_model.safetensors")
    called = ckptkit("verify", run, "--level", "full", "--json").json["checkpoints"]
    assert [c["verdict"] for c in called] == ["corrupt", "intact"]
    assert called[0]["findings"][0]["code"] == "changed-since-manifest"


# --- salvage --------------------------------------------------------------------------------------------------------


def test_intact_weights_of_a_damaged_one_are_told_and_found(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    cut(run, 300, "optimizer.pt")
    assert re.search(r"incomplete +\S+/checkpoint-300 \(weights intact, not resumable\)", ckptkit("verify", run).out)
    plain = ckptkit("latest", run)
    assert plain.out == f"{run}/checkpoint-200\n" and "skipped" in plain.err
    weights = ckptkit("latest", run, "--weights-only-ok")
    assert weights.out == f"{run}/checkpoint-300\n" and "load its weights, don't resume from it" in weights.err


def test_one_whose_weights_are_damaged_is_no_salvage(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(THREE)
    cut(run, 300, "adapter_model.safetensors")
    assert ckptkit("latest", run, "--weights-only-ok").out == f"{run}/checkpoint-200\n"
    assert "weights intact" not in ckptkit("verify", run).out


def test_a_save_torn_after_its_weights_still_has_them(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({300: "torn"})
    assert ckptkit("latest", run).code == 4
    assert ckptkit("latest", run, "--weights-only-ok").out == f"{run}/checkpoint-300\n"


def _fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


EXPLAINED: dict[str, tuple[Callable[[str], object], Any]] = {
    "whole": (lambda run: None, "Training can go on from it: --resume_from_checkpoint"),
    "optimizer_cut": (lambda run: cut(run, 100, "optimizer.pt"), "Its weights are intact: use the model"),
    "weights_cut": (lambda run: cut(run, 100, "adapter_model.safetensors"), "Nothing in it can be relied on"),
    "unreadable": (lambda run: _fifo(f"{run}/checkpoint-100/optimizer.pt"), "does not count as intact"),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_explain_says_what_can_still_be_done(run_of: RunOf, ckptkit: Ckptkit, name: str) -> None:
    change, words = EXPLAINED[name]
    run = run_of({100: "intact"})
    change(run)
    assert words in ckptkit("verify", run, "--explain").out
    assert words not in ckptkit("verify", run).out


CAUSES = ("foreign-layout", "not-recognized", "no-weights", "refused-pickle", "nonfinite", "removed-after-save",
          "bad-optional", "changed-bystander", "unfinished")  # fmt: skip


@pytest.mark.parametrize("code", CAUSES)
def test_each_finding_that_needs_words_has_its_own(code: str) -> None:
    lines = explained("corrupt", code)
    assert len(lines) == len(set(lines)) == 4


@pytest.mark.parametrize("code, flag", [("refused-pickle", "--trust 'PACKAGE.*'"), ("nonfinite", "--allow-nonfinite")])
def test_explain_never_says_that_one_which_latest_skips_can_be_resumed_from(code: str, flag: str) -> None:
    told = " ".join(explained("intact", code))
    assert "--go-on" not in told and "Nothing wrong" not in told and flag in told
    assert "bin/latest '/a run'" in told


def test_explain_of_an_unknown_one_says_how_to_keep_it_and_how_to_delete_it() -> None:
    told = explained("unknown", "")
    assert told[-2].endswith("bin/recover '/a run' --set-aside")
    assert told[-1].endswith("bin/discard '/a run/checkpoint-1'")


def explained(state: State, code: str) -> list[str]:
    checkpoint = Checkpoint("/a run/checkpoint-1", "checkpoint-1", 1, "hf", 0, 0, (), (), 0, 0.0)
    return explain(
        Judged(checkpoint, Verdict(state, state == "intact", "quick", (Finding("a.pt", code, "is odd"),))), "--go-on"
    )


# --- meaning --------------------------------------------------------------------------------------------------------


def test_weights_that_are_those_of_the_step_before_are_told_by_deep(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact"})  # copies of one
    found = ckptkit("verify", run, "--level", "deep", "--json")
    assert found.code == 0
    assert [[f["code"] for f in c["findings"]] for c in found.json["checkpoints"]] == [[], ["unchanged-weights"]]
    ckptkit("verify", f"{run}/checkpoint-100", "--write")
    alone = ckptkit("verify", f"{run}/checkpoint-200", "--level", "deep")
    assert "unchanged-weights" in alone.out, "the manifest of the one before knows its weights"


def test_a_best_checkpoint_that_is_gone_is_told_and_no_damage(run_of: RunOf, ckptkit: Ckptkit) -> None:
    import json

    run = run_of({100: "intact"})
    state = Path(run, "checkpoint-100", "trainer_state.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"best_model_checkpoint": "run/checkpoint-50"}))
    called = ckptkit("verify", run)
    assert called.code == 0 and "best-missing: trainer_state.json names checkpoint-50" in called.out
