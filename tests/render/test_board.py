"""diskreport on a terminal: words stay whole at 80 columns and at 40, commands can be pasted, the width is used."""

import os
import re
import shlex
import time
from pathlib import Path

import pytest

from ckptkit.model.disk import Cache, Eater, Eaters, OpenDeleted, Training
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.report import Trail
from ckptkit.ops.diskreport import Report
from ckptkit.ops.diskreport import report as ops_report
from ckptkit.render import freeing
from ckptkit.render.board import board, gauge
from ckptkit.render.tables import table, wrapped
from tests.support.runs import make_run
from tests.support.terminal import on_a_terminal
from tests.support.typed import Ckptkit, RunOf

GB = 10**9
SETTINGS = {100: "intact", 200: "intact", 300: "intact", 400: "intact", 500: "torn"}


@pytest.fixture
def found(real: str, tmp_path: Path) -> Report:
    """A report with something in every section, on a real run."""
    run = make_run(real, str(tmp_path / "run"), SETTINGS)
    now, logs = time.time(), "/workspace/logs"
    report = ops_report([run], now=now)
    mount = report.volumes[0].mount
    sample = Sample(now, mount, 100 * GB, 41 * GB, 59 * GB, run, 500)
    eaten = tuple(Eater(f"/workspace/datasets/wikipedia-20260101.en/part-{n:05}-of-00009", GB) for n in range(9))
    others = tuple(Training(500 + n, "python", "", now, "", True) for n in range(12))
    return report._replace(
        eaters=(Eaters(mount, 99 * GB, eaten, eaten, 3, "/root: Permission denied"),),
        caches=(
            Cache("hf-hub", "/root/.cache/huggingface/hub/models--a--b", mount, 4 * GB, "rm -rf -- /root/.cache/b"),
            Cache("hf-hub-incomplete", "/root/.cache/huggingface/hub/models--a--b/x.incomplete", mount, GB, "rm -- x"),
            Cache("torn-save", f"{run}/checkpoint-500/.tmpAbCdEf", mount, GB, "rm -- y"),
        ),
        open_deleted=(OpenDeleted(f"{logs}/train.log", mount, 7, "python", 2 * GB, "truncate -s 0 /proc/7/fd/1"),),
        processes=(Training(8, "python", "", now, run, True, "tmux", "a", False, f"{logs}/train.log", now), *others),
        trails=(Trail((sample,), Outlook(None, None, 52 * GB, 28_000)),),
    )  # fmt: skip


def words_of(page: str) -> set[str]:
    """Every word of a page, with the pieces of a path that was broken after a slash put together again."""
    lines = [line.strip() for line in re.sub("[█░]", "", page).splitlines() if "fix: " not in line]
    return {word.strip(",;:()") for word in re.sub(r"(?<=\w/)\n", "", "\n".join(lines)).split()}


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(found: Report, width: int) -> None:
    page = board(found, False, width)
    for line in page.splitlines():
        fits = len(line) <= width or "fix: " in line or len(line.split()[-1]) > width // 2
        assert fits, line
    names_of_columns = {"age", "verdict", "prune", "because", "guard", "log", "kept", "by", "held"}
    assert words_of(page) - words_of(board(found, False, None)) <= names_of_columns


@pytest.mark.parametrize("width", [40, 80, None])
def test_every_command_stands_whole_on_its_line(found: Report, width: int | None) -> None:
    page = board(found, False, width)
    fixes = {line.split("fix: ", 1)[1] for line in page.splitlines() if "fix: " in line}
    wanted = {flag.command for flag in found.flags if flag.command} | {cache.command for cache in found.caches}
    assert wanted <= fixes and all(shlex.split(fix) for fix in fixes)


def test_width_of_the_terminal_is_used(found: Report) -> None:
    narrow, wide = (board(found, False, width) for width in (40, 160))
    assert wide.count("\n") < narrow.count("\n") and max(map(len, wide.splitlines())) > 80
    assert wide.count("█") + wide.count("░") > narrow.count("█") + narrow.count("░")


