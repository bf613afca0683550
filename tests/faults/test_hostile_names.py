"""Hostile names, and what hangs whoever opens it: every verb ends by itself, and what it prints is clean."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import hostile
from tests.faults.conftest import Tally
from tests.support.runs import CHECKOUT, make_run
from tests.support.typed import Ckptkit, Mount

THREE = {100: "intact", 200: "intact", 300: "intact"}
HANGS = 120  # seconds, far beyond what any of these takes on a loaded machine
VERBS = [
    ("verify", "RUN"), ("verify", "ROOT"), ("verify", "RUN", "--level", "full", "--explain"),
    ("verify", "RUN", "--level", "deep", "-v"), ("verify", "RUN", "--json"), ("verify", "RUN", "--write"),
    ("latest", "RUN"), ("latest", "RUN", "--json"), ("latest", "RUN", "--weights-only-ok", "--level", "full"),
    ("diskreport", "RUN"), ("diskreport", "ROOT", "--json"), ("diskreport", "ROOT", "--html", "HTML"),
    ("diskreport", "ROOT", "-q"), ("preflight", "RUN"), ("preflight", "RUN", "--json"),
    ("plan", "--from", "RUN", "--max-steps", "9"), ("plan", "--from", "RUN", "--max-steps", "9", "--json"),
    ("plan", "--model", "RUN/checkpoint-300", "--max-steps", "9"),
    ("monitor", "ROOT", "--once"), ("monitor", "ROOT", "--once", "--json"),
    ("monitor", "RUN", "--once", "--prom", "PROM"),
    ("recover", "RUN", "--dry-run"), ("recover", "RUN", "--dry-run", "--json"), ("recover", "--log", "RUN/train.log"),
    ("prune", "RUN", "--dry-run"), ("prune", "--recursive", "ROOT", "--dry-run", "--json"),
    ("discard", "RUN/checkpoint-200", "--dry-run"), ("discard", "RUN/checkpoint-200", "-n", "--json"),
    ("move", "RUN", "SHM", "--dry-run"), ("move", "RUN", "SHM", "-n", "--json"),
    ("pin", "RUN/checkpoint-200"), ("unpin", "RUN/checkpoint-200"),
    ("prune", "RUN", "--keep-last", "1..2", "--free-target", "90%", "--keep-best", "none"),
    ("prune", "RUN", "--keep-last", "1", "--dry-run"), ("prune", "RUN", "--keep-last", "1..2", "--free-target", "99%"),
    ("prune", "--recursive", "ROOT", "-y"), ("diskreport", "ROOT", "--audit"), ("recover", "RUN", "--json"),
]  # fmt: skip


@pytest.fixture
def called(tmp_path: Path, tally: Tally) -> Callable[[Any, Any, Any], int | None]:
    """called(run, words, kind) types a verb; what hangs, ends unexpectedly or reaches the terminal is a violation."""

    def call(run: str, words: Any, kind: str) -> int | None:
        places = {
            "RUN": run,
            "ROOT": os.path.dirname(run),
            "HTML": f"{tmp_path}/page.html",
            "PROM": f"{tmp_path}/prom",
            "SHM": "/dev/shm/no/copy",
        }
        line = [places.get(w, w.replace("RUN/", f"{run}/")) for w in words]
        told = " ".join(words)
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"}
        command = [sys.executable, "-m", "ckptkit", *line]
        tally.ran(kind)
        try:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=HANGS,
                                  stdin=subprocess.DEVNULL, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            tally.violation(kind, f"{told} hangs")
            return None
        pages = [Path(places[w]).read_bytes() for w in ("HTML", "PROM") if w in words]
        for said in (done.stdout, done.stderr, *pages):
            if codes := hostile.dirty(said):
                tally.violation(kind, f"{told} prints {sorted(set(codes))}: {said[:2000]!r}")
        if done.returncode not in (0, 2, 3, 4, 5, 10, 25) or b"Traceback" in done.stderr:
            tally.violation(kind, f"{told} ends in {done.returncode}: {done.stderr[-2000:]!r}")
        if "--json" in words:
            json.loads(done.stdout)
        return done.returncode

    return call


@pytest.fixture
def root(mount: Mount) -> str:
    """A volume of its own, so that diskreport's walk over it sees what is laid there, and nothing else."""
    return mount("tmpfs", "size=64m")


