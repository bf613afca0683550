"""Who may import whom: the table of the house, and the weight of the ops path."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.cli.verbs import VERBS
from tests.support.typed import present

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ckptkit"
# Who may import whom, from the bottom up: a room names rooms above it in this table alone, so no arrow goes upward.
# The nouns, their units, checks of arguments, and how a command of ours is spelled:
NOUNS = ("version", "units", "errors", "calling", "arguments", "model")
MAY = {
    "version": (),
    "units": (),
    "errors": (),
    "calling": (),
    "arguments": ("errors",),
    "model": ("units",),
    # Pure: values in, values out.
    "policy": NOUNS,
    "forecast": NOUNS,
    "advise": (*NOUNS, "policy", "forecast"),
    "scripts": NOUNS,
    "manual": NOUNS,
    # One job each, with the disk, the box, or another program.
    "layouts": NOUNS,
    "formats": NOUNS,
    "system": NOUNS,
    "delete": NOUNS,
    "store": NOUNS,
    "render": NOUNS,
    "runs": (*NOUNS, "layouts", "system"),
    "verify": (*NOUNS, "formats", "layouts", "system"),
    "history": (*NOUNS, "system"),
    "notify": (*NOUNS, "system"),
    "schedulers": (*NOUNS, "system"),
    "config": (*NOUNS, "policy", "system"),
    # The story, and who calls it: the Trainer's side, Python, the shell.
    "ops": (
        *NOUNS, "policy", "forecast", "advise", "scripts", "layouts", "formats", "system", "delete", "store", "render",
        "runs", "verify", "history", "notify", "schedulers", "config",
    ),
    "guard": (*NOUNS, "ops", "forecast", "policy", "layouts", "system", "render", "runs", "verify", "config"),
    "api_arguments": (*NOUNS, "ops", "policy", "config"),
    "api": (*NOUNS, "ops", "policy", "api_arguments"),
    "__init__": ("version", "errors", "policy", "verify", "guard", "api"),
    "cli": (*NOUNS, "manual", "render", "ops"),
    "__main__": ("cli",),
}  # fmt: skip
PURE = {"version", "units", "errors", "arguments", "model", "policy", "forecast", "advise", "scripts", "manual"}
PURE_TOO = {"schedulers/crontab.py"}  # in a room that is not
IMPURE = {"os", "time", "logging", "subprocess", "datetime", "pathlib", "random", "socket"}
# Of the box, these rooms use what reads and writes small files, ends what hangs, or calls its tools.
OF_SYSTEM = {
    "runs": {"small_files"},
    "verify": {"small_files"},
    "history": {"small_files", "timeout", "processes"},
    "notify": {"small_files", "timeout"},
    "schedulers": {"small_files", "tools"},
    "config": {"small_files"},
}
# Files that need less than their room may: beside the nouns, what stands here, their own room included.
NARROWER = {
    "policy/lineage.py": (),
    "policy/rules.py": (),
    "advise/levels.py": (),
    "advise/log.py": (),
    "advise/restart.py": (),
    "advise/flags.py": ("advise", "policy"),
    "advise/preflight.py": ("advise",),
    "advise/preflight_disk.py": ("forecast",),
    "advise/preflight_settings.py": ("forecast",),
    "advise/afterwards.py": ("advise",),
    "runs/nearby.py": ("layouts",),
    "runs/discover.py": ("runs", "layouts"),
    "runs/pins.py": ("system",),
    "runs/trackers.py": ("system",),
    "schedulers/crontab.py": (),
    "system/lock.py": (),
    "store/ssh.py": (),
}


FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports(file: Path) -> Iterator[Any]:
    """Every module that a file imports, wherever in it the import stands, also for its types alone."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module or "" for name in full)


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_is_in_the_table_and_names_rooms_above_it_alone() -> None:
    assert {room_of(file) for file in FILES} == set(MAY)
    order = list(MAY)
    for room, named in MAY.items():
        assert set(named) <= set(order[: order.index(room)]), room


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {module: set(imports(file)) & set(MODULES) - {module} for module, file in MODULES.items()}
    while leaves := [module for module, below in graph.items() if not below & set(graph)]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph


# One name of a file for what several rooms do about it: a verb, a framework, and the checkpoint itself.
FRAMEWORKS = {"dcp", "lightning"}
SHARED = set(VERBS) | FRAMEWORKS | {"checkpoint", "outlook"}


def test_no_name_of_a_class_or_a_file_stands_for_two_things() -> None:
    classes, files = Counter[str](), Counter(file.stem for file in FILES if file.stem != "__init__")
    for file in FILES:
        classes.update(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef))
    assert [name for name, times in classes.items() if times > 1] == []
    assert {name for name, times in files.items() if times > 1} - SHARED == set()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_room_imports_only_what_it_may(file: Path) -> None:
    room = room_of(file)
    rooms = {name.split(".")[1] for name in imports(file) if name.startswith("ckptkit.")} - {room}
    assert rooms <= set(MAY[room])
    if room in PURE or str(file.relative_to(PACKAGE)) in PURE_TOO:
        assert not {name.split(".")[0] for name in imports(file)} & IMPURE


@pytest.mark.parametrize("room", OF_SYSTEM)
def test_of_the_box_a_room_uses_what_it_may(room: str) -> None:
    used = {name for file in FILES if room_of(file) == room for name in imports(file)}
    assert "ckptkit.system" not in used
    assert {name.split(".")[2] for name in used if name.startswith("ckptkit.system.")} <= OF_SYSTEM[room]


def test_each_room_that_may_use_the_box_says_what_of_it() -> None:
    assert {room for room, named in MAY.items() if "system" in named} - {"ops", "guard"} == set(OF_SYSTEM)


@pytest.mark.parametrize("file", NARROWER)
def test_file_that_needs_less_than_its_room_imports_no_more(file: str) -> None:
    ours = {name.split(".")[1] for name in imports(PACKAGE / file) if name.startswith("ckptkit.")}
    assert ours <= {*NOUNS, *NARROWER[file]}


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) != "guard"], ids=lambda f: f.name)
def test_nothing_heavy_is_imported_outside_of_the_guard(file: Path) -> None:
    assert not {name.split(".")[0] for name in imports(file)} & {"torch", "transformers", "numpy", "peft"}


@pytest.mark.parametrize(
    "words", [(verb, "--help") for verb in ("prune", "strip", "verify", "latest")] + [("prune", "."), ("strip", ".")]
)
def test_ops_path_loads_nothing_heavy(words: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ckptkit", *words]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "rich", "loguru", "psutil", "sh", "jinja2", "dataclasses"}
    assert not loaded & {"isal", "hashlib"}  # for bytes that are read whole


def test_public_names_load_on_first_use_and_are_what_they_say() -> None:
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


def test_only_the_output_room_prints_or_exits() -> None:
    for file in FILES:
        names = {
            n.func.id
            for n in ast.walk(ast.parse(file.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert "print" not in names or file.name == "output.py", file


def test_functions_stay_short_and_files_too() -> None:
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 400, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert present(node.end_lineno) - node.lineno < 50, f"{file}: {node.name}"
