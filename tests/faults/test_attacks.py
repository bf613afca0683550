"""Somebody hostile can write to the run: nothing outside of it is touched, whatever they do and whenever they do it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from ckptkit.errors import CkptkitError, UsageError
from ckptkit.model.checkpoint import Level
from ckptkit.ops.latest import latest
from ckptkit.ops.pin import pin
from ckptkit.ops.prune import prune
from ckptkit.ops.read import plan, verify
from ckptkit.ops.verify import write_manifest
from ckptkit.policy.keep import Range, Rules
from tests.faults import hostile
from tests.faults.conftest import Tally
from tests.faults.swaps import DELETING, LAY, THREE, attacked, nest, swap
from tests.support.runs import make_run, set_age
from tests.support.typed import Ckptkit, Mount, RunOf, present

ONE = Rules(Range(1, 1))


@pytest.fixture
def outside(real: str, tmp_path: Path) -> str:
    """A tree that looks like what is attacked, so that whoever follows a link into it destroys it."""
    top = make_run(real, str(tmp_path / "outside"), {100: "intact"})
    for parent in (top, f"{top}/checkpoint-100", f"{top}/checkpoint-100/sub"):
        os.makedirs(parent, exist_ok=True)
        Path(parent, "precious").write_text("kept")
    os.chmod(f"{top}/precious", 0o604)
    set_age(top, time.time(), 86_400)
    return top


# --- at each call: what was there a moment ago is a link to what lies outside ----------------------------------------

VERBS: dict[str, Callable[[str], object]] = {
    "prune": lambda run: prune(run, ONE, yes=True, patient=False, settle=False),
    "verify --write": lambda run: [write_manifest(j) for j in verify(run, level="full") if j.verdict.intact],
    "pin": lambda run: pin(f"{run}/checkpoint-300"),
}
STRIKES = [
    ("prune", "checkpoint", "symlink"), ("prune", "directory", "symlink"), ("prune", "file", "symlink"),
    ("prune", "file", "hard link"), ("prune", "pins", "symlink"), ("verify --write", "checkpoint", "symlink"),
    ("verify --write", "directory", "symlink"), ("verify --write", "manifest", "symlink"),
    ("verify --write", "manifest", "hard link"), ("pin", "pins", "symlink"), ("pin", "pins", "hard link"),
]  # fmt: skip


@pytest.mark.parametrize("verb, what, how", STRIKES)
def test_link_swapped_in_before_any_call_reaches_nothing_outside(
    real: str, tmp_path: Path, outside: str, tally: Tally, exhaustive: bool, verb: str, what: str, how: str
) -> None:
    before = hostile.snapshot(outside)
    calls = [struck(real, tmp_path, outside, verb, what, how, -1) for _ in range(2)][1]  # the first one imports, too
    assert len(calls) > 3, "nothing was called"
    acting = calls.index("os.rename" if "os.rename" in calls else "os.remove")
    for number in (n for n in range(len(calls)) if exhaustive or n % 10 == 0 or n >= acting - 2):
        struck(real, tmp_path, outside, verb, what, how, number)
        tally.ran("links swapped in at a call")
        if hostile.snapshot(outside) != before:
            tally.violation(
                "links swapped in at a call", f"{verb}, call {number} ({calls[number]}): outside is touched"
            )
            break


def struck(real: str, tmp_path: Path, outside: str, verb: str, what: str, how: str, number: int) -> list[str]:
    """Run the verb, with the swap just before the number-th call; returns the calls."""
    run = attacked(real, tmp_path / "run")
    with hostile.striking_at(number, lambda: swap(run, outside, what, how)) as calls:
        with suppress(CkptkitError, FileNotFoundError):
            VERBS[verb](run)
    shutil.rmtree(run)
    return calls


# --- all the time ---------------------------------------------------------------------------------------------------

# renameat2(RENAME_EXCHANGE): at any moment either the one or the other stands there. Run from inside, as another user.
EXCHANGE = """
import ctypes, os, sys
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
exchange = ctypes.CDLL(None).renameat2
print("ready", flush=True)
while True:
    for one, other in pairs:
        exchange(-100, one, -100, other, 2)
