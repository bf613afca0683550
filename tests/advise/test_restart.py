"""The line that resumes: the training's own command where it is known, else a placeholder that says so."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.advise import restart
from ckptkit.history.remembered import Start, recall_start, remember_start
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.ops.latest import latest
from ckptkit.ops.start import going_on
from tests.support.runs import TYPED, tree
from tests.support.typed import Ckptkit, RunOf, present

TAKES = "parser = HfArgumentParser(TrainingArguments)"
GUARDED = "import ckptkit\nckptkit.guard(trainer)\ntrainer.train(resume_from_checkpoint=True)"


@pytest.mark.parametrize(
    "typed, script, again",
    [
        ("python train.py --lr 1", TAKES, "python train.py --lr 1 --resume_from_checkpoint /r/c"),
        ("python train.py --resume_from_checkpoint x -v", "", "python train.py --resume_from_checkpoint /r/c -v"),
        ("python train.py --resume_from_checkpoint=old", "", "python train.py --resume_from_checkpoint=/r/c"),
        ("python train.py --resume_from_checkpoint --lr 1", "", "python train.py --resume_from_checkpoint /r/c --lr 1"),
        ("torchrun train.py", "add('--resume-from-checkpoint')", "torchrun train.py --resume-from-checkpoint /r/c"),
        ("python train.py", GUARDED, "python train.py"),
        ("python train.py", "trainer.train()", None),
    ],
)  # fmt: skip
def test_flag_is_added_only_where_the_script_takes_it(typed: str, script: str, again: str | None) -> None:
    words = restart.again(typed.split(), script, "/r/c")
    assert words == (again.split() if again else None)


@pytest.mark.parametrize(
    "line, command",
    [
        ("+ python train.py --lr 1", "python train.py --lr 1"),
        ("$ torchrun --nproc-per-node 2 train.py 2>&1 | tee train.log", "torchrun --nproc-per-node 2 train.py"),
        ("root@box:~# python train.py > train.log", "python train.py"),
        ("[2026-01-01] [INFO] [runner.py:605:main] cmd = /usr/bin/python -u train.py", "/usr/bin/python -u train.py"),
        ("# python train.py", None),
        ("+ python train.py; rm -rf x", None),
        ("{'loss': 1.9}", None),
    ],
)  # fmt: skip
def test_first_lines_of_a_log_show_the_command(line: str, command: str | None) -> None:
    assert restart.starts_in(f"{line}\n{{'loss': 1}}\n") == ([command] if command else [])


@pytest.mark.parametrize(
    "word",
    [
        "--hub_token=x", "--auth", "--wandb-key", "WANDB_KEY=x", "AWS_ACCESS_KEY_ID=x", "DB_PWD=x",
        "--x=hf_abcdefghijklmnopqrst", "sk-proj-abcdefghijkl", "https://me:word@host/x", "AKIA1234567890123456",
        "0123456789abcdef0123456789abcdef01234567", "--name=\x1b[31mred",
    ],
)  # fmt: skip
def test_command_with_a_secret_or_a_control_code_is_not_kept(word: str) -> None:
    plain = ["python", "train.py", "--model", "hf_org/sk-8b", "--author", "me", "--sort", "keys", "--keyword=x"]
    assert restart.is_start(plain) and not restart.is_start(["python", "train.py", word])
    assert not restart.is_start([word, "python", "train.py"])


def test_start_is_remembered_for_its_run(tmp_path: Path) -> None:
    start = Start(("python", "train.py"), "/work dir", "")
    assert remember_start("/a/run", start) == "" and recall_start("/a/run") == start and recall_start("/b/run") is None


def checkpoint(run: str) -> Checkpoint:
    return latest(run).checkpoint


def test_line_is_the_training_s_own_command_where_it_was_noted(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of({100: "intact"})
    (tmp_path / "train.py").write_text(TAKES)
    assert going_on(checkpoint(run), run) == (f"{TYPED} {run}/checkpoint-100", False, False, "")
    remember_start(run, Start(("python", "train.py", "--name", "a b"), str(tmp_path), ""))
    line = going_on(checkpoint(run), run)
    assert line.exact and line.line == (
        f"cd {shlex.quote(str(tmp_path))} && python train.py --name 'a b' --resume_from_checkpoint {run}/checkpoint-100"
    )


def test_where_the_script_shows_no_such_flag_the_line_says_which_part_to_replace(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of({100: "intact"})
    (tmp_path / "train.py").write_text("trainer.train()")
    remember_start(run, Start(("python", "train.py"), str(tmp_path), ""))
    line = going_on(checkpoint(run), run)
    assert not line.exact and line.line.startswith(TYPED) and line.started.endswith("&& python train.py")


SCRIPT = """
import sys
from ckptkit.guard.claim import Hold
Hold().claim(sys.argv[1])
"""


def test_a_training_under_a_guard_notes_how_it_was_started(tmp_path: Path) -> None:
    script, run = tmp_path / "train.py", tmp_path / "run"
    script.write_text(SCRIPT)
    # In a shell: pytest itself, with torch that another test loaded, would be the launcher of this one.
    shell = ["bash", "-c", '"$@"; exit $?', "bash", sys.executable, "train.py", str(run)]
    subprocess.run(shell, cwd=tmp_path, env=os.environ, check=True)
    start = present(recall_start(os.path.realpath(run)))
    assert start.words[1:] == ("train.py", str(run)) and start.directory == os.path.realpath(tmp_path)


def test_log_is_read_where_it_is_certain_which_it_is(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of({100: "intact", 200: "torn"})
    log = tmp_path / "train.log"
    log.write_text("+ python train.py --resume_from_checkpoint x\nOSError: [Errno 28] No space left on device\n")
    os.utime(log, (os.stat(f"{run}/checkpoint-200").st_mtime,) * 2)
    before = tree(run)
    document = ckptkit("recover", run, "--dry-run", "--json").json
    assert document["log"] == str(log) and [cause["code"] for cause in document["causes"]] == ["full-disk"]
    assert document["resume"] == f"python train.py --resume_from_checkpoint {run}/checkpoint-100"
    (tmp_path / "other.log").write_text("OSError: [Errno 28] No space left on device\n")
    os.utime(tmp_path / "other.log", (log.stat().st_mtime,) * 2)
    assert ckptkit("recover", run, "--dry-run", "--json").json["log"] is None, "two that may be it are none"
    assert tree(run) == before


@pytest.mark.parametrize(
    "line, is_its",
    [
        ("saving to {run}/checkpoint-200", True),
        ("saving to ./{base}/checkpoint-200", True),
        ("saving to /gone/{base}/checkpoint-200", True),
        ("saving to {run}0/checkpoint-200", False),
        ("saving to my-{base}/checkpoint-200", False),
        ("saving to {other}/checkpoint-200", False),
    ],
)
def test_log_of_a_run_with_a_similar_name_is_another_runs(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, line: str, is_its: bool
) -> None:
    run = run_of({100: "intact", 200: "torn"})
    (tmp_path / "beside" / "checkpoint-100").mkdir(parents=True)  # so that the place alone tells nothing
    other = tmp_path / "elsewhere" / os.path.basename(run)
    other.mkdir(parents=True)
    log = tmp_path / "train.log"
    named = line.format(run=run, base=os.path.basename(run), other=other)
    log.write_text(f"{named}\nOSError: [Errno 28] No space left on device\n")
    os.utime(log, (os.stat(f"{run}/checkpoint-200").st_mtime,) * 2)
    assert ckptkit("recover", run, "--dry-run", "--json").json["log"] == (str(log) if is_its else None)
