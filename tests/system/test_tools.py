"""The box's own tools, called through sh: whatever they say, and however they end."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.system.tools import Called, call

PATIENCE = 10  # seconds, of a tool that would take much longer


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """tool(script) puts a program of that text on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(script: Any) -> None:
        (tmp_path / "tool").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "tool").chmod(0o755)

    return put


def test_words_and_stdin_arrive_as_they_are_and_so_does_what_it_says(tool: Callable[[Any], None]) -> None:
    tool("printf '%s|' \"$@\"; cat; echo complaint >&2; exit 3")
    words = ("tool", "a b", "", "ü", "\udcff", "$HOME `id`", "-x")
    assert call(words, "x\udcff\n") == Called(3, "a b||ü|\udcff|$HOME `id`|-x|x\udcff\n", "complaint")


def test_it_is_given_no_terminal_and_speaks_english(tool: Callable[[Any], None]) -> None:
    tool('[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo "none $LC_ALL"')
    assert call(["tool"]).out == "none C\n"


def test_much_is_said_whole_on_both_outputs(tool: Callable[[Any], None]) -> None:
    tool("seq 1 200000; seq 1 200000 >&2")
    done = call(["tool"])
    assert done.out == "".join(f"{n}\n" for n in range(1, 200001)) and done.err == done.out.strip()


def test_one_that_is_missing_or_can_not_run_says_so(tool: Callable[[Any], None]) -> None:
    assert call(["no-such-tool"]) == Called(127, "", "no-such-tool: No such file or directory")
    tool("")
    with open(call(["sh", "-c", "command -v tool"]).out.strip(), "w") as file:
        file.write("no program of any kind")
    assert call(["tool"]).code == 127


def test_one_that_hangs_is_ended_and_one_that_was_killed_did_not_succeed(tool: Callable[[Any], None]) -> None:
    tool("exec sleep 60")
    began = time.monotonic()
    assert call(["tool"], seconds=0.3).code == 124
    assert time.monotonic() - began < PATIENCE
    tool("echo half; kill -9 $$")
    done = call(["tool"])
    assert done.code not in (0, 124, 127) and done.out == "half\n"
