"""TAB in the shells that people have: bash, zsh and fish themselves, no imitation."""

import subprocess
from pathlib import Path

import pytest

from ckptkit.manual.shells import Shell
from tests.support.runs import CHECKOUT
from tests.support.typing_shells import ALL, completed, exit_code

SHELLS: tuple[Shell, ...] = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ckptkit completion SHELL` prints, and an installation's own, which knows of no bin/."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        done = subprocess.run([CHECKOUT / "bin/completion", shell], capture_output=True, text=True, check=True)
        (folder / shell).write_text(done.stdout)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "typed, got",
    [
        ("ckptkit pru\t", "prune"),
        ("ckptkit help pru\t", "help prune"),
        ("ckptkit prune --keep-l\t", "prune --keep-last"),
        ("ckptkit verify --level f\t", "verify --level full"),
        (f"ckptkit verify --level {ALL}", "verify --level deep full quick"),
        (f"ckptkit plan --dtype {ALL}", "plan --dtype bf16 fp16 fp32"),
        (f"ckptkit completion {ALL}", "completion bash fish zsh"),
        ("ckptkit prune ru\t", "prune runs"),
        ("ckptkit prune --config ckpt\t", "prune --config ckptkit.toml"),
        ("ckptkit recover --log tra\t", "recover --log train.log"),
    ],
)
def test_tab_completes(scripts: Path, tmp_path: Path, shell: str, typed: str, got: str) -> None:
    for name in ("ckptkit.toml", "train.log", "rubbish"):
        (tmp_path / name).touch()
    (tmp_path / "runs").mkdir()
    words = completed(shell, scripts / shell, typed, tmp_path)
    assert words.rstrip("=/") == got


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with a link to the checkout's bin/, and a stranger's program of one of its names."""
    (tmp_path / "prune").write_text('#!/bin/sh\n[ "$*" = --keep-la ] && exit 77\nexit 78\n')
    (tmp_path / "prune").chmod(0o755)
    (tmp_path / "bin").symlink_to(CHECKOUT / "bin")
    return tmp_path


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("ours", ["bin/prune", f"{CHECKOUT}/bin/prune"])
def test_script_of_a_checkout_completes(scripts: Path, beside: Path, shell: str, ours: str) -> None:
    assert exit_code(shell, scripts / shell, f"{ours} --keep-la\t3 /nowhere", beside) == "10", "no such run"


def test_stranger_of_its_name_gets_no_flag_of_ours(scripts: Path, beside: Path) -> None:
    for shell in ("bash", "zsh"):
        assert exit_code(shell, scripts / shell, "./prune --keep-la\t", beside) == "77"
    assert completed("fish", scripts / "fish", "./prune --keep-la\t", beside) != "--keep-last"
    assert completed("fish", scripts / "fish", "bin/prune --keep-la\t", beside) == "--keep-last"


def test_installed_script_names_no_checkout(tmp_path: Path) -> None:
    from ckptkit.cli.verbs import VERBS
    from ckptkit.manual import shells

    for shell in SHELLS:
        assert str(CHECKOUT) not in shells.script(shell, (), VERBS)
