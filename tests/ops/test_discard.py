"""bin/discard: one checkpoint that a person names in full goes, whatever its verdict; the last intact one never."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptkit.errors import UsageError
from ckptkit.ops.discard import discard_named, set_aside
from ckptkit.ops.pin import pin
from ckptkit.system import lock
from tests.support.bare import bare
from tests.support.runs import CHECKOUT, make_run, names, set_age, tree
from tests.support.terminal import on_a_terminal
from tests.support.typed import Ckptkit, Fill, Mount, RunOf

TWO = {100: "intact", 200: "intact"}


def add_unknown(run: str, name: str, age: int = 7200) -> str:
    """A checkpoint of a person's own loop."""
    path = Path(run, name)
    path.mkdir(parents=True)
    (path / "rank_0.bin").write_bytes(b"\1" * 100_000)
    set_age(str(path), time.time(), age)
    return str(path)


@pytest.fixture
def run(run_of: RunOf) -> str:
    """Two intact ones, a torn one, and a newer one that nobody here can judge."""
    run = run_of(TWO | {300: "torn"})
    add_unknown(run, "checkpoint-400")
    return run


@pytest.mark.parametrize("step", [100, 200, 300, 400])
def test_the_one_that_is_named_goes_and_no_other(run: str, ckptkit: Ckptkit, step: int) -> None:
    called = ckptkit("discard", f"{run}/checkpoint-{step}", "-y")
    assert called.code == 0 and "deleted 1 checkpoint, freed " in called.out and called.err == ""
    assert names(run) == [f"checkpoint-{other}" for other in (100, 200, 300, 400) if other != step]


def test_one_that_was_set_aside_goes_by_its_new_name(run: str, ckptkit: Ckptkit) -> None:
    first = set_aside(f"{run}/checkpoint-400")
    add_unknown(run, "checkpoint-400")
    second = set_aside(f"{run}/checkpoint-400")
    assert ckptkit("discard", second, "-y").code == 0 and "set-aside-checkpoint-400" in names(run)
    assert ckptkit("discard", f"{first}/", "-y", cwd=run).code == 0
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]


def test_it_is_named_from_inside_of_the_run_too(run: str, ckptkit: Ckptkit) -> None:
    assert ckptkit("discard", "checkpoint-400", "-y", cwd=run).code == 0
    assert "checkpoint-400" not in names(run)


def test_freed_bytes_are_measured_and_the_history_knows_it(run: str, ckptkit: Ckptkit, calm: str) -> None:
    path = add_unknown(f"{calm}/run", "checkpoint-400")
    document = ckptkit("discard", path, "-y", "--json").json
    assert document["schema"] == "ckptkit.discard/1" and document["failures"] == []
    assert document["freed_bytes"] >= 100_000 and document["dry_run"] is False
    assert [(d["name"], d["verdict"], d["action"]) for d in document["decisions"]] == [
        ("checkpoint-400", "unknown", "delete")
    ]
    told = ckptkit("diskreport", "--audit", f"{calm}/run").out
    assert "checkpoint-400" in told and "ckptkit discard" in told and "a person named it" in told


# --- what is never deleted ------------------------------------------------------------------------------------------


def refused(run: str, ckptkit: Ckptkit, path: str, code: int, words: str) -> None:
    before = tree(run)
    called = ckptkit("discard", path, "-y")
    assert called.code == code and called.err.count("\n") == 1 and words in called.err, called.err
    assert tree(run) == before


def test_the_only_intact_one_never_goes(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "corrupt"})
    refused(run, ckptkit, f"{run}/checkpoint-100", 4, "is the only intact checkpoint of its run: nothing deleted")


def test_the_only_resumable_one_never_goes_though_weights_alone_are_left(
    real: str, run_of: RunOf, ckptkit: Ckptkit
) -> None:
    run = run_of({100: "intact"})
    make_run(real, run, {200: "intact"}, kind="only")
    refused(run, ckptkit, f"{run}/checkpoint-100", 4, "is the only one that training can go on from")
    assert ckptkit("discard", f"{run}/checkpoint-200", "-y").code == 0


