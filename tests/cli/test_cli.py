"""The command line: what a person types wrong gets one clear line, the right exit code, and changes nothing."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import make_run, names, tree
from tests.support.typed import Called, Ckptkit, Mount, RunOf

CHECKOUT = Path(__file__).resolve().parents[2]

VERBS = (
    "prune", "strip", "verify", "latest", "diskreport", "plan", "preflight", "recover", "monitor", "pin", "unpin",
    "discard", "cron", "move",
)  # fmt: skip
README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def one_line(called: Called) -> bool:
    """Stderr is one line, and no traceback."""
    return called.err.count("\n") == 1 and "Traceback" not in called.err


# --- RUN that is none -----------------------------------------------------------------------------------------------

NO_RUN: dict[str, tuple[Callable[[Path], object], int]] = {
    "missing": (lambda tmp: tmp / "nowhere", 10),
    "a_file": (lambda tmp: _file(tmp), 10),
    "empty": (lambda tmp: _directory(tmp), 10),
    "root": (lambda tmp: "/", 2),
    "a_home": (lambda tmp: os.path.expanduser("~"), 2),
    "no_child_is_a_checkpoint": (lambda tmp: _directory(tmp, "logs", "checkpoint-best", "checkpoint-"), 10),
}


def _file(tmp: Path) -> Path:
    (tmp / "file").write_text("x")
    return tmp / "file"


def _directory(tmp: Path, *children: str) -> Path:
    for child in children:
        (tmp / "dir" / child).mkdir(parents=True)
    (tmp / "dir").mkdir(exist_ok=True)
    return tmp / "dir"


@pytest.mark.parametrize("verb", ["prune", "strip", "latest"])
@pytest.mark.parametrize("name", NO_RUN)
def test_run_that_is_none(ckptkit: Ckptkit, tmp_path: Path, verb: str, name: str) -> None:
    make, code = NO_RUN[name]
    path = make(tmp_path)
    before = tree(tmp_path)
    called = ckptkit(verb, path)
    assert (called.code, called.out) == (code, "")
    assert one_line(called) and str(path) in called.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("verb", ["prune", "latest"])
def test_run_that_cant_be_listed_by_this_user_is_told(ckptkit: Ckptkit, tmp_path: Path, verb: str) -> None:
    called = ckptkit(verb, f"{tmp_path}/checkpoint-1\n\x1b[31mred")
    assert called.code == 10 and one_line(called) and "\x1b" not in called.err


@pytest.mark.parametrize("verb", VERBS)
def test_empty_path_is_never_the_directory_one_stands_in(run_of: RunOf, ckptkit: Ckptkit, verb: str) -> None:
    """As `bin/prune "$RUN"` says it where RUN is not set."""
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    before = tree(run)
    words = ("--from", "", "--max-steps", "9") if verb == "plan" else ("", "") if verb == "move" else ("",)
    for where in (run, f"{run}/checkpoint-100"):
        called = ckptkit(verb, *words, *(("--once",) if verb == "monitor" else ()), cwd=where)
        assert called.code == 2 and one_line(called), called
    assert tree(run) == before


def test_unpin_of_what_is_no_checkpoint_writes_nothing(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    before = tree(run)
    for name in ("foo", "checkpoint-", ".."):
        called = ckptkit("unpin", f"{run}/{name}")
        assert called.code in (2, 10) and one_line(called), called
    assert ckptkit("unpin", f"{run}/checkpoint-900").code == 0, "it may be gone"
    assert tree(run) == before


# --- names that are no checkpoint's ---------------------------------------------------------------------------------

STRANGE = (
    "checkpoint-",
    "checkpoint-best",
    "checkpoint-500.bak",
    "checkpoint-07",
    "checkpoint-5 ",
    "checkpoint-5\n",
    "checkpoint--5",
    "Checkpoint-5",
    "checkpoint-٥",
    "xcheckpoint-5",
    "checkpoint-1e3",
    "\x1b[31mcheckpoint-5",
)


def test_strange_names_are_no_checkpoints_and_stay_untouched(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    for name in STRANGE:
        make_run_of_one = Path(run, name)
        make_run_of_one.mkdir()
        (make_run_of_one / "trainer_state.json").write_text("{}")
    called = ckptkit("prune", run, "--keep-last", "1", "-y", "--json")
    assert [d["name"] for d in called.json["runs"][0]["decisions"]] == [
        "checkpoint-100",
        "checkpoint-200",
        "checkpoint-300",
    ]
    assert set(names(run)) == {*STRANGE, "checkpoint-300"}


def test_run_with_spaces_newlines_and_codes_in_its_name_works_and_is_printed_clean(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"}, at=tmp_path / "a run\nwith \x1b[31m codes")
    called = ckptkit("prune", run)
    assert called.code == 0 and "\x1b" not in called.out and r"a run\nwith \x1b[31m codes" in called.out
    assert names(run) == ["checkpoint-200", "checkpoint-300"]
    assert ckptkit("latest", run, "--json").json["path"] == f"{run}/checkpoint-300"


def test_run_whose_name_is_no_text_works(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    odd = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.rename(run, odd)
    called = ckptkit("prune", os.fsdecode(odd))
    assert called.code == 0, called.err
    assert len(os.listdir(odd)) == 2


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "2.5", "1..", "5..2"])
def test_bad_keep_last_is_one_line_with_its_origin(run_of: RunOf, ckptkit: Ckptkit, value: str) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    before = tree(run)
    called = ckptkit("prune", run, f"--keep-last={value}")
    assert called.code == 2 and one_line(called) and "(set by --keep-last)" in called.err
    assert tree(run) == before
    called = ckptkit("prune", run, env={"CKPTKIT_KEEP_LAST": value})
    assert called.code == 2 and "(set by CKPTKIT_KEEP_LAST)" in called.err
    assert tree(run) == before


@pytest.mark.parametrize("content", ["keep_last =", "keep_lats = 2", "keep_last = 0", "\0"])
def test_broken_file_is_one_line_that_names_it(run_of: RunOf, ckptkit: Ckptkit, content: str) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    Path(run, "ckptkit.toml").write_text(content)
    before = tree(run)
    called = ckptkit("prune", run)
    assert called.code == 2 and one_line(called) and f"{run}/ckptkit.toml" in called.err
    assert tree(run) == before


def test_unknown_flag_missing_argument_and_no_verb(ckptkit: Ckptkit) -> None:
    for words in (
        ("prune",),
        ("prune", "--keep-lst", "2"),
        ("latest",),
        ("verify",),
        ("prune", "a", "--recursive", "b"),
    ):
        called = ckptkit(*words)
        assert called.code == 2 and one_line(called) and "--help" in called.err
    assert ckptkit("purge").code == 2
    assert ckptkit("--help").code == 0


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples_and_exit_codes_and_the_readme_names_the_command(ckptkit: Ckptkit, verb: str) -> None:
    called = ckptkit(verb, "--help")
    assert called.code == 0 and "examples:" in called.out and "exit codes:" in called.out
    assert f"bin/{verb} " in called.out and re.search(rf"\b{verb}\b", README)


def test_prune_json_keeps_its_contract(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"})
    called = ckptkit("prune", run, "--json")
    assert called.json["schema"] == "ckptkit.prune/1"
    (one,) = called.json["runs"]
    assert set(one) >= {"run", "dry_run", "decisions", "expected_freed_bytes", "freed_bytes", "failures"}
    assert [(d["step"], d["verdict"], d["action"]) for d in one["decisions"]] == [
        (100, "intact", "delete"),
        (200, "incomplete", "delete"),
        (300, "intact", "keep"),
        (400, "intact", "keep"),
    ]
    assert all(isinstance(d["allocated_bytes"], int) and os.path.isabs(d["path"]) for d in one["decisions"])
    codes = [[reason["code"] for reason in d["reasons"]] for d in one["decisions"]]
    assert codes == [["released"], ["incomplete"], ["keep-last"], ["newest-intact", "keep-last"]]
    assert all(reason["message"] and reason["command"] == "" for d in one["decisions"] for reason in d["reasons"])


def test_verify_json_keeps_its_contract_and_exits_4_for_a_torn_one(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn"})
    called = ckptkit("verify", run, "--json")
    assert called.code == 4 and called.json["schema"] == "ckptkit.verify/1"
    first, second = called.json["checkpoints"]
    contract = {"path", "name", "step", "verdict", "resumable", "level", "findings", "bytes_read"}
    assert set(first) == contract | {
        "weights_intact", "files_unread", "digests", "refused", "allocated_bytes", "modified_at"
    }  # fmt: skip
    assert (first["verdict"], first["findings"]) == ("intact", [])
    assert set(second["findings"][0]) == {"file", "code", "message"}
    assert ckptkit("verify", f"{run}/checkpoint-100", "-q") == (0, "", "")


def test_latest_prints_the_path_and_nothing_else_on_stdout(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 150: "intact"})
    called = ckptkit("latest", run)
    assert (called.code, called.out) == (0, f"{run}/checkpoint-150\n")
    assert "skipped" in called.err and "checkpoint-200: incomplete" in called.err


def test_latest_with_none_intact_exits_4(run_of: RunOf, ckptkit: Ckptkit) -> None:
    called = ckptkit("latest", run_of({100: "torn"}))
    assert (called.code, called.out) == (4, "") and one_line(called)


def test_errors_are_json_too(ckptkit: Ckptkit, tmp_path: Path) -> None:
    called = ckptkit("latest", tmp_path / "nowhere", "--json")
    assert called.json["error"]["exit_code"] == called.code == 10
    assert ckptkit("prune", "--nonsense", "--json").json["error"]["exit_code"] == 2


def test_mass_deletion_stops_with_25_and_yes_lets_it_through(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(dict.fromkeys((1, 2, 3, 4, 5), "intact"))
    assert ckptkit("prune", run).code == 25
    dry = ckptkit("prune", run, "-n")
    assert dry.code == 0 and "nothing was touched" in dry.err and len(names(run)) == 5
    assert ckptkit("prune", run, "-y").code == 0 and len(names(run)) == 2


def test_free_target_out_of_reach_exits_5_after_doing_what_it_may(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    called = ckptkit("prune", run, "--keep-last", "2..3", "--free-target", "999T")
    assert called.code == 5 and "short of the free target" in called.err
    assert names(run) == ["checkpoint-200", "checkpoint-300"]


def test_one_bad_run_does_not_keep_the_others_from_being_pruned(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    called = ckptkit("prune", tmp_path / "nowhere", run)
    assert called.code == 10 and len(names(run)) == 2


def test_recursive_finds_every_run_and_is_silent_where_there_is_none_yet(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, real: str
) -> None:
    (tmp_path / "root").mkdir()
    assert ckptkit("prune", "--recursive", tmp_path / "root", "-q") == (0, "", "")
    first = run_of({100: "intact", 200: "intact", 300: "intact"}, at=tmp_path / "root" / "a" / "run")
    second = run_of({100: "intact", 200: "intact", 300: "intact"}, at=tmp_path / "root" / "b")
    assert ckptkit("prune", "--recursive", tmp_path / "root", "-q") == (0, "", "")
    assert len(names(first)) == len(names(second)) == 2


@pytest.mark.parametrize("verb", ["prune", "strip", "recover"])
def test_one_that_can_not_be_read_is_left_alone_told_and_no_success(run_of: RunOf, verb: str) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    refused = f"{run}/checkpoint-100/optimizer.pt"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", refused, "-e", "inject=openat:error=EIO"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    command = [*strace, sys.executable, "-m", "ckptkit", verb, run, "-y", "-q"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    left = f"{verb}: {run}/checkpoint-100 was left alone: could not be judged: optimizer.pt can't be read: Input/output"
    assert done.returncode == 3 and left in done.stderr, done.stderr
    assert os.path.exists(refused)


def test_quiet_failures_are_told(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "torn"})
    called = ckptkit("prune", run, "-q")
    assert called.code == 4 and called.out == "" and one_line(called)


def test_full_stdout_does_not_stop_the_sweep_and_is_no_success(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    with open("/dev/full", "w") as full:
        called = ckptkit("prune", run, capture_output=False, stdout=full)
    assert called.code == 1 and names(run) == ["checkpoint-200", "checkpoint-300"]


def test_reader_that_went_away_does_not_stop_the_sweep(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    reading, writing = os.pipe()
    os.close(reading)
    called = ckptkit("prune", run, capture_output=False, stdout=writing)
    os.close(writing)
    assert called.code == 0 and len(names(run)) == 2


def test_log_has_what_was_said_and_an_unwritable_one_is_told(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    assert ckptkit("prune", run, "-q", "--log-to", tmp_path / "log" / "prune.log") == (0, "", "")
    assert "deleted 1 checkpoint" in (tmp_path / "log" / "prune.log").read_text()
    called = ckptkit("prune", run, "--log-to", "/proc/nowhere/log")
    assert called.code == 0 and "going on without it" in called.err


def test_diskreport_shows_decisions_reasons_and_flags_with_a_command(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"})
    page = ckptkit("diskreport", run, "--no-eaters", env={"COLUMNS": "200"})
    assert (
        page.code == 0 and "keep-last 2" in page.out and "RED" in page.out and f"fix: {CHECKOUT}/bin/prune" in page.out
    )
    document = ckptkit("diskreport", run, "--no-eaters", "--json").json
    assert document["schema"] == "ckptkit.diskreport/1"
    assert {f["code"] for f in document["flags"] if f["level"] == "red"} >= {"incomplete", "too-many"}
    assert document["volumes"][0]["total_bytes"] > document["volumes"][0]["available_bytes"]
    assert [c["action"] for c in document["runs"][0]["checkpoints"]] == ["delete", "delete", "keep", "keep"]
    assert document["runs"][0]["checkpoints"][0]["modified_at"].endswith("Z")


@pytest.mark.mounts
def test_diskreport_json_keeps_its_fields_and_tells_what_eats_the_volume(
    mount: Mount, real: str, ckptkit: Ckptkit
) -> None:
    volume = mount("tmpfs", "size=40m")
    run = make_run(real, f"{volume}/run", {100: "intact", 200: "intact"})
    for name, size in (("data/large", 5), ("data/small", 3), ("deep/er/and/deeper", 1)):
        Path(volume, name).parent.mkdir(parents=True, exist_ok=True)
        Path(volume, name).write_bytes(b"\1" * (size << 20))
    document = ckptkit("diskreport", run, "--json").json
    assert set(document) >= {"schema", "volumes", "runs", "flags", "errors"}
    assert set(document) >= {"eaters", "caches", "open_deleted", "processes"}
    (eaters,) = document["eaters"]
    assert eaters["root"] == volume and eaters["directories"][0]["path"] == f"{volume}/data"
    assert eaters["files"][0] == {"path": f"{volume}/data/large", "allocated_bytes": 5 << 20}
    (top,) = ckptkit("diskreport", run, "--json", "--top", "1", "--depth", "1").json["eaters"]
    assert [len(top["directories"]), len(top["files"])] == [1, 1]
    assert ckptkit("diskreport", run, "--json", "--no-eaters").json["eaters"] == []
    page = ckptkit("diskreport", run, env={"COLUMNS": "160"})
    assert f"{volume}/data/large" in page.out and page.err == ""
    assert ckptkit("diskreport", run, "-q").out == "", "cron: nothing is red, nothing is walked or said"


@pytest.mark.parametrize("words", [("--depth", "0"), ("--top", "-1"), ("--top", "x"), ("--html",)])
def test_diskreport_with_a_flag_that_means_nothing_is_one_line(
    run_of: RunOf, ckptkit: Ckptkit, words: tuple[str, ...]
) -> None:
    called = ckptkit("diskreport", run_of({100: "intact"}), *words)
    assert called.code == 2 and one_line(called) and words[0] in called.err


@pytest.mark.mounts
def test_diskreport_shows_where_it_walks_on_a_terminal_alone(mount: Mount, real: str, ckptkit: Ckptkit) -> None:
    run = make_run(real, f"{mount('tmpfs', 'size=40m')}/run", {100: "intact"})
    leading, following = pty.openpty()
    called = ckptkit("diskreport", run, capture_output=False, stdout=subprocess.PIPE, stderr=following,
                     env={"TERM": "xterm"})  # fmt: skip
    os.close(following)
    shown = os.read(leading, 1 << 16).decode()
    os.close(leading)
    assert called.code == 0 and "walking" in shown and "walking" not in called.out


@pytest.mark.mounts
@pytest.mark.parametrize(("used", "code"), [(0.3, "volume-ok"), (0.7, "volume-filling"), (0.95, "volume-critical")])
def test_volume_flags_rise_and_clear_on_a_real_volume(
    mount: Mount, real: str, ckptkit: Ckptkit, used: float, code: str
) -> None:
    volume = mount("tmpfs", "size=40m")
    run = make_run(real, f"{volume}/run", {100: "intact"})

    def codes() -> set[Any]:
        return {flag["code"] for flag in ckptkit("diskreport", run, "--no-eaters", "--json").json["flags"]}

    assert "volume-ok" in codes()
    Path(volume, "ballast").write_bytes(b"\1" * int(used * (40 << 20)))
    assert code in codes()
    Path(volume, "ballast").unlink()
    assert "volume-ok" in codes()


def test_outlier_and_leftover_flags(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of(dict.fromkeys((100, 200, 300), "intact"))
    Path(run, "checkpoint-200", "forgotten-dataset").write_bytes(b"\1" * 3_000_000)
    Path(run, ".ckptkit-deleting-checkpoint-50").mkdir()
    codes = {flag["code"] for flag in ckptkit("diskreport", run, "--no-eaters", "--json").json["flags"]}
    assert codes >= {"outlier", "leftovers"}


def test_documents_are_one_line_each(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact"})
    for verb in ("prune", "verify", "latest", "diskreport"):
        called = ckptkit(verb, run, "--json", *(("--no-eaters",) if verb == "diskreport" else ()))
        assert called.out.count("\n") == 1 and json.loads(called.out)["schema"] == f"ckptkit.{verb}/1"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
@pytest.mark.parametrize("verb", ["prune", "verify", "latest", "diskreport"])
def test_code_in_the_run_is_never_taken_for_ours(run_of: RunOf, verb: str) -> None:
    run = run_of({100: "intact"})
    Path(run, "ckptkit").mkdir()
    for name in ("ckptkit/__init__.py", "json.py", "argparse.py"):
        Path(run, name).write_text("raise SystemExit(99)")
    done = subprocess.run([CHECKOUT / "bin" / verb, "."], cwd=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb", ["latest", "preflight", "diskreport --no-eaters", "recover --dry-run"])
def test_who_closed_stdout_or_stderr_gets_the_same_work_and_code(
    run_of: RunOf, ckptkit: Ckptkit, verb: str, closed: str
) -> None:
    run = run_of({100: "intact", 200: "torn"})
    code = ckptkit(*verb.split(), run).code
    done = subprocess.run(
        ["bash", "-c", f'bin/{verb} "$0" {closed}', run], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code and "Traceback" not in done.stdout + done.stderr
    assert "skipped" not in done.stdout, "what was to go to stderr stays out of $(ckptkit latest RUN)"
