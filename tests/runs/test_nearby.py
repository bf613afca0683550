"""A path that is no run: every verb says what was probably meant, and the command that it prints works."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ckptkit as package
from ckptkit.errors import NoSuchRun
from ckptkit.ops.preflight import preflight
from tests.support.runs import CHECKOUT, tree
from tests.support.typed import Ckptkit, RunOf

TWO = {100: "intact", 200: "intact"}
READ = (("prune", "--dry-run"), ("latest",), ("strip", "--dry-run"), ("preflight",))


@pytest.fixture
def root(run_of: RunOf, tmp_path: Path) -> Path:
    """PARENT with the runs a to e, c the newest."""
    parent = tmp_path / "runs"
    for name in "abcde":
        run_of(TWO, at=parent / name)
    for name in "abdec":
        at = time.time() - (10 if name == "c" else 1000)
        os.utime(parent / name, (at, at))
    return parent


def pasted(line: str) -> tuple[int, str]:
    """What the command after `fix:` says, pasted as it is into a shell; its exit code too."""
    command = line.partition("fix: ")[2]
    assert command, line
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, env=shell(), cwd=CHECKOUT)
    return done.returncode, done.stdout + done.stderr


def shell() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(CHECKOUT), "CKPTKIT_PYTHON": sys.executable}


@pytest.mark.parametrize("words", READ, ids=lambda words: words[0])
def test_runs_below_a_parent_are_named_and_the_newest_is_what_the_command_takes(
    root: Path, ckptkit: Ckptkit, words: tuple[str, ...]
) -> None:
    verb, *flags = words
    before = tree(str(root))
    called = ckptkit(verb, root, *flags)
    assert called.code == 10 and called.err.count("\n") == 1
    assert f"{root} holds no checkpoint itself, but 5 runs below it: a, b, c (and 2 more)" in called.err
    assert called.err.rstrip().endswith(shlex.join([str(root / "c"), *flags])), "the newest one, and the same flags"
    every = shlex.join(["--recursive", str(root), *flags])
    assert (every in called.err) is (verb == "prune"), "a dry run of one stays a dry run of all"
    assert pasted(called.err)[0] in (0, 4)
    assert tree(str(root)) == before


@pytest.mark.parametrize("verb", ["pin", "unpin", "discard"])
def test_verbs_that_take_a_checkpoint_name_one(root: Path, ckptkit: Ckptkit, verb: str) -> None:
    called = ckptkit(verb, root)
    assert called.code == 10 and f"name a checkpoint of one in full, such as {root}/c/checkpoint-200" in called.err
    called = ckptkit(verb, root / "a")
    assert called.code in (2, 10) and "is a run, not a checkpoint: name it in full" in called.err
    assert "checkpoint-200, checkpoint-100" in called.err and ("fix: " in called.err) is (verb != "discard")
    assert (root / "a" / "checkpoint-200").exists()


@pytest.mark.parametrize("words", READ[:3], ids=lambda words: words[0])
def test_path_that_does_not_exist_is_found_one_or_two_levels_around(
    root: Path, ckptkit: Ckptkit, tmp_path: Path, words: tuple[str, ...]
) -> None:
    verb, *flags = words
    for typed, meant in (("b", "runs/b"), ("run/b", "runs/b"), ("../b", None)):
        called = ckptkit(verb, typed, *flags, cwd=tmp_path)
        assert called.code == 10 and called.err.count("\n") == 1
        if meant:
            assert f"no such run: {typed} (did you mean {meant}?)" in called.err
    called = ckptkit(verb, str(root / "b" / ".." / "bb"), *flags)
    assert called.code == 10 and "no such run: " in called.err


def test_near_miss_is_named_and_nothing_is_where_nothing_is_near(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = run_of(TWO, at=tmp_path / "llama-sft")
    called = ckptkit("latest", tmp_path / "lama-sft")
    assert called.code == 10 and f"(did you mean {run}?)" in called.err
    assert pasted(called.err) == (0, f"{run}/checkpoint-200\n")
    called = ckptkit("latest", tmp_path / "zzz")
    assert "did you mean" not in called.err and "RUN is the training's output_dir" in called.err


def test_checkpoint_where_a_run_is_wanted_names_its_run(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(TWO)
    for verb, *flags in (READ[0], READ[1], READ[3]):
        called = ckptkit(verb, f"{run}/checkpoint-200", *flags)
        assert called.code == 10 and f"is a checkpoint; name its run, {run}; fix: " in called.err
        assert pasted(called.err)[0] in (0, 4)


def test_file_is_told_as_one_and_the_run_around_it(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of(TWO)
    Path(run, "train.log").touch()
    for path in ("train.log", "checkpoint-200/optimizer.pt"):
        for verb in ("latest", "preflight", "prune"):
            called = ckptkit(verb, f"{run}/{path}", *(["-n"] if verb == "prune" else []))
            assert called.code == 10 and f"{run}/{path} is a file; RUN is the training's output_dir" in called.err
            assert pasted(called.err)[0] in (0, 4)
    (tmp_path / "alone").touch()
    assert "fix:" not in ckptkit("latest", tmp_path / "alone").err


def test_from_python_the_exception_says_the_same_without_a_command(root: Path) -> None:
    with pytest.raises(NoSuchRun, match=r"holds no checkpoint itself, but 5 runs below it: a, b, c \(and 2 more\)$"):
        package.prune(str(root), dry_run=True)
    with pytest.raises(NoSuchRun, match="did you mean"):
        package.latest(str(root.parent / "run" / "a"))
    with pytest.raises(NoSuchRun, match="runs below it"):
        preflight(str(root))


def test_output_dir_of_a_search_is_no_parent(run_of: RunOf, tmp_path: Path) -> None:
    for trial in ("run-0", "run-1"):
        run_of(TWO, at=tmp_path / "search" / trial)
    assert "resume" in {check.code for check in preflight(str(tmp_path / "search"))}


def test_new_run_beside_another_is_no_typo_and_one_letter_less_is(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(TWO, at=tmp_path / "exp-5")
    told = {name: check.message for name in ("exp-6", "exp5")
            for check in preflight(str(tmp_path / name)) if check.code == "resume"}  # fmt: skip
    assert "did you mean" not in told["exp-6"] and f"(did you mean {run}?)" in told["exp5"]


def test_directory_that_was_deleted_under_a_person_is_no_crash(ckptkit: Ckptkit, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    script = (
        f"cd {shlex.quote(str(here))} && rmdir {shlex.quote(str(here))} && {sys.executable} -m ckptkit latest nothing"
    )
    done = subprocess.run(script, shell=True, check=False, capture_output=True, text=True, env=shell())
    assert done.returncode == 10 and done.stderr == "latest: the directory that you are in was deleted; fix: cd ~\n", (
        done.stderr
    )


def test_run_that_was_left_out_is_found_below_and_here(
    root: Path, ckptkit: Ckptkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    for verb in ("prune", "recover", "latest", "preflight"):
        called = ckptkit(verb)
        assert called.code == 2 and "below this directory: " in called.err and f"{verb} " in called.err, called.err
        assert pasted(called.err), called.err