"""


@pytest.mark.mounts
@pytest.mark.parametrize("what", ["checkpoint", "directory"])
def test_another_user_who_exchanges_links_without_end_reaches_nothing_outside(
    real: str, tmp_path: Path, outside: str, tally: Tally, exhaustive: bool, what: str
) -> None:
    before, deleted = hostile.snapshot(outside), 0
    for number in range(400 if exhaustive else 12):
        run = attacked(real, tmp_path / f"run{number}")
        inside = "" if what == "checkpoint" else "/sub"
        os.symlink(f"{outside}/checkpoint-100{inside}", f"{run}/link")
        subprocess.run(["chown", "-R", "-h", "65534", run], check=True)
        pairs = [p for name in ("checkpoint-100", DELETING) for p in (f"{name}{inside}", "link")]
        command = [sys.executable, "-S", "-c", EXCHANGE, *pairs]
        with subprocess.Popen(command, cwd=run, stdout=subprocess.PIPE, text=True) as attacker:
            assert present(attacker.stdout).readline() == "ready\n"
            try:
                for _ in range(5):
                    deleted += bool(present(prune(run, ONE, yes=True, patient=False, settle=False).outcome).deleted)
            finally:
                attacker.kill()
        tally.ran("sweeps beside an exchanging user", 5)
        if hostile.snapshot(outside) != before:
            tally.violation("sweeps beside an exchanging user", f"round {number}: outside is touched")
        assert latest(run).path == f"{run}/checkpoint-300"
        shutil.rmtree(run)
    assert deleted, "not one sweep got to delete: nothing was proven"


# --- laid there beforehand ------------------------------------------------------------------------------------------


def test_hard_links_to_outside_lose_their_name_here_and_nothing_there(
    run_of: RunOf, outside: str, tally: Tally
) -> None:
    run = run_of(THREE)
    files = [path for path in hostile.snapshot(outside) if os.path.isfile(path)]
    for number, path in enumerate(files):
        os.link(path, f"{run}/checkpoint-100/link-{number}")
    before = hostile.snapshot(outside)
    assert present(prune(run, yes=True).outcome).deleted == (f"{run}/checkpoint-100",)
    assert hostile.snapshot(outside) == before
    tally.ran("hard links to outside", len(files))


@pytest.mark.mounts
def test_checkpoint_replaced_by_a_mount_is_never_entered(
    run_of: RunOf, mount: Mount, outside: str, tally: Tally
) -> None:
    run = run_of(THREE)
    shutil.rmtree(f"{run}/checkpoint-100")
    os.mkdir(f"{run}/checkpoint-100")
    point = mount("tmpfs", at=f"{run}/checkpoint-100")
    shutil.copytree(f"{outside}/checkpoint-100", point, dirs_exist_ok=True)
    before = hostile.snapshot(point)
    pruned = prune(run, ONE, yes=True)
    assert f"{run}/checkpoint-100" not in present(pruned.outcome).deleted
    assert hostile.snapshot(point) == before
    tally.ran("mounts in a checkpoint's place")


@pytest.mark.parametrize("how", LAY)
def test_pins_and_manifests_write_through_no_link(run_of: RunOf, outside: str, tally: Tally, how: str) -> None:
    run = run_of(THREE)
    for name in (".ckptkit-pins", "checkpoint-300/.ckptkit-manifest.json"):
        for end in ("", ".tmp"):
            LAY[how](f"{outside}/precious", f"{run}/{name}{end}")
    before = hostile.snapshot(outside)
    acts: list[Callable[[], object]] = [
        lambda: pin(f"{run}/checkpoint-300"),
        lambda: write_manifest(verify(f"{run}/checkpoint-300", level="full")[0]),
    ]
    with pytest.raises(UsageError, match="can't be read") if how == "symlink" else nullcontext():
        acts[0]()
    assert acts[1]() and not os.path.islink(f"{run}/checkpoint-300/.ckptkit-manifest.json")  # put in the link's place
    assert hostile.snapshot(outside) == before
    tally.ran("links laid where we write", 4)


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_lying_manifest_touches_nothing_and_makes_nothing_outside_count(
    run_of: RunOf, outside: str, tally: Tally, level: Level
) -> None:
    run = run_of(THREE)
    path = f"{run}/checkpoint-300"
    Path(path, ".ckptkit-manifest.json").write_bytes(hostile.lying_manifest(path))
    before = hostile.snapshot(outside)
    judged = {j.checkpoint.step: j.verdict for j in verify(run, level=level)}
    told = {f.file for f in judged[300].findings if f.code == "missing"}
    assert not judged[300].intact and told >= set(hostile.OUTSIDE), "each name that is not of the checkpoint is missing"
    assert judged[100].intact and judged[200].intact
    prune(run, yes=True)
    assert hostile.snapshot(outside) == before
    assert latest(run).path == f"{run}/checkpoint-200"
    tally.ran("manifests that lie")


def test_directories_nested_without_end_are_told_and_break_nothing(
    run_of: RunOf, ckptkit: Ckptkit, tally: Tally
) -> None:
    run = run_of(THREE)
    try:
        for top in ("checkpoint-100", ".ckptkit-deleting-checkpoint-50", "other"):
            nest(os.path.join(run, top), 3000)
        called = ckptkit("prune", "--recursive", run)
        assert called.code == 3 and "nested too deep" in called.err and "Traceback" not in called.err
        assert ckptkit("verify", run).code == 0
        actions = {d.checkpoint.step: d.action for d in plan(run).decisions}
        assert actions == {100: "delete", 200: "keep", 300: "keep"}
        assert os.path.exists(f"{run}/checkpoint-100/trainer_state.json"), "what can't go wholly stays wholly"
    finally:
        subprocess.run(["rm", "-rf", run], check=True)  # shutil's would need as much of a stack
    tally.ran("trees nested without end", 3)


# --- settings and locks of somebody else ------------------------------------------------------------------------------

SETTINGS = {
    "command": "exec = 'touch {outside}/x'\n", "place": "state = '{outside}'\nlog = '{outside}/precious'\n",
    "run": "run = '{outside}'\nkeep_last = 1\n", "mass": "max_delete = 999999999\nkeep_last = 1\n",
    "path": "keep_best = '../../outside:min=1'\n", "huge": "keep_last = 1{zeros}\n", "nested": "a = {brackets}\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_another_user_reach_nothing_outside_and_never_below_the_floor(
    run_of: RunOf, outside: str, ckptkit: Ckptkit, tally: Tally, name: str
) -> None:
    run = run_of(THREE)
    text = SETTINGS[name].format(outside=outside, zeros="0" * 100_000, brackets="[" * 100_000)
    Path(run, "ckptkit.toml").write_text(text)
    before = hostile.snapshot(outside)
    called = ckptkit("prune", run)
    assert called.code in (0, 2, 25) and "Traceback" not in called.err
    assert hostile.snapshot(outside) == before
    assert latest(run).path == f"{run}/checkpoint-300"
    tally.ran("settings of another user")


def test_lock_that_another_process_never_lets_go_is_told_with_11(run_of: RunOf, ckptkit: Ckptkit, tally: Tally) -> None:
    run = run_of(THREE)
    with subprocess.Popen(["flock", "-x", run, "cat"], stdin=subprocess.PIPE) as holder:
        while subprocess.run(["flock", "-n", run, "true"], check=False).returncode == 0:
            time.sleep(0.01)
        before = hostile.snapshot(run)
        for words in (("prune", run), ("recover", run), ("pin", f"{run}/checkpoint-100")):
            called = ckptkit(*words)
            assert called.code == 11 and "is locked by process" in called.err
            tally.ran("locks that are never let go")
        assert hostile.snapshot(run) == before
        present(holder.stdin).close()
