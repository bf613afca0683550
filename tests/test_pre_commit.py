""".pre-commit-config.yaml asks for what bin/test asks for, with the same tools, and fetches nothing."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPTS = "${scripts[@]}"


@pytest.fixture(scope="module")
def hooks() -> dict[Any, Any]:
    """{what it calls: the hook}."""
    import yaml

    (local,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local.keys() == {"repo", "hooks"} and local["repo"] == "local"
    assert len({hook["id"] for hook in local["hooks"]}) == len(local["hooks"])
    return {hook["entry"]: hook for hook in local["hooks"]}


def linters() -> list[list[str]]:
    """The words of each linter that bin/test calls, as they stand there."""
    (lines,) = re.findall(r"(?ms)^\(\n  PATH=[^\n]*\n(.*?)^\)$", (CHECKOUT / "bin/test").read_text())
    return [shlex.split(line) for line in lines.splitlines()]


def test_each_linter_that_bin_test_runs_is_a_hook_and_nothing_else_is(hooks: dict[Any, Any]) -> None:
    asked = [" ".join(word for word in words if word != SCRIPTS) for words in linters()]
    assert len(asked) >= 5 and sorted(hooks) == sorted(f".venv/bin/{command}" for command in asked)
    assert all(hook["language"] == "system" for hook in hooks.values())


def test_a_hook_looks_at_what_bin_test_looks_at(hooks: dict[Any, Any]) -> None:
    (listed,) = re.findall(r"(?m)^scripts=\((.*)\)$", (CHECKOUT / "bin/test").read_text())
    scripts = {path for pattern in listed.split() for path in CHECKOUT.glob(pattern)}
    files = {
        p for p in CHECKOUT.rglob("*") if p.is_file() and p.relative_to(CHECKOUT).parts[0] in ("bin", ".ci", "tests")
    }
    for words in linters():
        hook = hooks[f".venv/bin/{' '.join(word for word in words if word != SCRIPTS)}"]
        if SCRIPTS in words:
            assert {path for path in files if re.search(hook["files"], str(path.relative_to(CHECKOUT)))} == scripts
        else:
            assert hook["pass_filenames"] is False and not hook.keys() & {"files", "exclude", "types", "types_or"}