def test_an_intact_one_that_a_person_renamed_is_the_last_one_all_the_same(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn"})
    aside = set_aside(f"{run}/checkpoint-100")
    refused(run, ckptkit, aside, 4, "is the only intact checkpoint of its run")


def test_a_pinned_one_never_goes(run: str, ckptkit: Ckptkit) -> None:
    pin(f"{run}/checkpoint-400")
    refused(
        run,
        ckptkit,
        f"{run}/checkpoint-400",
        2,
        f"is pinned: nothing deleted; fix: {CHECKOUT}/bin/unpin {run}/checkpoint-400",
    )


def test_what_a_live_process_has_open_never_goes(run: str, ckptkit: Ckptkit) -> None:
    holder = subprocess.Popen(["sleep", "60"], stdin=open(f"{run}/checkpoint-400/rank_0.bin"))  # noqa: SIM115
    try:
        refused(run, ckptkit, f"{run}/checkpoint-400", 11, f"held open by sleep (pid {holder.pid})")
    finally:
        holder.kill()
        holder.wait()
    assert ckptkit("discard", f"{run}/checkpoint-400", "-y").code == 0


@pytest.mark.parametrize("name", ["checkpoint-500", "checkpoint-300"])
def test_one_that_was_written_a_moment_ago_and_is_not_finished_waits(run: str, ckptkit: Ckptkit, name: str) -> None:
    if name == "checkpoint-500":
        add_unknown(run, name, age=0)
    set_age(f"{run}/{name}", time.time(), 1)
    refused(run, ckptkit, f"{run}/{name}", 11, "and is not finished: try again in ")
    set_age(f"{run}/{name}", time.time(), -10_000)
    assert ckptkit("discard", f"{run}/{name}", "-y").code == 0, "a clock that jumped protects nothing for ever"


def test_a_locked_run_waits_as_long_as_it_is_told(run: str, ckptkit: Ckptkit) -> None:
    with lock.hold(run):
        refused(run, ckptkit, f"{run}/checkpoint-400", 11, "is locked by")
        assert ckptkit("discard", f"{run}/checkpoint-400", "-y", "--lock-timeout", "0.2").code == 11


NO_CHECKPOINT = {
    "the_run": ("RUN", 2, "name it in full"),
    "a_stray": ("RUN/checkpoint-best", 2, "name it in full"),
    "a_number_too_much": ("RUN/checkpoint-400.1", 2, "name it in full"),
    "a_stray_set_aside": ("RUN/set-aside-mine", 2, "name it in full"),
    "a_file_in_one": ("RUN/checkpoint-400/rank_0.bin", 2, "name it in full"),
    "another_directory": ("RUN/final", 2, "name it in full"),
    "gone": ("RUN/checkpoint-900", 10, "no such checkpoint"),
    "gone_set_aside": ("RUN/set-aside-checkpoint-400", 10, "no such checkpoint"),
    "no_run": ("RUN/nowhere/checkpoint-400", 10, "no such run"),
    "a_system_directory": ("/tmp/checkpoint-400", 2, "system or home directory"),
    "a_symlink": ("RUN/checkpoint-600", 2, "is not a directory"),
    "a_file": ("RUN/checkpoint-700", 2, "is not a directory"),
}


@pytest.mark.parametrize("name", NO_CHECKPOINT)
def test_what_is_no_checkpoint_named_in_full_is_refused(run: str, ckptkit: Ckptkit, name: str) -> None:
    path, code, words = NO_CHECKPOINT[name]
    for other in ("checkpoint-best", "set-aside-mine", "final", "checkpoint-400.1"):
        Path(run, other).mkdir()
    Path(run, "checkpoint-600").symlink_to("checkpoint-100")
    Path(run, "checkpoint-700").write_text("a person's notes")
    refused(run, ckptkit, path.replace("RUN", run), code, words)


def test_no_symlink_in_it_is_followed(run: str, ckptkit: Ckptkit, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine")
    Path(run, "checkpoint-400", "data").symlink_to(tmp_path / "data")
    set_age(f"{run}/checkpoint-400", time.time(), 3600)
    assert ckptkit("discard", f"{run}/checkpoint-400", "-y").code == 0
    assert (tmp_path / "data" / "mine").read_text() == "mine"


def test_what_was_shown_is_what_goes_or_nothing_does(run: str) -> None:
    shown = discard_named(f"{run}/checkpoint-400", dry_run=True).plan
    os.rename(f"{run}/checkpoint-400", f"{run}/old")
    shutil.copytree(f"{run}/old", f"{run}/checkpoint-400")
    set_age(f"{run}/checkpoint-400", time.time(), 3600)
    with pytest.raises(UsageError, match="is not what you were asked about any more"):
        discard_named(f"{run}/checkpoint-400", agreed=shown)
    assert "checkpoint-400" in names(run)


def test_what_a_kill_left_of_it_is_finished_by_the_same_command(run: str, ckptkit: Ckptkit) -> None:
    os.rename(f"{run}/checkpoint-400", f"{run}/.ckptkit-deleting-checkpoint-400")
    Path(run, ".ckptkit-deleting-checkpoint-40").mkdir()
    called = ckptkit("discard", f"{run}/checkpoint-400", "-y")
    assert called.code == 0 and "freed " in called.out
    assert not Path(run, ".ckptkit-deleting-checkpoint-400").exists()
    assert Path(run, ".ckptkit-deleting-checkpoint-40").exists(), "of another one"


# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("-q",), ("--json",)])
def test_without_y_and_without_a_terminal_nothing_goes(run: str, ckptkit: Ckptkit, more: tuple[str]) -> None:
    before = tree(run)
    called = ckptkit("discard", f"{run}/checkpoint-400", *more)
    assert called.code == 2 and "add -y" in called.err and tree(run) == before


@pytest.mark.parametrize(
    "typed, gone", [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("\x04", False)]
)
def test_on_a_terminal_it_asks_and_nothing_but_a_yes_is_one(run: str, typed: str, gone: bool) -> None:
    code, seen = on_a_terminal("discard", f"{run}/checkpoint-400", typed=typed)
    assert f"delete {run}/checkpoint-400 (unknown, " in seen.replace("\r\n", "") and "for good? [y/N]" in seen
    assert code == 0 and ("checkpoint-400" in names(run)) is not gone
    assert ("nothing deleted" in seen) is not gone


def test_a_dry_run_asks_nothing_and_touches_nothing(run: str, ckptkit: Ckptkit) -> None:
    before = tree(run)
    called = ckptkit("discard", f"{run}/checkpoint-400", "--dry-run")
    assert called.code == 0 and "would free" in called.out and "delete  checkpoint-400" in called.out
    assert ckptkit("discard", f"{run}/checkpoint-400", "-n", "--json").json["dry_run"] is True
    assert tree(run) == before


def test_quiet_says_nothing_when_all_went_well(run: str, ckptkit: Ckptkit) -> None:
    assert ckptkit("discard", f"{run}/checkpoint-400", "-y", "-q") == (0, "", "")


@pytest.mark.mounts
def test_it_frees_room_at_0_bytes(real: str, mount: Mount, fill: Fill) -> None:
    volume = mount("ext4", megabytes=16, options=("-m", "0"))
    run = make_run(real, f"{volume}/run", TWO)
    path = add_unknown(run, "checkpoint-400")
    fill(volume)
    assert os.statvfs(volume).f_bavail == 0
    done = bare(volume, CHECKOUT / "bin/discard", path, "-y", CKPTKIT_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert names(run) == ["checkpoint-100", "checkpoint-200"] and os.statvfs(volume).f_bavail > 0