def test_other_trainings_are_one_line_and_the_outlook_a_sentence(found: Report) -> None:
    page = board(found, False, None)
    (line,) = [line for line in page.splitlines() if "elsewhere" in line]
    assert line.strip().startswith("12 other processes on this volume train elsewhere: python (pid 500), ")
    assert line.endswith(" and 9 more") and page.count("(pid 50") == 3
    assert "the disk will not fill up in this run (peak 52 % at step 28,000)" in page


def test_what_could_be_freed_is_told_largest_first_and_no_byte_twice(found: Report) -> None:
    ways = freeing.savings(found)
    gone = sum(decision.checkpoint.allocated_bytes for decision in found.plans[0].deletions)
    assert [(way.what, way.bytes) for way in ways] == [
        ("caches", 4 * GB),  # the broken-off download lies in it
        ("deleted files that are still open", 2 * GB),
        ("prune 3 checkpoints", gone),  # the torn one with the torn save in it
    ]
    assert freeing.sentence(found).startswith("6.0 GB could be freed: caches (4.0 GB), deleted files that are")
    assert freeing.savings(found._replace(caches=(), open_deleted=(), plans=())) == []


def test_what_a_prune_left_is_counted_once(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    os.rename(f"{run}/checkpoint-100", f"{run}/.ckptkit-deleting-checkpoint-100")
    ways = [way.what for way in freeing.savings(ops_report([run])) if "leftover" in way.what]
    assert ways == ["leftovers of a killed sweep"]


def test_nothing_to_free_is_no_line(run_of: RunOf) -> None:
    report = ops_report([run_of({100: "intact"})])._replace(caches=(), open_deleted=())
    assert freeing.sentence(report) == "" and "could be freed" not in board(report, False, 80)


@pytest.mark.parametrize("columns", [40, 80])
def test_person_at_a_terminal_sees_it_in_its_width(run_of: RunOf, columns: int) -> None:
    run = run_of(SETTINGS)
    code, seen = on_a_terminal("diskreport", run, "--no-eaters", "--no-color", columns=columns)
    assert code == 0 and "checkpoint-500" in seen
    long = [line for line in seen.split("\r\n") if len(line) > columns and "fix: " not in line]
    assert not [line for line in long if len(line.split()[-1]) <= columns // 2]


def test_pipe_gets_each_sentence_on_one_line(run_of: RunOf, ckptkit: Ckptkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    run = run_of(SETTINGS)
    out = ckptkit("diskreport", run, "--no-eaters").out
    assert f"{run}/checkpoint-500 is incomplete: " in out and os.path.dirname(run) in out


# --- the layout -----------------------------------------------------------------------------------------------------


WRAPPED = {
    ("a word", 80): ["a word"],
    ("one two three", 8): ["one two", "three"],
    ("frees 2.0 GB at 52 % in 2 h", 12): ["frees 2.0 GB", "at 52 % in", "2 h"],
    ("in /workspace/runs/a/checkpoint-100 now", 20): ["in /workspace/runs/", "a/checkpoint-100 now"],
    ("unbreakable_name_of_a_file x", 10): ["unbreakable_name_of_a_file", "x"],
    ("no terminal, no width " * 9, None): ["no terminal, no width " * 9],
}


@pytest.mark.parametrize("text, width", WRAPPED)
def test_sentences_break_between_words_and_paths_after_a_slash(text: str, width: int | None) -> None:
    lines = wrapped(text, width)
    assert [line.rstrip() for line in lines] == [line.rstrip() for line in WRAPPED[text, width]]


def test_table_becomes_lines_where_its_last_column_has_no_room() -> None:
    columns, rows = ("checkpoint", "age", "because"), [("checkpoint-100", "2 min", "the newest one that is intact")]
    assert table(columns, rows, 80)[1] == ["  checkpoint-100  2 min  the newest one that is intact"]
    assert table(columns, rows, 40) == [
        [],
        ["  checkpoint-100", "    age 2 min, because the newest one", "    that is intact"],
    ]


@pytest.mark.parametrize("share, full", [(0.0, 0), (0.02, 0), (0.5, 10), (0.99, 20), (1.0, 20), (7.0, 20)])
def test_gauge_is_as_full_as_the_share(share: float, full: int) -> None:
    assert gauge(share, None) == "█" * full + "░" * (20 - full)
