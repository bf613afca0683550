"""Who may import whom: the table of the house, and the weight of the ops path."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ckptkit"
# What every room may use: the nouns, their units, and how a command of ours is spelled.
NOUNS = {"model", "errors", "units", "calling"}
MAY = {
    "units": set(),
    "calling": set(),
    "model": {"units"},
    "errors": set(),
    "arguments": {"errors"},
    "system": NOUNS,
    "policy": NOUNS | {"arguments"},
    "runs": NOUNS | {"layouts", "system"},
    "schedulers": NOUNS | {"system"},
    "store": NOUNS,
    "forecast": NOUNS,
    "advise": NOUNS | {"policy", "forecast"},
    "notify": NOUNS | {"system", "__version__"},
    "config": NOUNS | {"policy", "arguments", "system"},
    "layouts": NOUNS,
    "formats": NOUNS,
    "scripts": NOUNS,
    "verify": NOUNS | {"formats", "layouts", "system"},
    "delete": NOUNS,
    "history": NOUNS | {"system"},
    "render": NOUNS | {"__version__"},
    "manual": NOUNS,
    "api": NOUNS | {"ops", "policy", "arguments", "api_arguments"},
    "api_arguments": NOUNS | {"ops", "policy", "arguments", "config"},
    "cli": {
        "ops", "render", "manual", "errors", "model", "calling", "units", "__version__",
    },
}  # fmt: skip
PURE = {
    "arguments", "policy", "forecast", "advise", "scripts", "units", "manual", "model", "errors",
}  # fmt: skip
IMPURE = {"os", "time", "logging", "subprocess", "datetime", "pathlib", "random", "socket"}


def imports(file):
    """Every module that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "ckptkit":
            yield from (f"ckptkit.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_is_in_the_table():
    free = {"ops", "guard", "__init__", "__main__"}
    assert {room_of(file) for file in FILES} == set(MAY) | free


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_room_imports_only_what_it_may(file):
    room = room_of(file)
    rooms = {name.split(".")[1] for name in imports(file) if name.startswith("ckptkit.")} - {room}
    if room in MAY:
        assert rooms <= MAY[room]
    if room in PURE:
        assert not {name.split(".")[0] for name in imports(file)} & IMPURE


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) != "guard"], ids=lambda f: f.name)
def test_nothing_heavy_is_imported_outside_of_the_guard(file):
    assert not {name.split(".")[0] for name in imports(file)} & {"torch", "transformers", "numpy", "peft"}


@pytest.mark.parametrize(
    "words", [(verb, "--help") for verb in ("prune", "strip", "verify", "latest")] + [("prune", "."), ("strip", ".")]
)
def test_ops_path_loads_nothing_heavy(words, tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "ckptkit", *words]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "rich", "loguru", "psutil", "sh", "dataclasses"}


def test_public_names_load_on_first_use_and_are_what_they_say():
    code = """
import sys, ckptkit
assert "ckptkit.ops" not in sys.modules
for name in ckptkit.__all__:
    if name != "guard":
        assert callable(getattr(ckptkit, name)), name
import ckptkit.render.text
assert callable(ckptkit.report) and callable(ckptkit.verify) and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)


def test_only_the_output_room_prints_or_exits():
    for file in FILES:
        names = {
            n.func.id
            for n in ast.walk(ast.parse(file.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert "print" not in names or file.name == "output.py", file


def test_functions_stay_short_and_files_too():
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 400, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{file}: {node.name}"
