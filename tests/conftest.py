"""Fixtures for every test: real checkpoints made once, real file systems, the commands as a person types them."""

import compileall
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from ckptkit import calling
from tests.support.runs import make_run
from tests.support.typed import Called, Ckptkit, Fill, Mount, RunOf, Where

pytest_plugins = ["tests.faults.counting"]
ROOT = os.geteuid() == 0
# Where PYTHONDONTWRITEBYTECODE is set, each of the thousands of processes started here would compile them again.
COMPILED = ("ckptkit", "tests/faults", "tests/guard", "tests/support")
CALLED = {"_before": None, "_typed": (), "_script": "", "_directory": ""}  # from Python, as nobody typed anything
MKFS = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "-f")}


def pytest_configure(config: pytest.Config) -> None:
    """As root, mounts must work: a suite that can't prove its promises says so at once, not by skipping.

    And Python's cache of the modules is made, once for all workers.
    """
    if hasattr(config, "workerinput"):
        return
    for folder in COMPILED:
        compileall.compile_dir(CHECKOUT / folder, quiet=2)
    if ROOT:
        probe = ("unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt && touch /mnt/probe")
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.exit(f"this root can't mount a tmpfs, half of the suite needs it: {done.stderr.strip()}", 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """An ordinary user can't mount: those tests are left out, and one line says so. What takes long begins first."""
    needs_root = [] if ROOT else [item for item in items if item.get_closest_marker("mounts")]
    if needs_root:
        config.hook.pytest_deselected(items=needs_root)
        items[:] = [item for item in items if item not in needs_root]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not ROOT:
        terminalreporter.write_line("tests that mount file systems were left out: they need root (sudo bin/test)")


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy's memory must not come from, or go to, the person who runs the tests."""
    monkeypatch.setenv("CKPTKIT_STATE", str(tmp_path_factory.mktemp("state")))
    for name, value in CALLED.items():  # whatever a test before this one called in this process
        monkeypatch.setattr(calling, name, value)
    for name in [name for name in os.environ if name.startswith("CKPTKIT_") and name != "CKPTKIT_STATE"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with one real checkpoint of each kind, made once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    top = shared / "real"
    with FileLock(str(top) + ".lock"):
        if not (top / "done").exists():
            script = [sys.executable, str(CHECKOUT / "tests/support/make_real.py"), str(top)]
            subprocess.run(script, check=True, capture_output=True)
            (top / "done").touch()
    return str(top)


@pytest.fixture
def run_of(real: str, tmp_path: Path) -> RunOf:
    """run_of({100: "intact", 200: "torn"}) makes such a run of real checkpoints and returns its path."""
    return lambda states, kind="lora", at=None: make_run(real, str(at or tmp_path / "run"), states, kind)


@pytest.fixture
def ckptkit(tmp_path: Path) -> Ckptkit:
    """ckptkit("prune", run, "--dry-run") types the command, as from a shell, and returns code, out, err."""

    def call(*words: object, **options: Any) -> Called:
        command = [sys.executable, "-m", "ckptkit", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT)} | options.pop("env", {})
        settings: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "stdin": subprocess.DEVNULL} | options
        done = subprocess.run(command, text=True, env=environment, check=False, **settings)
        return Called(done.returncode, done.stdout or "", done.stderr or "")

    return call


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """mount("tmpfs", "size=1m") or mount("ext4", megabytes=12, options=("-m", "20")) returns a mount point."""
    points: list[str] = []

    def make(
        filesystem: str, data: str = "", megabytes: int = 12, options: Iterable[str] = (), at: Where = None
    ) -> str:
        point = str(at or tmp_path / f"volume{len(points)}")
        os.makedirs(point, exist_ok=True)
        if filesystem in MKFS:
            image = str(tmp_path / f"image{len(points)}")
            subprocess.run(["truncate", "-s", f"{megabytes}M", image], check=True)
            subprocess.run([*MKFS[filesystem], *options, image], check=True)
            subprocess.run(["mount", "-o", "loop", image, point], check=True)
        else:
            subprocess.run(["mount", "-t", filesystem, "-o", data or "size=8m", filesystem, point], check=True)
        points.append(point)
        return point

    yield make
    for point in reversed(points):
        subprocess.run(["chattr", "-R", "-f", "-i", point], check=False, capture_output=True)
        subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture
def calm(mount: Mount) -> str:
    """A volume with room to spare, whatever the machine's own disk holds: no word of it is due."""
    return mount("tmpfs", "size=64m")


@pytest.fixture
def subvolume(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """subvolume("40M") may hold so much, on a Btrfs of 320 MB: a quota that needs no option of the kernel."""
    points: list[Path] = []

    def make(limit: str) -> str:
        image, point = tmp_path / f"btrfs{len(points)}.image", tmp_path / f"btrfs{len(points)}"
        point.mkdir()
        subprocess.run(["truncate", "-s", "320M", image], check=True)
        subprocess.run(["mkfs.btrfs", "-q", "-f", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, point], check=True)
        points.append(point)
        for words in (("quota", "enable", point), ("subvolume", "create", point / "mine"),
                      ("qgroup", "limit", limit, point / "mine")):  # fmt: skip
            subprocess.run(["btrfs", *words], check=True, capture_output=True)
        return str(point / "mine")

    yield make
    for point in points:
        subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture
def fill() -> Fill:
    """fill(path) writes a real file until the volume has 0 bytes available; fill_inodes(path) likewise."""

    def bytes_(path: str) -> None:
        with open(os.path.join(path, "ballast"), "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 512, 1):
                try:
                    while True:
                        file.write(b"\1" * size)
                except OSError:
                    continue

    return bytes_