@pytest.mark.mounts
def test_no_hostile_name_reaches_the_terminal(
    real: str, root: str, called: Callable[[Any, Any, Any], int | None]
) -> None:
    run = make_run(real, f"{root}/run", THREE)
    evil = make_run(real, os.path.join(root, "\x1b[31mevil\n\u202e\x9b"), {**THREE, 400: "torn"})
    hostile.lay_names(run)
    hostile.lay_names(evil)
    Path(run, "train.log").write_bytes(
        b"".join(b"RuntimeError: CUDA out of memory " + n + b"\n" for n in hostile.NAMES)
    )
    for words in VERBS:
        called(run, words, "verbs on hostile names")
    # The run's own name too; but what `latest` and `recover` print is for a shell, so it is the path as it is.
    for words in (w for w in VERBS if w[0] not in ("latest", "recover") and "ROOT" not in w):
        called(evil, words, "verbs on hostile names")
    assert os.listdir(root), "what was attacked is there still"


@pytest.mark.parametrize("where", ["in the place of a checkpoint", "in a checkpoint", "beside"])
@pytest.mark.mounts
def test_what_hangs_whoever_opens_it_hangs_no_verb(
    real: str, root: str, called: Callable[[Any, Any, Any], int | None], exhaustive: bool, where: str
) -> None:
    run = make_run(real, f"{root}/run", THREE)
    for number, (name, lay) in enumerate(hostile.SPECIAL.items()):
        if where == "in the place of a checkpoint":
            lay(f"{run}/checkpoint-{400 + number}")
        elif where == "in a checkpoint":
            make_run(real, run, {1000 + number: "intact"})
            for file in ("trainer_state.json", "model.safetensors", "config.json", ".ckptkit-manifest.json", "sub"):
                place = f"{run}/checkpoint-{1000 + number}/{file}"
                os.unlink(place) if os.path.lexists(place) else None
                lay(place)
        else:
            lay(f"{run}/{name}")
            lay(f"{run}/core.{number + 1}")
    for words in VERBS if exhaustive else [v for v in VERBS if "--json" in v]:
        called(run, words, "verbs on what hangs")
    assert called(run, ("latest", "RUN"), "verbs on what hangs") == 0


@pytest.mark.parametrize("kind", hostile.SPECIAL)
@pytest.mark.mounts
def test_own_files_that_are_none_are_told_and_hang_nothing(
    real: str, root: str, called: Callable[[Any, Any, Any], int | None], kind: str
) -> None:
    run = make_run(real, f"{root}/run", THREE)
    hostile.SPECIAL[kind](f"{run}/train.log")
    called(run, ("recover", "--log", "RUN/train.log"), "own files that are none")
    hostile.SPECIAL[kind](f"{run}/.ckptkit-pins")
    codes = [called(run, ("prune", "RUN"), "own files that are none")]
    os.unlink(f"{run}/.ckptkit-pins")
    hostile.SPECIAL[kind](f"{run}/ckptkit.toml")
    codes += [called(run, (verb, "RUN"), "own files that are none") for verb in ("prune", "diskreport", "recover")]
    assert codes[0] in (2, 0 if kind == "nowhere" else 2)
    unread = {"nowhere": 0, "mem": 10}.get(kind, 2)  # the kernel says EIO of the last one: the disk's word, as of a run
    assert codes[1] == unread, "settings that can't be read are not taken for none"
    assert len(os.listdir(run)) >= 4


@pytest.mark.mounts
def test_a_cache_that_is_a_link_is_never_called_removable(real: str, root: str, ckptkit: Ckptkit, tally: Tally) -> None:
    run = make_run(real, f"{root}/run", THREE)
    precious = Path(root, "precious")
    precious.mkdir()
    (precious / "data").write_bytes(b"\1" * (4 << 20))
    for name in ("unsloth_compiled_cache", "wandb"):
        os.symlink(precious, f"{run}/{name}")
        os.symlink(precious, f"{root}/{name}")
    told = ckptkit("diskreport", run, "--json").json
    assert not [c for c in told["caches"] if "precious" in json.dumps(c)] and (precious / "data").exists()
    tally.ran("caches that are links", 4)
