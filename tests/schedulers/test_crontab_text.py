"""Our lines in the text of a crontab: whatever stands there, other lines stay to the byte."""

import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import UsageError
from ckptkit.schedulers import crontab


def texts(without: str, **sizes: Any) -> Any:
    return st.text(st.characters(codec="utf-8", exclude_characters=without), **sizes)


ROOTS = texts("\n\r\0", min_size=1).map(lambda name: f"/runs/{name}")
LINE = texts("\n\0").filter(lambda s: not s.startswith(crontab.BEGIN))
THEIRS = st.lists(LINE).map(lambda lines: "".join(f"{line}\n" for line in lines))
OURS = st.lists(LINE, max_size=4)


@given(THEIRS, ROOTS, OURS)
def test_remove_after_install_is_what_was_there(text: str, root: Any, lines: list[Any]) -> None:
    assert crontab.remove(crontab.install(text, root, lines), root) == text


@given(THEIRS, ROOTS, OURS)
def test_install_twice_is_install_once(text: str, root: Any, lines: list[Any]) -> None:
    once = crontab.install(text, root, lines)
    assert crontab.install(once, root, lines) == once


@given(THEIRS, THEIRS, ROOTS, OURS, OURS)
def test_a_replaced_block_stays_where_it_is_between_a_persons_own_lines(
    before: str, after: str, root: Any, old: list[Any], new: list[Any]
) -> None:
    first = crontab.install(before, root, old) + after
    assert crontab.install(first, root, new) == crontab.install(before, root, new) + after
    assert crontab.remove(first, root) == before + after


@given(THEIRS, st.lists(ROOTS, min_size=2, max_size=4, unique=True), OURS)
def test_several_roots_stand_side_by_side_and_each_goes_alone(text: str, roots: list[Any], lines: list[Any]) -> None:
    made = text
    for root in roots:
        made = crontab.install(made, root, lines)
    assert list(crontab.blocks(made)) == roots
    without = crontab.remove(made, roots[0])
    assert list(crontab.blocks(without)) == roots[1:] and crontab.remove(made) == text


def test_a_last_line_without_its_end_is_ended_first() -> None:
    assert crontab.install("5 3 * * * backup", "/runs", ["x"]).startswith("5 3 * * * backup\n# ckptkit: begin /runs\n")


@pytest.mark.parametrize(
    "text", ["# ckptkit: begin /a\nx\n", "# ckptkit: begin /a\n# ckptkit: begin /b\n# ckptkit: end /b\n"]
)
def test_half_of_a_block_is_told_and_nothing_of_it_is_changed(text: str) -> None:
    for act in (lambda: crontab.install(text, "/a", []), lambda: crontab.remove(text), lambda: crontab.blocks(text)):
        with pytest.raises(UsageError, match="fix: crontab -e"):
            act()


WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\0\\"), max_size=20), min_size=1, max_size=4
)


@given(WORDS)
def test_a_command_is_the_same_words_for_a_shell_with_cron_before_it_and_without(words: list[str]) -> None:
    line = crontab.command(words)
    assert shlex.split(line) == words, "a cron that knows no %"
    assert shlex.split(line.replace("\\%", "%")) == words
    assert "%" not in line.replace("\\%", ""), "cron would end the command there"


def test_and_for_the_real_sh() -> None:
    words = ["it's", 'a "name"', "50 % off", "$HOME `id` !x", "ünï", ""]
    done = subprocess.run(["sh", "-c", "printf '%s\\n' " + crontab.command(words)], capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == words


def test_a_line_that_cron_would_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        crontab.command(["x" * 1000])


@pytest.mark.parametrize("name", ["/a\nb", "/a\\b", "/a\x1b[31m"])
def test_names_that_no_crontab_holds_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="rename the directory"):
        crontab.require_plain(name)


@pytest.mark.parametrize(
    "text, sweeps",
    [
        (crontab.install("", "/runs", ["x"]), True),
        (crontab.install("", "/runs/run", ["x"]), True),
        (crontab.install("", "/other", ["x"]), False),
        (crontab.install("", "/runs/ru", ["x"]), False),
        ('*/10 * * * * timeout 5m "$CKPTKIT/bin/prune" --recursive "$RUNS"\n', True),
        ("*/10 * * * * /venv/bin/ckptkit prune --recursive /runs\n", True),
        ("*/10 * * * * python -m ckptkit prune /runs/run\n", True),
        ("# */10 * * * * /opt/bin/prune /runs\n", False),
        ("5 3 * * * backup ckptkit\n", False),
    ],
)
def test_whether_a_crontab_prunes_a_run(text: str, sweeps: bool) -> None:
    assert crontab.sweeps(text, "/runs/run") is sweeps
