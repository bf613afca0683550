"""bin/preflight --script: a training's own script that deletes checkpoints is found, told, and never run."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit as kit
from ckptkit.forecast.name_order import first_swap
from ckptkit.ops.preflight import preflight
from ckptkit.ops.scripts import scripts
from ckptkit.policy.keep import DEFAULT_RULES
from tests.scripts.texts import text_of
from tests.support.typed import Called, Ckptkit, RunOf

CHECKOUT = Path(__file__).resolve().parents[2]
CALLBACK = text_of("python", "names", "the_issue")
LINE = next(number for number, line in enumerate(CALLBACK.splitlines(), 1) if "rmtree" in line)
FIX = "remove that callback: ckptkit.guard(trainer, keep_last=2) does it"
SWAP = "checkpoint-10000 sorts before checkpoint-9000, so it deletes the newest"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any, Any], Any]:
    """write(name, text) makes such a file and returns its path."""

    def made(name: str, text: str) -> Any:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where a run will be."""
    return tmp_path / "run"


def cleanups(called: Called) -> list[Any]:
    return [check for check in called.json["checks"] if check["code"] == "cleanup"]


# --- what is said ---------------------------------------------------------------------------------------------------


def test_callback_that_sorts_by_text_stands_against_a_start_until_it_is_gone(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    path = write("train.py", CALLBACK)
    called = ckptkit("preflight", run, "--script", "train.py")
    assert called.code == 4
    first, second = (line for line in called.out.splitlines() if " cleanup " in line or "fix: sed" in line)
    told = f"train.py:{LINE} deletes checkpoints in the order of their names: {SWAP}"
    assert first == f"no-go  cleanup          {told}; {FIX}"
    shown = subprocess.run(
        second.split("fix: ")[1], shell=True, check=True, capture_output=True, text=True, cwd=path.parent
    )
    assert CALLBACK.splitlines()[LINE - 1] in shown.stdout, "the command shows the place"
    path.write_text("print('no callback any more')\n")
    (line,) = [
        line for line in ckptkit("preflight", run, "-v", "--script", path).out.splitlines() if " cleanup " in line
    ]
    assert line == f"go     cleanup          no checkpoint is deleted in {path}; what is imported there was not read"


def test_json_carries_it_as_every_check(write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit) -> None:
    called = ckptkit("preflight", run, "--script", write("train.py", CALLBACK), "--json")
    (check,) = cleanups(called)
    assert set(check) == {"state", "code", "message", "command"} and check["message"].endswith(FIX)
    assert called.json["go"] is False and called.code == 4


def test_nothing_is_said_where_no_script_is_named(run: Path, ckptkit: Ckptkit) -> None:
    assert cleanups(ckptkit("preflight", run, "--json")) == []


# The order of text, by the settings of the training that will start.
REACHED = {
    "nothing_is_known": ("", "no-go", SWAP),
    "ten_thousand_steps": ("max_steps: 10000\n", "no-go", SWAP),
    "fewer_steps": ("max_steps: 9999\n", "warn", "from checkpoint-10000 on that deletes the newest"),
    "few_of_them": ("max_steps: 9000\nsave_steps: 1000\n", "warn", "from checkpoint-10000 on"),
    "reached_with_known_saves": ("max_steps: 10000\nsave_steps: 2500\n", "no-go", "10000 sorts before checkpoint-7500"),
    "saves_in_plenty": ("max_steps: 1000\nsave_steps: 100\n", "no-go", "checkpoint-1000 sorts before checkpoint-900"),
    "no_end_known": ("save_steps: 1000\n", "no-go", SWAP),
    "epochs": ("save_strategy: epoch\nnum_train_epochs: 3\n", "no-go", SWAP),
    "nothing_is_saved": ("save_strategy: 'no'\n", "warn", "from checkpoint-10000 on"),
}


@pytest.mark.parametrize("name", REACHED)
def test_order_of_text_is_a_no_go_if_this_training_gets_there(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit, name: str
) -> None:
    settings, state, words = REACHED[name]
    write("train.py", CALLBACK)
    called = ckptkit("preflight", run, "--script", "train.py", "--config", write("train.yaml", settings), "--json")
    (check,) = cleanups(called)
    assert (check["state"], words in check["message"]) == (state, True), check


def test_steps_that_are_there_already_count(run_of: RunOf, write: Callable[[Any, Any], Any]) -> None:
    look = scripts([str(write("train.py", CALLBACK))])
    run = run_of({100: "intact", 200: "intact"})

    def state(**settings: Any) -> str:
        made = preflight(run, DEFAULT_RULES, settings=settings, scripts=look)
        return next(check.state for check in made if check.code == "cleanup")

    assert state(save_steps=100, max_steps=900) == "warn" and state(save_steps=100, max_steps=1000) == "no-go"
    assert state(save_steps=1000, max_steps=9000) == "warn", "200 stands, but 1000 sorts before it and 100 does not"


def test_swap_is_told_exactly_where_a_rotation_by_text_would_delete_its_newest_save() -> None:
    """Played through, save by save, as a callback that keeps the last two does it."""
    for every in (*range(1, 40), 100, 150, 250, 400, 499, 500, 501, 900, 1000, 1500, 2500, 4999, 5000, 9999):
        for standing in ([], [3 * every], [7 * every, 8 * every], [50_000]):
            for last in (2 * every, 12 * every, 9_999, 10_000, 30_000):
                swap = first_swap(standing, every, last)
                assert (swap[1] if swap else None) == _deleted_at_once(standing, every, last), (every, standing, last)


def _deleted_at_once(standing: list[int], every: Any, last: int) -> int | None:
    kept = [str(step) for step in standing]
    first = max(standing, default=0) // every + 1
    for step in range(first * every, last + 1, every):
        kept = sorted([*kept, str(step)])[-2:]
        if str(step) not in kept:
            return step
    return None


KINDS = {
    "numbers": ("key_int", "warn", "deletes checkpoints by their steps; beside the guard it is a second rotation"),
    "times": ("getmtime", "warn", "deletes checkpoints by the time of their last change"),
    "listing": ("glob", "no-go", "in the order in which the disk lists them, which is any: it may delete the newest"),
    "all": ("each", "warn", "deletes checkpoints whatever their order"),
    "other": ("by_its_metric", "warn", "deletes checkpoints by an order of its own"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_order_has_its_words(write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit, kind: str) -> None:
    name, state, words = KINDS[kind]
    called = ckptkit("preflight", run, "--script", write("train.py", text_of("python", kind, name)), "--json")
    (check,) = cleanups(called)
    assert (check["state"], words in check["message"]) == (state, True), check
    assert "; remove that code: ckptkit.guard(trainer, keep_last=2)" in check["message"]
    assert check["command"].startswith("sed -n ")


def test_each_place_has_its_line_and_many_of_them_end(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    many = write("many.py", "import glob, os\n" + "for c in glob.glob('checkpoint-*'): os.rmdir(c)\n" * 14)
    found = cleanups(ckptkit("preflight", run, "--script", many, "--json"))
    assert [check["message"].split(" deletes")[0] for check in found[:-1]] == [f"{many}:{2 + n}" for n in range(10)]
    assert found[-1]["message"] == f"{many} deletes checkpoints in 4 more places"
    many.write_text(many.read_text() + CALLBACK)
    found = cleanups(ckptkit("preflight", run, "--script", many, "--json"))
    assert found[0]["state"] == "no-go" and len(found) == 11, "what stands against a start is never among the more"


def test_keep_last_of_the_rules_is_what_the_guard_is_given(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    called = ckptkit("preflight", run, "--script", write("train.py", CALLBACK), "--keep-last", "5", "--json")
    assert "keep_last=5" in cleanups(called)[0]["message"]


# --- where it looks -------------------------------------------------------------------------------------------------


def test_scripts_of_both_languages_are_looked_at_each_once(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    write("train.py", CALLBACK)
    write("clean.sh", "#!/bin/sh\nls -d out/checkpoint-* | sort | head -n -2 | xargs rm -rf\n")
    words = ("--script", "train.py", "--script", "clean.sh", "--script", "./train.py")
    found = cleanups(ckptkit("preflight", run, *words, "--json"))
    assert [check["message"].split(" deletes")[0] for check in found] == [f"train.py:{LINE}", "clean.sh:2"]


def test_scripts_that_the_settings_name_are_looked_at_at_any_depth(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    for name in ("jobs/own.py", "jobs/deep/callbacks.py", "here.sh", "jobs/clean.py"):
        write(name, CALLBACK if name.endswith(".py") else "rm -rf out/checkpoint-*\n")
    write("jobs/clean.py", "pass\n")
    settings = {
        "train_script": "own.py",
        "callbacks": [{"file": ["deep/callbacks.py"]}],
        "command": "bash here.sh --fast",
        "other": ["clean.py", "missing.py", "own.py", "data.json", 3, None, "x\0.py"],
    }
    config = write("jobs/train.json", json.dumps(settings))
    found = cleanups(ckptkit("preflight", run, "--config", config, "--json"))
    told = {check["message"].split(" deletes")[0]: check["state"] for check in found[:-1]}
    jobs = config.parent
    assert told == {f"{jobs}/own.py:{LINE}": "no-go", f"{jobs}/deep/callbacks.py:{LINE}": "no-go", "here.sh:1": "warn"}
    assert found[-1]["state"] == "go" and f"{jobs}/clean.py" in found[-1]["message"]


def test_settings_that_name_themselves_end(write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit) -> None:
    write("own.py", CALLBACK)
    config = write("train.yaml", "a: &a\n  - *a\n  - own.py\n  - {b: *a}\n")
    assert len(cleanups(ckptkit("preflight", run, "--config", config, "--json"))) == 1


def test_config_that_is_a_script_is_looked_at_and_the_runs_own_rules_hold(
    write: Callable[[Any, Any], Any], run_of: RunOf, ckptkit: Ckptkit
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    Path(run, "ckptkit.toml").write_text("keep_last = 3\n")
    called = ckptkit("preflight", run, "--config", write("config.py", CALLBACK), "--json")
    assert len(cleanups(called)) == 1 and "keep_last=3" in cleanups(called)[0]["message"]
    (count,) = [check for check in called.json["checks"] if check["code"] == "checkpoints"]
    assert count["state"] == "go"


def test_from_python_it_is_the_same(write: Callable[[Any, Any], Any], run: Path) -> None:
    path = write("train.py", CALLBACK)
    for script in (path, str(path), [path], (str(path), path)):
        (found,) = [check for check in kit.preflight(run, script=script) if check.code == "cleanup"]
        assert found.state == "no-go" and found.message.startswith(f"{path}:{LINE} deletes")
    assert "cleanup" not in [check.code for check in kit.preflight(run)]
    with pytest.raises(kit.UsageError, match="script"):
        kit.preflight(run, script=run / "nowhere.py")


def test_our_own_training_is_clean(run: Path, ckptkit: Ckptkit) -> None:
    (check,) = cleanups(ckptkit("preflight", run, "--script", CHECKOUT / "train.py", "--json"))
    assert check["state"] == "go"


# --- what is no script ----------------------------------------------------------------------------------------------


def test_script_is_never_run_or_imported(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    write("train.py", "open('run.txt', 'w')\n" + CALLBACK)
    write("sitecustomize_of_a_stranger.py", "open('run.txt', 'w')\n")
    write("clean.sh", "touch run.txt\n$(touch run.txt)\n")
    ckptkit("preflight", run, "--script", "train.py", "--script", "clean.sh")
    assert not (tmp_path / "run.txt").exists() and not (tmp_path / "__pycache__").exists()


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


REFUSED: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a_folder": _folder,
    "a_fifo": _fifo,
    "100_megabytes": _large,
    "a_link_to_itself": _loop,
    "a_device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("flag", ["--script", "--config"])
def test_file_that_cant_be_read_is_one_line_that_names_the_flag(
    run: Path, ckptkit: Ckptkit, tmp_path: Path, name: str, flag: str
) -> None:
    REFUSED[name](tmp_path / "train.py")
    called = ckptkit("preflight", run, flag, tmp_path / "train.py")
    assert called.code == 2 and called.out == "" and called.err.count("\n") == 1
    assert flag in called.err and "train.py" in called.err and "Traceback" not in called.err


def test_one_that_the_settings_name_and_that_cant_be_read_is_told_and_the_rest_goes_on(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    with (tmp_path / "large.py").open("wb") as file:
        file.truncate(2 << 20)
    write("train.py", CALLBACK)
    config = write("train.json", '{"scripts": ["large.py", "train.py"]}')
    found = cleanups(ckptkit("preflight", run, "--config", config, "--json"))
    assert sorted(check["state"] for check in found) == ["no-go", "warn"]
    assert any("large.py could not be looked at: has more than 1,048,576 bytes" in check["message"] for check in found)


BROKEN = {
    "syntax": (b"def (:\n", "line 1: "),
    "nul": (b"import os\0\n", "null"),
    "binary": (bytes(range(256)) * 40, ""),
    "python_2": (b"print 'rmtree'\n", "line 1: "),
    "nested": (b"rmtree = " + b"(" * 50_000 + b")" * 50_000, ""),
    "signs": (b"rmtree = " + b"-" * 90_000 + b"1", ""),
    "utf_16": ("shutil.rmtree(x)\n".encode("utf-16"), ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_text_that_is_no_python_is_told_in_one_line_and_is_no_crash(
    run: Path, ckptkit: Ckptkit, tmp_path: Path, name: str
) -> None:
    content, words = BROKEN[name]
    (tmp_path / "train.py").write_bytes(content)
    called = ckptkit("preflight", run, "--script", "train.py", "--json")
    (check,) = cleanups(called)
    assert (
        check["state"] == "warn"
        and check["message"].startswith("train.py could not be looked at: ")
        and words in check["message"]
    )
    assert called.code in (0, 4) and called.err == ""


def test_warnings_of_a_persons_own_text_are_not_ours_to_repeat(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit
) -> None:
    text = 'import re\nre.compile("\\d+")\nif 1 is 1: pass\n' + CALLBACK
    assert ckptkit("preflight", run, "--script", write("train.py", text)).err == ""


@pytest.mark.parametrize("coding", ["latin-1", "rot13", "no-such", "utf-8"])
def test_declared_encoding_loads_nothing_and_hides_nothing(
    write: Callable[[Any, Any], Any], run: Path, ckptkit: Ckptkit, coding: str
) -> None:
    text = f"# -*- coding: {coding} -*-\nname = 'größe'\n" + CALLBACK
    (check,) = cleanups(ckptkit("preflight", run, "--script", write("train.py", text), "--json"))
    assert check["state"] == "no-go"
