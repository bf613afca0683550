"""Volumes as df(1) prints them, and open files as their holders have them."""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptkit.system import processes, volumes
from tests.support.typed import Mount, present

HOLD = """
import mmap, sys, time
file = open(sys.argv[1], "rb")
if sys.argv[2] == "mapped":
    kept = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.close()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """holder(path, how) is another process that has the file open ("open") or only mapped ("mapped")."""
    started = []

    def hold(path: str | Path, how: str = "open") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(path), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert present(process.stdout).readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()


def df(path: str, *columns: str) -> list[str]:
    return said("df", "-B1", f"--output={','.join(columns)}", path).splitlines()[-1].split()


def stat_f(path: str, columns: str) -> list[str]:
    return said("stat", "-f", "-c", columns, path).split()


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- volumes --------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
@pytest.mark.parametrize(("filesystem", "options"), [("ext4", ("-m", "20")), ("ext4", ("-m", "0")), ("tmpfs", ())])
def test_volume_is_what_df_says(mount: Mount, filesystem: str, options: tuple[str, str]) -> None:
    point = mount(filesystem, megabytes=32, options=options)
    Path(point, "some").write_bytes(b"\1" * 3_000_000)
    found = volumes.volume(point)
    size, available, percent = df(point, "size", "avail", "pcent")
    inodes, free_inodes = df(point, "itotal", "iavail")
    assert (found.total_bytes, found.available_bytes) == (int(size), int(available))
    assert (found.total_inodes, found.free_inodes) == (int(inodes), int(free_inodes))
    assert 0 <= int(percent.rstrip("%")) - 100 * found.used_fraction < 1, "df rounds up"
    assert (found.mount, found.filesystem, found.read_only) == (point, filesystem, False)
    free, open_to_all, block = map(int, stat_f(point, "%f %a %S"))
    assert found.reserved_bytes == (free - open_to_all) * block
    assert (volumes.available_bytes(point), volumes.free_bytes(point)) == (open_to_all * block, free * block)


@pytest.mark.mounts
def test_full_volume_has_nothing_available_and_the_reserve_is_told_apart(mount: Mount) -> None:
    point = mount("ext4", megabytes=16, options=("-m", "20"))
    os.chmod(point, 0o777)
    # An ordinary user stops at the reserve; root would eat into it.
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    full = subprocess.run(
        [*user, "dd", "if=/dev/zero", "of=file", "bs=4k"], cwd=point, capture_output=True, text=True, check=False
    )
    assert "No space left on device" in full.stderr
    found = volumes.volume(point)
    assert found.available_bytes == 0 < found.reserved_bytes == found.free_bytes
    assert found.used_fraction == 1.0


@pytest.mark.mounts
@pytest.mark.parametrize("name", ["a b", "a\nb", "a\tb", "a\\b", "a\\040b", "ünïcode"])
def test_mount_point_of_any_name_is_found(mount: Mount, tmp_path: Path, name: str) -> None:
    point = mount("tmpfs", at=tmp_path / name)
    Path(point, "deep").mkdir()
    assert volumes.volume(f"{point}/deep").mount == point


@pytest.mark.mounts
def test_innermost_mount_counts_and_a_neighbours_name_does_not(mount: Mount, tmp_path: Path) -> None:
    outer = mount("tmpfs", at=tmp_path / "vol")
    neighbour = mount("tmpfs", at=tmp_path / "volume")
    inner = mount("tmpfs", at=Path(outer, "inner"))
    top = mount("tmpfs", "size=3m", at=tmp_path / "volume")  # over the neighbour
    assert [volumes.volume(p).mount for p in (outer, inner, top)] == [outer, inner, neighbour]
    assert volumes.volume(top).total_bytes == 3 << 20


@pytest.mark.mounts
def test_read_only_volume_says_so(mount: Mount) -> None:
    point = mount("ext4")
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    assert volumes.volume(point).read_only


def test_path_behind_a_symlink_is_on_the_volume_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert volumes.volume(str(tmp_path / "link")).filesystem == "proc"


def test_missing_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        volumes.volume(str(tmp_path / "missing"))


# --- open files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["open", "mapped"])
def test_holder_of_a_file_is_named_as_long_as_it_lives(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]], how: str
) -> None:
    held = tmp_path / "run" / "checkpoint-1" / "a file"
    held.parent.mkdir(parents=True)
    held.write_bytes(b"\1" * 5000)
    process = holder(held, how)
    (found,) = processes.open_files(str(tmp_path / "run"))
    assert (found.path, found.pid, found.deleted) == (str(held), process.pid, False)
    assert found.command == Path(f"/proc/{process.pid}/comm").read_text().strip()
    process.kill()
    process.wait()
    assert processes.open_files(str(tmp_path / "run")) == ()


def test_deleted_file_keeps_the_name_that_it_had(tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]) -> None:
    held = tmp_path / "run" / "gone"
    held.parent.mkdir()
    held.write_bytes(b"\1")
    holder(held)
    held.unlink()
    (found,) = processes.open_files(str(tmp_path / "run"))
    assert (found.path, found.deleted) == (str(held), True)


def test_neighbour_whose_name_begins_alike_is_not_below(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    for name in ("run", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"\1")
    holder(tmp_path / "run-2" / "file")
    assert processes.open_files(str(tmp_path / "run")) == ()


def test_own_process_and_directories_count(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert [(f.path, f.pid) for f in processes.open_files(str(tmp_path))] == [(str(tmp_path), os.getpid())]
    finally:
        os.close(fd)
    assert processes.open_files(str(tmp_path)) == ()


def test_run_behind_a_symlink_is_looked_for_by_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_bytes(b"\1")
    (tmp_path / "link").symlink_to("run")
    with open(tmp_path / "run" / "file", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        assert [f.pid for f in processes.open_files(str(tmp_path / "link"))] == [os.getpid()]


@pytest.mark.mounts
@pytest.mark.parametrize(("another_disk", "seen"), [(True, []), (False, [True])])
def test_same_path_on_a_containers_own_disk_is_not_held_and_the_shared_file_is(
    tmp_path: Path, another_disk: bool, seen: list[bool]
) -> None:
    """Two containers whose runs have one name each said that the other's checkpoint was held open here."""
    held = tmp_path / "run" / "file"
    held.parent.mkdir()
    held.write_bytes(b"\1")
    mount = 'mount -t tmpfs tmpfs "$1" && echo 1 > "$1/file" || exit; ' if another_disk else ""
    script = f'{mount}exec 3< "$1/file"; echo held; read end'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "container", str(held.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as container:
        assert present(container.stdout).readline() == "held\n"
        assert [f.path == str(held) for f in processes.open_files(str(tmp_path / "run"))] == seen
        container.communicate("\n")


def test_anothers_processes_are_no_error_to_an_ordinary_user(tmp_path: Path) -> None:
    code = "import os; from ckptkit.system.processes import open_files; os.setuid(65534); "
    code += f"print(len(open_files({str(tmp_path)!r})))"
    if os.geteuid():
        code = code.replace("os.setuid(65534)", "None")
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr
