"""bin/move to another volume: real file systems, one of them full; copies are proved, no kill loses an intact one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.decision import Moved
from ckptkit.ops.latest import latest
from ckptkit.ops.move import destination, move
from ckptkit.ops.pin import pin
from ckptkit.ops.read import find_runs, rules_for, verify
from ckptkit.policy.keep import Rules
from ckptkit.runs import discover, pins
from ckptkit.system import lock
from tests.layouts.made import CASES, copied
from tests.support.runs import CHECKOUT, make_run, names, set_age, tree
from tests.support.typed import Ckptkit, Fill, Mount, RunOf, present

THREE = {100: "intact", 200: "intact", 300: "intact"}

pytestmark = pytest.mark.mounts


@pytest.fixture
def volume(mount: Mount) -> str:
    """Another volume, which outlives a restart."""
    return mount("ext4", megabytes=24, options=("-m", "0"))


def content(path: str) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def times(path: str) -> dict[str, int]:
    return {str(p.relative_to(path)): p.stat().st_mtime_ns for p in (Path(path), *Path(path).rglob("*"))}


def intact(*runs: str) -> set[str]:
    """Names of all that are intact, every byte of them read, in any of these runs."""
    found = [run for run in runs if os.path.isdir(run) and discover.scan(run).checkpoints]
    return {j.checkpoint.name for run in found for j in verify(run, level="full") if j.verdict.intact}


def flip(path: str) -> None:
    """One bit, and no time tells it."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        byte = os.pread(file.fileno(), 1, status.st_size // 2)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), status.st_size // 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# --- what is copied ---------------------------------------------------------------------------------------------------


def test_the_newest_and_what_the_rules_keep_are_there_and_the_line_resumes_there(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of(THREE | {400: "torn"})
    os.chmod(f"{run}/checkpoint-300/optimizer.pt", 0o600)
    before = tree(run)
    called = ckptkit("move", run, f"{volume}/run")
    assert called.code == 0 and called.err == "", called
    assert names(f"{volume}/run") == ["checkpoint-200", "checkpoint-300"]
    for name in ("checkpoint-200", "checkpoint-300"):
        assert content(f"{volume}/run/{name}") == content(f"{run}/{name}")
        assert times(f"{volume}/run/{name}") == times(f"{run}/{name}")
    assert os.stat(f"{volume}/run/checkpoint-300/optimizer.pt").st_mode & 0o777 == 0o600
    assert f"resume there with: --resume_from_checkpoint {volume}/run/checkpoint-300\n" in called.out
    assert called.out.index("checkpoint-300 is proved") < called.out.index("checkpoint-200 is proved")
    assert "checkpoint-100" in called.out and "no rule keeps it" in called.out and "incomplete" in called.out
    assert tree(run) == before and latest(f"{volume}/run").path == f"{volume}/run/checkpoint-300"


def test_the_rules_are_those_of_prune(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    assert ckptkit("move", run, f"{volume}/one", "--keep-last", "1").code == 0
    Path(run, "ckptkit.toml").write_text('keep_last = "2..5"\nfree_target = "99%"\n')
    assert ckptkit("move", run, f"{volume}/all").code == 0
    assert names(f"{volume}/one") == ["checkpoint-300"]
    assert names(f"{volume}/all") == ["ckptkit.toml", "checkpoint-100", "checkpoint-200", "checkpoint-300"]


def test_what_belongs_to_the_run_goes_along_and_the_rest_is_named(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    pin(f"{run}/checkpoint-100")
    for name in ("train.log", "runs/now/events.out.tfevents.1", "dataset/all.bin", "notes.txt"):
        Path(run, name).parent.mkdir(parents=True, exist_ok=True)
        Path(run, name).write_text(name)
    Path(run, "outside.log").symlink_to("/etc/hostname")
    told = ckptkit("move", run, f"{volume}/run", "--json").json
    assert told["belongings"] == [".ckptkit-pins", "runs", "train.log"]
    assert told["left"] == ["dataset", "notes.txt", "outside.log"]
    copy = Path(volume, "run")
    assert names(copy) == [
        "runs", "train.log", ".ckptkit-pins", "checkpoint-100", "checkpoint-200", "checkpoint-300"
    ]  # fmt: skip
    assert (copy / "runs/now/events.out.tfevents.1").read_text() == "runs/now/events.out.tfevents.1"
    (copy / "train.log").write_text("a person's own")
    assert ckptkit("move", run, copy).code == 0 and (copy / "train.log").read_text() == "a person's own"


def test_a_link_in_a_checkpoint_stays_a_link_and_nothing_behind_it_is_copied(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, tmp_path: Path
) -> None:
    run = run_of({100: "intact"})
    (tmp_path / "secret").write_text("secret")
    Path(run, "checkpoint-100", "mine").symlink_to(tmp_path / "secret")
    set_age(f"{run}/checkpoint-100", os.path.getmtime(run), 3600)
    assert ckptkit("move", run, f"{volume}/run").code == 0
    assert os.readlink(f"{volume}/run/checkpoint-100/mine") == f"{tmp_path}/secret"


def test_a_second_call_copies_nothing(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    assert ckptkit("move", run, f"{volume}/run").code == 0
    before = tree(volume)
    told = ckptkit("move", run, f"{volume}/run", "--json").json
    assert [i["action"] for i in told["checkpoints"]] == ["compare", "compare", "skip"]
    assert told["resume"].endswith("checkpoint-300") and tree(volume) == before


def test_dry_run_and_quiet_and_json(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    before = tree(run), tree(volume)
    called = ckptkit("move", run, f"{volume}/run", "--dry-run")
    assert called.code == 0 and "would copy 2 checkpoints" in called.out
    told = ckptkit("move", run, f"{volume}/run", "-n", "--json").json
    assert told["schema"] == "ckptkit.move/1" and told["dry_run"] is True and told["missing_bytes"] == 0
    assert (tree(run), tree(volume)) == before
    assert ckptkit("move", run, f"{volume}/run", "-q") == (0, "", "")


def test_where_the_newest_is_corrupt_in_its_bytes_the_next_one_is_copied(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of(THREE)
    flip(f"{run}/checkpoint-300/optimizer.pt")
    flip(f"{run}/checkpoint-200/optimizer.pt")
    called = ckptkit("move", run, f"{volume}/run")
    assert called.code == 3 and "checkpoint-300 is not intact, as its bytes show" in called.err
    assert names(f"{volume}/run") == ["checkpoint-100"] and "checkpoint-100\n" in called.out


def test_one_that_a_rotation_deletes_meanwhile_is_told_and_leaves_nothing(run_of: RunOf, volume: str) -> None:
    run = run_of({100: "intact", 200: "intact"})

    def rotate(what: str, checkpoint: Checkpoint) -> None:
        if what == "copy" and checkpoint.step == 100:
            shutil.rmtree(checkpoint.path)

    moved = move(run, destination(f"{volume}/run", run), Rules(), tell=rotate)
    assert moved.copied == ("checkpoint-200",) and names(f"{volume}/run") == ["checkpoint-200"]
    assert [failure.error for failure in moved.failures] == [f"{run}/checkpoint-100 was deleted while it was copied"]


@pytest.mark.parametrize("case", ["lightning-single", "deepspeed-zero2", "dcp", "accelerate-own", "fsdp2-sharded"])
def test_checkpoints_of_other_frameworks_and_single_files_move_too(
    ckptkit: Ckptkit, volume: str, tmp_path: Path, case: str
) -> None:
    run = str(copied(case, tmp_path / "made"))
    called = ckptkit("move", run, f"{volume}/run", "--delete-source", "--keep-every", "1")
    assert called.code in (0, 3), called
    assert intact(f"{volume}/run") | intact(run) >= set(CASES[case].checkpoints)
    assert not [name for name in os.listdir(f"{volume}/run") if name.startswith(".ckptkit")]
    assert f"{volume}/run/" in called.out.splitlines()[-1]


# --- room -------------------------------------------------------------------------------------------------------------


def test_a_full_volume_is_refused_before_anything_is_written(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, fill: Fill
) -> None:
    run = run_of(THREE)
    fill(volume)
    before = names(volume)
    called = ckptkit("move", run, f"{volume}/run")
    assert called.code == 5 and "are missing" in called.err and called.err.count("\n") == 1
    assert names(volume) == before
    assert ckptkit("move", run, f"{volume}/run", "-n").code == 5
    os.unlink(f"{volume}/ballast")
    assert ckptkit("move", run, f"{volume}/run").code == 0


def test_as_many_as_fit_are_copied_newest_first_and_then_none_leaves_the_source(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, fill: Fill
) -> None:
    run = run_of(THREE)
    fill(volume)
    os.truncate(f"{volume}/ballast", os.path.getsize(f"{volume}/ballast") - 200_000)
    called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert called.code == 5 and "checkpoint-200 did not fit" in called.err
    assert names(f"{volume}/run") == ["checkpoint-300"]
    assert names(run) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert "it is the newest, and not all was copied" in called.err


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "itself": ("RUN", "or lies in it"),
    "inside": ("RUN/copy", "or lies in it"),
    "same_volume": ("TMP/copy", "on the same volume"),
    "as_scp_writes_it": ("me@box:/data/run", "another box is written ssh:HOST:PATH; fix: "),
    "a_file": ("VOLUME/file", "is a file"),
    "below_a_file": ("VOLUME/file/run", "is a file"),
    "system": ("/root", "system or home directory"),
    "root": ("/", "system or home directory"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_place_that_nobody_can_mean_is_one_line_and_nothing_is_touched(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, tmp_path: Path, name: str
) -> None:
    run = run_of(THREE)
    Path(volume, "file").write_text("x")
    dest, words = REFUSED[name]
    dest = dest.replace("RUN", run).replace("VOLUME", volume).replace("TMP", str(tmp_path))
    before = tree(tmp_path)
    called = ckptkit("move", run, dest, "--delete-source")
    assert called.code == 2 and called.err.count("\n") == 1 and words in called.err, called
    assert tree(tmp_path) == before


def test_another_subvolume_of_the_same_btrfs_is_the_same_volume(
    real: str, ckptkit: Ckptkit, subvolume: Callable[[str], str]
) -> None:
    mine = subvolume("200M")
    run = make_run(real, f"{mine}/run", THREE)
    called = ckptkit("move", run, f"{os.path.dirname(mine)}/run", "--delete-source")
    assert called.code == 2 and "on the same volume" in called.err and len(names(run)) == 3


def test_nothing_leaves_the_source_for_a_place_in_memory(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    run = run_of(THREE)
    called = ckptkit("move", run, f"{calm}/run", "--delete-source")
    assert called.code == 2 and "lies in memory (tmpfs)" in called.err and names(calm) == []
    assert ckptkit("move", run, f"{calm}/run").code == 0


def test_a_run_without_an_intact_one_is_4(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    called = ckptkit("move", run_of({100: "torn"}), f"{volume}/run")
    assert called.code == 4 and "no intact checkpoint" in called.err and names(volume) == ["lost+found"]


# --- deleting ---------------------------------------------------------------------------------------------------------


def test_delete_source_leaves_none_only_since_each_is_proved_there(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of(THREE)
    called = ckptkit("move", run, f"{volume}/run", "--delete-source", "--keep-every", "1")
    assert called.code == 0 and "deleted 3 checkpoints, freed " in called.out, called
    assert names(run) == [] and intact(f"{volume}/run") == {f"checkpoint-{step}" for step in THREE}
    again = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert again.code == 0 and "checkpoint-300\n" in again.out


def test_what_no_rule_keeps_is_not_copied_so_it_stays_and_is_told_with_the_command(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of(THREE)
    called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert called.code == 0 and names(run) == ["checkpoint-100"]
    assert f"to move it too: {CHECKOUT}/bin/move {run} {volume}/run --delete-source --keep-every 1" in called.out


def test_a_pinned_one_stays_and_its_fix_is_told(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    pin(f"{run}/checkpoint-200")
    called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert called.code == 3 and f"checkpoint-200 stays: it is pinned; fix: {CHECKOUT}/bin/unpin" in called.err
    assert names(run) == [".ckptkit-pins", "checkpoint-100", "checkpoint-200"]


def test_what_a_process_has_open_stays(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    with open(f"{run}/checkpoint-200/optimizer.pt") as held:
        holder = subprocess.Popen(["sleep", "60"], stdin=held)
    try:
        called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    finally:
        holder.kill()
        holder.wait()
    assert called.code == 11 and f"checkpoint-200 stays: held open by sleep (pid {holder.pid})" in called.err
    assert names(run) == ["checkpoint-100", "checkpoint-200"]


def test_while_a_training_is_at_work_it_copies_and_deletes_nothing(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of(THREE)
    with lock.open_directory(run) as fd:
        lock.claim(fd, run)
        called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert called.code == 11 and "nothing is deleted there" in called.err
    assert len(names(run)) == 3 and names(f"{volume}/run") == ["checkpoint-200", "checkpoint-300"]


def test_a_locked_run_is_copied_and_not_deleted_from(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    with lock.hold(run):
        called = ckptkit("move", run, f"{volume}/run", "--delete-source", "--lock-timeout", "0.2")
    assert called.code == 11 and "is locked by" in called.err and len(names(run)) == 3


def test_a_copy_that_was_changed_since_never_counts_and_the_source_stays(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of({100: "intact", 200: "intact"})
    assert ckptkit("move", run, f"{volume}/run").code == 0
    flip(f"{volume}/run/checkpoint-200/optimizer.pt")
    called = ckptkit("move", run, f"{volume}/run", "--delete-source")
    assert called.code == 3 and "optimizer.pt differs at" in called.err and "checkpoint-200" in names(run)
    subprocess.run(["sh", "-c", called.err.split("to copy it anew: ")[1].splitlines()[0]], check=True)
    assert ckptkit("move", run, f"{volume}/run", "--delete-source").code == 0
    assert names(run) == [] and intact(f"{volume}/run") == {"checkpoint-100", "checkpoint-200"}


def test_another_runs_checkpoint_of_that_name_is_never_written_over(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, real: str
) -> None:
    run = run_of({100: "intact"})
    other = make_run(real, f"{volume}/run", {100: "intact"}, kind="full")
    before = tree(other)
    called = ckptkit("move", run, other, "--delete-source")
    assert called.code == 3 and names(run) == ["checkpoint-100"] and tree(other) == before


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Callable[[Any], str]]:
    """overlay(lower) shows that directory at another mount point, as a container's root shows its image."""
    made = []

    def make(lower: Any) -> str:
        place, upper, work = (tmp_path / name for name in ("shown", "upper", "work"))
        for directory in (place, upper, work):
            directory.mkdir()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, place], capture_output=True)
        if done.returncode:
            pytest.skip("no overlay on this kernel")
        made.append(place)
        return str(place)

    yield make
    for place in made:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_place_that_shows_the_run_itself_is_no_copy_of_it(
    real: str, ckptkit: Ckptkit, overlay: Callable[[Any], str], tmp_path: Path
) -> None:
    run = make_run(real, f"{tmp_path}/lower/run", THREE)
    called = ckptkit("move", run, f"{overlay(tmp_path / 'lower')}/run", "--delete-source")
    assert called.code == 2 and "seems to be" in called.err, called
    assert len(names(run)) == 3


def after(run: str, dest: str, act: Callable[[], object]) -> Moved:
    """Move with --delete-source; `act` does its thing once the newest is proved. Returns what came of it."""

    def tell(what: str, checkpoint: Checkpoint) -> None:
        if what == "proved" and checkpoint.name == "checkpoint-300":
            act()

    return move(run, destination(dest, run), rules_for(run, {}, None), delete_source=True, tell=tell)


def test_a_volume_that_is_unmounted_meanwhile_gets_nothing_more_and_the_source_stays(
    run_of: RunOf, volume: str
) -> None:
    run = run_of(THREE)
    moved = after(run, f"{volume}/run", lambda: subprocess.run(["umount", "-l", volume], check=True))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True)  # the fixture unmounts it
    assert len(names(run)) == 3 and moved.copied == ("checkpoint-300",) and present(moved.deleted).deleted == ()
    assert "was its volume unmounted?" in moved.failures[0].error


def test_a_link_to_the_source_is_no_copy_of_it(run_of: RunOf, volume: str) -> None:
    run = run_of(THREE)

    def lay_a_link() -> None:
        shutil.rmtree(f"{volume}/run/checkpoint-300")
        os.symlink(f"{run}/checkpoint-300", f"{volume}/run/checkpoint-300")

    moved = after(run, f"{volume}/run", lay_a_link)
    assert ("checkpoint-300", ("copy-changed", "its copy was changed since it was proved", "")) in moved.stays
    assert intact(run) >= {"checkpoint-300"}


def test_what_is_pinned_there_stays_pinned(run_of: RunOf, ckptkit: Ckptkit, volume: str) -> None:
    run = run_of(THREE)
    shutil.copytree(run, f"{volume}/run")
    for pinned in (f"{volume}/run/checkpoint-100", f"{run}/checkpoint-300"):
        assert ckptkit("pin", pinned).code == 0
    assert ckptkit("move", run, f"{volume}/run").code == 0
    assert pins.read(f"{volume}/run") == {"checkpoint-100", "checkpoint-300"}


# --- broken off -------------------------------------------------------------------------------------------------------


def test_a_copy_that_broke_off_is_gone_on_with_and_what_is_not_of_it_goes(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of({100: "intact", 200: "intact"})
    for step, extra in ((100, "of another save"), (200, "model.tmp")):
        stage = Path(volume, "run", f".ckptkit-moving-checkpoint-{step}")
        stage.mkdir(parents=True)
        (stage / "optimizer.pt").write_bytes(b"half of it")
        (stage / extra).write_text("x")
    assert ckptkit("move", run, f"{volume}/run").code == 0
    assert names(f"{volume}/run") == ["checkpoint-100", "checkpoint-200"]
    assert content(f"{volume}/run/checkpoint-200") == content(f"{run}/checkpoint-200")


def test_what_a_killed_move_leaves_is_no_run_and_no_checkpoint_to_any_verb(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of({100: "intact"})
    os.makedirs(f"{volume}/run")
    os.rename(make_run_copy(run, volume), f"{volume}/run/.ckptkit-moving-checkpoint-100")
    assert find_runs(volume) == [] and discover.scan(f"{volume}/run").checkpoints == ()


def make_run_copy(run: str, volume: str) -> str:
    subprocess.run(["cp", "-a", f"{run}/checkpoint-100", f"{volume}/copy"], check=True)
    return f"{volume}/copy"


# How many points of each kind of call, evenly from the first that touches DEST to the last: the copy, its reading back,
# its name, the removal.
KILLED_AT = {"openat": 4, "write": 3, "readv": 3, "fsync": 3, "rename": 2, "renameat": 2, "unlinkat": 4}


@pytest.mark.parametrize("calls", KILLED_AT)
def test_at_no_kill_point_an_intact_one_is_lost_and_the_next_call_ends_it(
    real: str, ckptkit: Ckptkit, mount: Mount, tmp_path: Path, calls: str
) -> None:
    dest = mount("ext4", megabytes=24, options=("-m", "0"))
    before = {"checkpoint-100", "checkpoint-200"}
    whole = make_run(real, f"{tmp_path}/whole", {100: "intact", 200: "intact"})
    assert traced(whole, f"{dest}/whole", tmp_path, f"trace={calls}") == 0
    for number, when in enumerate(points(tmp_path / "trace", f"{dest}/whole", KILLED_AT[calls])):
        run, copy = make_run(real, f"{tmp_path}/run{number}", {100: "intact", 200: "intact"}), f"{dest}/run{number}"
        inject = f"inject={calls}:signal=SIGKILL:when={when}"
        assert traced(run, copy, tmp_path, f"trace={calls}", inject) != 0, (calls, when)
        assert intact(run, copy) >= before, (calls, when)
        if os.path.isdir(copy):
            left = {name for name in os.listdir(copy) if not name.startswith(".ckptkit-moving-")}
            assert left == intact(copy), (calls, when)
        done = ckptkit("move", run, copy, "--delete-source")
        assert done.code == 0, (calls, when, done)
        assert intact(copy) == before == set(os.listdir(copy)) and names(run) == [], (calls, when)


def traced(run: str, copy: str, tmp_path: Path, *what: str) -> int:
    """Type it under strace. Returns its exit code, not 0 where it was killed."""
    trace = ["strace", "-f", "-qq", "-y", "-o", tmp_path / "trace", *(word for each in what for word in ("-e", each))]
    words = [sys.executable, "-m", "ckptkit", "move", run, copy, "--delete-source", "-q"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*map(str, (*trace, *words))], env=environment, check=False, capture_output=True).returncode


def points(trace: Path, copy: str, most: int) -> list[int]:
    """Numbers of calls of the main process, spread over those on either tree, from the first one on."""
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    calls = [line for pid, line in lines if pid == lines[0][0] and line[0].isalpha()]
    at = [number for number, line in enumerate(calls, 1) if f"/{os.path.basename(copy)}" in line]
    begun = next((number for number in at if copy in calls[number - 1]), at[0])
    at = [number for number in at if number >= begun]
    return sorted({at[len(at) * i // most] for i in range(most)})


def test_a_directory_above_runs_and_a_checkpoint_are_told_with_what_to_type(
    run_of: RunOf, ckptkit: Ckptkit, volume: str, tmp_path: Path
) -> None:
    run = run_of({100: "intact", 200: "intact"}, at=tmp_path / "runs" / "mine")
    above = ckptkit("move", os.path.dirname(run), f"{volume}/there", "--dry-run")
    assert above.code == 10 and "1 run below it: mine; fix: " in above.err
    assert above.err.endswith(f"move {run} {volume}/there --dry-run\n")
    one = ckptkit("move", f"{run}/checkpoint-200", f"{volume}/there", "--dry-run")
    assert one.code == 10 and f"is a checkpoint; name its run, {run}; fix: " in one.err


def test_the_line_that_resumes_is_the_last_one_also_where_something_stays(
    run_of: RunOf, ckptkit: Ckptkit, volume: str
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    called = ckptkit("move", run, f"{volume}/there", "--delete-source")
    assert called.code == 0 and "still at " in called.out
    assert called.out.endswith(f"resume there with: --resume_from_checkpoint {volume}/there/checkpoint-300\n")
