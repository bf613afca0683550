"""Every command that we print runs as it is, pasted where it was printed, however we were called."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptkit.ops.pin import pin
from tests.support import pasting
from tests.support.pasting import Person
from tests.support.runs import CHECKOUT, make_run
from tests.support.typed import Mount

pytestmark = [pytest.mark.slow, pytest.mark.mounts]
DISASTER = "eight and a torn one"
STATES = {
    DISASTER: dict.fromkeys(range(100, 900, 100), "intact") | {900: "torn"},
    "all torn": {100: "torn", 200: "torn"},
    "corrupt, pinned": {100: "intact", 200: "corrupt", 300: "intact"},
    "unknown": {100: "intact", 200: "intact"},
    "empty": {},
}
CALLS = [
    ("", "prun"),
    ("", "--help"),
    ("prune", "--keep-lst", "2"),
    ("prune", "--help"),
    ("completion", "--help"),
    ("prune", "RUN"),
    ("prune", "RUN", "--dry-run"),
    ("prune", "RUN", "--json"),
    ("strip", "RUN"),
    ("strip", "RUN", "--dry-run"),
    ("verify", "RUN", "--explain"),
    ("latest", "RUN"),
    ("diskreport", "RUN"),
    ("diskreport", "RUN", "--no-eaters", "--json"),
    ("preflight", "RUN"),
    ("recover", "RUN", "--dry-run"),
    ("recover", "RUN"),
    ("recover", "--log", "LOG"),
    ("recover", "RUN", "--log", "LOG"),
    ("latest", "PARENT"),
    ("prune", "PARENT"),
    ("move", "RUN", "PARENT/elsewhere", "--dry-run"),
    ("monitor", "--once", "RUN"),
    ("discard", "RUN/checkpoint-100"),
    ("plan", "--from", "RUN", "--max-steps", "100"),
]
OFTEN = {"prune", "recover", "verify", "preflight", "discard"}  # in every state; the others in one
EVERYWHERE = {("on PATH", True), ("bin", False)}  # the others differ in how a command is spelled, not in what is said
FEW = {"", "prune", "verify", "diskreport", "preflight", "discard"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pasting.install(tmp_path_factory.mktemp("installed") / "venv")


@pytest.fixture
def state(mount: Mount, real: str) -> tuple[str, dict[str, str]]:
    """A volume of its own with a run in each state, and a home: (its path, {state: run})."""
    volume = mount("tmpfs", "size=96m")
    runs = {}
    for name, steps in STATES.items():
        runs[name] = make_run(real, f"{volume}/runs/{name.replace(', ', '-').replace(' ', '-')}", steps)
    os.makedirs(runs["empty"], exist_ok=True)
    pin(f"{runs['corrupt, pinned']}/checkpoint-100")
    Path(runs["unknown"], "checkpoint-300").mkdir()
    Path(runs["unknown"], "checkpoint-300", "model.safetensors").write_bytes(b"\1" * 100)
    Path(volume, "runs", "train.log").write_text("OSError: [Errno 28] No space left on device\n")
    for folder in ("home", "elsewhere"):
        os.mkdir(f"{volume}/{folder}")
    return volume, runs


def person(way: str, volume: str, installed: Path) -> Person:
    """Who types, in a directory that has nothing to do with us."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = {"PATH": path, "HOME": f"{volume}/home", "TMPDIR": volume, "CKPTKIT_STATE": f"{volume}/home/state"}
    cwd = f"{volume}/elsewhere"
    if way == "on PATH":
        return pasting.Person(("ckptkit",), cwd, environment | {"PATH": f"{installed}:{path}"})
    if way == "absolute":
        return pasting.Person((f"{installed}/ckptkit",), cwd, environment)
    if way == "module":
        return pasting.Person(("python", "-m", "ckptkit"), cwd, environment | {"PATH": f"{installed}:{path}"})
    relative = os.path.relpath(CHECKOUT / "bin", cwd) + "/"
    return pasting.Person((relative,), cwd, environment | {"CKPTKIT_PYTHON": sys.executable})


def calls(runs: dict[str, str], everywhere: bool) -> Iterator[tuple[str, list[str]]]:
    """(verb, words) of each call: some verbs in every state, the others in the one that has most to say."""
    for verb, *words in CALLS:
        if not everywhere and (verb not in FEW or "--help" in words or "--dry-run" in words):
            continue
        for name in runs if everywhere and verb in OFTEN and "RUN" in " ".join(words) else [DISASTER]:
            parent = os.path.dirname(runs[name])
            meant = {"RUN": runs[name], "PARENT": parent, "LOG": f"{parent}/train.log"}
            yield verb, [_meant(word, meant) for word in words]


def _meant(word: str, meant: dict[str, str]) -> str:
    head, slash, rest = word.partition("/")
    return meant.get(head, head) + slash + rest


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
@pytest.mark.parametrize("way", ["on PATH", "absolute", "module", "bin"])
def test_each_command_that_is_printed_can_be_pasted(
    state: tuple[str, dict[str, str]], installed: Path, tmp_path: Path, way: str, terminal: bool
) -> None:
    volume, runs = state
    who, spare = person(way, volume, installed), f"{tmp_path}/spare"
    shutil.copytree(volume, spare, symlinks=True)
    faults, tried = {}, set()
    for verb, words in calls(runs, (way, terminal) in EVERYWHERE):
        if way == "bin" and not verb:
            continue  # bin/ has a script a verb, and none for all of them
        printed = pasting.said(who, verb, words, terminal)
        pasting.restore(volume, spare, words)
        for command in pasting.commands(printed):
            if "--help" in words and pasting.PLACEHOLDERS & {*command.split()}:
                continue  # an example
            if command not in tried and (wrong := pasting.fault(command, who, volume, spare)):
                faults[command] = f"{verb} {' '.join(words)}: {wrong}"
            tried.add(command)
    assert len(tried) > 5
    assert not faults, "\n".join(f"{command}\n    {why}" for command, why in faults.items())
