"""The settings of train.py: defaults < file < flags, and what can't be meant is one line and exit 2."""

import json
import runpy
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.typed import present


@pytest.fixture(scope="module")
def train() -> types.ModuleType:
    """train.py as a module: the faults of many settings cost one start of transformers."""
    import train

    return train


def test_defaults_of_the_real_thing(train: types.ModuleType) -> None:
    _, args = train.parse(["--model", "x", "--data", "y.txt"])
    assert (args.save_total_limit, args.save_steps, args.logging_steps) == (2, 2000, 10)


def test_a_flag_beats_the_file_and_the_file_the_default(train: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("learning_rate: 1e-3\nsave_steps: 7\nlora-rank: 4\n")
    job, args = train.parse(["--save-steps=5", f"--config={tmp_path}/t.yaml"])
    assert (args.learning_rate, args.save_steps, job.lora_rank, args.max_steps) == (1e-3, 5, 4, 300)


def test_every_training_argument_is_a_flag_and_a_key(
    train: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {f.name: f.default for f in fields(train.TrainingArguments) if f.init}
    plain = {name: value for name, value in known.items() if isinstance(value, (int, float))}
    (tmp_path / "t.yaml").write_text(json.dumps(plain))
    _, args = train.parse([f"--config={tmp_path}/t.yaml"])
    assert args.weight_decay == known["weight_decay"]
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    help_text = capsys.readouterr().out
    assert len(known) > 80
    assert [name for name in known if f"--{name}" not in help_text] == []


FAULTS = {
    "unknown flag": (["--bogus", "3"], "--bogus"),
    "misspelt flag": (["--outputdir", "x"], "--outputdir (did you mean --output-dir?)"),
    "misspelt key": (["--config", "misspelt.yaml"], "'max_stepz' (did you mean max_steps?)"),
    "no number": (["--max-steps", "x"], "--max_steps"),
    "unknown key": (["--config", "unknown.yaml"], "'bogus'"),
    "no file of settings": (["--config", "nowhere.yaml"], "nowhere.yaml"),
    "no table": (["--config", "list.yaml"], "table"),
    "no YAML": (["--config", "broken.yaml"], "broken.yaml"),
    "a file's bad value": (["--config", "value.yaml"], "'maybe'"),
    "model without data": (["--model", "x"], "--data"),
    "no such model": (["--model", "/nowhere", "--data", "good.txt"], "/nowhere"),
    "4 bits without Unsloth": (["--load-in-4bit"], "Unsloth"),
    "no such data": (["--data", "nowhere.txt"], "nowhere.txt"),
    "a directory": (["--data", "."], "directory"),
    "no such data set": (["--data", "no/set"], "no/set"),
    "empty text": (["--data", "empty.txt"], "1 tokens"),
    "no text": (["--data", "binary.txt"], "binary.txt"),
    "bad row": (["--data", "bad.jsonl"], "bad.jsonl line 3"),
    "row without text": (["--data", "other.jsonl"], "other.jsonl line 1"),
    "no chat template": (["--data", "chat.jsonl"], "chat.jsonl line 1"),
    "nothing to evaluate": (["--eval-strategy", "steps"], "eval"),
    "no such module": (["--lora-targets", "nowhere"], "target"),
}
FILES = {
    "unknown.yaml": "bogus: 3",
    "misspelt.yaml": "max_stepz: 3",
    "list.yaml": "- 1",
    "broken.yaml": "a: [",
    "value.yaml": "on_full: maybe\nmax_steps: 1",
    "good.txt": "text",
    "empty.txt": "",
    "bad.jsonl": '{"text": "good"}\n\n{"text": bad}\n',
    "other.jsonl": '{"txt": "x"}',
    "chat.jsonl": '{"messages": []}',
}


@pytest.mark.parametrize("argv, told", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line_and_exit_2(
    train: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    told: str,
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(present(train.__file__), run_name="__main__")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert stopped.value.code == 2
    assert len(lines) == 1
    assert told in lines[0]
