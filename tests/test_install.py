"""Each way to install us, done for real; afterwards the command works from elsewhere, in a bare environment."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit as package
from tests.support.runs import CHECKOUT, make_run, names

VERSION = f"ckptkit {package.__version__}\n"
pytestmark = pytest.mark.slow


def tool(name: str) -> str:
    """pipx, uv, twine: beside the Python of the suite, or on PATH."""
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    found = shutil.which(name, path=path)
    assert found, f"no {name}: bin/test installs it (extra `test`)"
    return found


def do(*words: str | Path, cwd: Path | None = None, **environment: Any) -> str:
    """Run it in an environment in which nothing of the suite's own Python is found.

    uv trusts a list of its own where it is not told otherwise; behind a proxy with a certificate of the box, pip alone
    would get through.
    """
    left = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    whole = left | {"UV_SYSTEM_CERTS": "1"} | environment
    done = subprocess.run([*map(str, words)], cwd=cwd, env=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has of this checkout and what is new in it, as a repository of its own."""
    copy = tmp_path_factory.mktemp("sources") / "ckptkit"
    listed = do("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=CHECKOUT)
    for name in filter(None, listed.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, copy / name, follow_symlinks=False)
    do("git", "init", "-q", "-b", "main", cwd=copy)
    do("git", "add", "-A", cwd=copy)
    do("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all", cwd=copy)
    return copy


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, sdist), each built once; the wheel is built from the sdist, as a registry's users get it."""
    folder = tmp_path_factory.mktemp("dist")
    do(tool("uv"), "build", "-q", "--python", sys.executable, "--out-dir", folder, sources)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def pip_install(folder: Path, *words: str | Path, cwd: Path | None = None) -> Path:
    """The command, in a virtual environment of its own. The suite's pip installs there: one a venv takes 5 s each."""
    python = folder / "venv/bin/python"
    do(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    do(sys.executable, "-m", "pip", "--python", python, "install", "-q", *words, cwd=cwd)
    return folder / "venv/bin/ckptkit"


def with_pip(sources: Path, folder: Path) -> Path:
    return pip_install(folder, ".", cwd=sources)


def editable(sources: Path, folder: Path) -> Path:
    return pip_install(folder, "-e", ".", cwd=sources)


def from_git(sources: Path, folder: Path) -> Path:
    do("git", "clone", "-q", "--bare", sources, folder / "bare.git")
    return pip_install(folder, f"git+file://{folder}/bare.git")


def with_pipx(sources: Path, folder: Path) -> Path:
    do(tool("pipx"), "install", "-q", ".", cwd=sources, PIPX_HOME=f"{folder}/home", PIPX_BIN_DIR=f"{folder}/bin",
       PIPX_MAN_DIR=f"{folder}/man")  # fmt: skip
    assert (folder / "man/man1/ckptkit-prune.1").exists()
    return folder / "bin/ckptkit"


def with_uv(sources: Path, folder: Path) -> Path:
    do(tool("uv"), "tool", "install", "-q", ".", cwd=sources, UV_TOOL_DIR=f"{folder}/tools",
       UV_TOOL_BIN_DIR=f"{folder}/bin")  # fmt: skip
    return folder / "bin/ckptkit"


@pytest.mark.parametrize("way", [with_pip, editable, from_git, with_pipx, with_uv], ids=lambda way: way.__name__)
def test_command_works_from_elsewhere_in_a_bare_environment(
    sources: Path, real: str, tmp_path: Path, way: Callable[[Path, Path], Path]
) -> None:
    command = way(sources, tmp_path)
    run = make_run(real, f"{tmp_path}/run", {100: "intact", 200: "intact", 300: "torn"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bare = ("env", "-i", "PATH=/usr/bin:/bin", f"HOME={elsewhere}", command)
    assert do(*bare, "--version", cwd=elsewhere) == VERSION
    assert do(*bare, "prune", "--version", cwd=elsewhere) == VERSION
    assert do(*bare, "latest", run, cwd=elsewhere) == f"{run}/checkpoint-200\n"
    assert "checkpoint-300" in do(*bare, "prune", run, "-n", cwd=elsewhere)
    do(*bare, "diskreport", run, "--no-eaters", "--html", tmp_path / "page.html", cwd=elsewhere)
    assert "checkpoint-200" in (tmp_path / "page.html").read_text(), "its templates came along"
    assert len(names(run)) == 3 and not list(elsewhere.iterdir())


def test_wheel_holds_the_package_its_licence_its_pages_and_nothing_else(
    built: tuple[Path, Path], sources: Path
) -> None:
    wheel = zipfile.ZipFile(built[0])
    listed = set(wheel.namelist())
    package_files = set(do("git", "ls-files", "ckptkit", cwd=sources).splitlines())
    assert {name for name in listed if name.startswith("ckptkit/")} == package_files
    assert "ckptkit/py.typed" in package_files
    rest = {name.split("/", 1)[1] for name in listed - package_files}
    shared = {name for name in rest if name.startswith("data/")}
    assert rest - shared == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    from ckptkit.cli.verbs import VERBS

    pages = {f"data/share/man/man1/ckptkit{verb}.1" for verb in ("", *(f"-{verb}" for verb in VERBS))}
    assert shared == pages | {
        "data/share/bash-completion/completions/ckptkit",
        "data/share/fish/vendor_completions.d/ckptkit.fish",
        "data/share/zsh/site-functions/_ckptkit",
    }
    told = wheel.read(next(name for name in listed if name.endswith("METADATA"))).decode()
    for line in ("Name: ckptkit-ops", f"Version: {package.__version__}", "License-Expression: Apache-2.0"):
        assert f"{line}\n" in told


def test_sdist_holds_what_the_checkout_does(built: tuple[Path, Path], sources: Path) -> None:
    with tarfile.open(built[1]) as archive:
        listed = {name.split("/", 1)[1] for name in archive.getnames() if not archive.getmember(name).isdir()}
        modes = {name.split("/", 1)[1]: archive.getmember(name).mode for name in archive.getnames() if "/" in name}
    tracked = set(filter(None, do("git", "ls-files", "-z", cwd=sources).split("\0")))
    links = {name for name in tracked if (sources / name).is_symlink()}
    assert listed - links == (tracked | {"PKG-INFO"}) - links - {".gitattributes"}
    assert modes["bin/train"] & 0o111 and modes["bin/test"] & 0o111


def test_registry_would_take_both(built: tuple[Path, Path]) -> None:
    assert "PASSED" in do(tool("twine"), "check", "--strict", *built)


def test_man_finds_the_pages_of_an_installation(built: tuple[Path, Path], tmp_path: Path) -> None:
    bin_ = pip_install(tmp_path, "--no-deps", built[0]).parent
    found = do("man", "-w", "ckptkit-prune", PATH=f"{bin_}:/usr/bin:/bin", MANPATH="")
    assert Path(found.strip()).is_relative_to(tmp_path / "venv/share/man")
