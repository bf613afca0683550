"""What pyproject.toml declares is what the package imports, and what it does where none of that is installed."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cron_box import box
from tests.support.runs import CHECKOUT, make_run
from tests.support.typed import present

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = CHECKOUT / "ckptkit"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
# Where that is not the name of the distribution.
IMPORTED_AS = {"prometheus-client": "prometheus_client", "pyyaml": "yaml"}
# The training's own: there wherever it runs, or brought by its framework.
FRAMEWORKS = {"torch", "transformers", "peft", "lightning", "pytorch_lightning", "accelerate"}


def name_of(requirement: Any) -> str:
    name = present(re.match(r"[\w-]+", requirement))[0].lower()
    return IMPORTED_AS.get(name, name)


DECLARED = {name_of(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = {name_of(each) for extra in ("alerts", "prometheus", "train") for each in EXTRAS[extra]}


def imported(tree: ast.Module) -> Iterator[str]:
    """The first part of each module that a file imports from elsewhere, also by `import_module("...")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield present(node.module).split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(node.args[0].value).split(".")[0] for _ in [0] if isinstance(node.args[0], ast.Constant))


IMPORTED = {name for file in PACKAGE.rglob("*.py") for name in imported(ast.parse(file.read_text()))}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_declared_package_is_imported(name: str) -> None:
    assert name in IMPORTED


def test_nothing_is_imported_that_is_not_declared() -> None:
    assert IMPORTED - sys.stdlib_module_names - {"ckptkit"} <= DECLARED | OPTIONAL | FRAMEWORKS


def test_each_declared_package_has_its_line_that_says_for_what() -> None:
    listed = (CHECKOUT / "pyproject.toml").read_text().partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    lines = listed.splitlines()
    assert len(lines) == len(PROJECT["dependencies"])
    assert [line for line in lines if not re.search(r", # \w", line)] == []


# --- where nothing is installed ---------------------------------------------------------------------------------------


def bare(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A verb under this Python without its packages."""
    command = [sys.executable, "-S", "-m", "ckptkit", *map(str, words)]
    return subprocess.run(command, env={"PYTHONPATH": str(CHECKOUT)}, cwd=cwd, capture_output=True, text=True)


def installing(*packages: str) -> str:
    """What puts packages beside this Python, typed in any shell: one without packages has no pip either."""
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *packages])


@pytest.fixture
def run(real: str, tmp_path: Path) -> str:
    return make_run(real, f"{tmp_path}/run", {100: "intact", 200: "intact", 300: "intact"})


def test_what_frees_space_needs_no_package(run: str, tmp_path: Path) -> None:
    assert bare("verify", run, cwd=tmp_path).returncode == 0
    assert bare("latest", run, cwd=tmp_path).stdout.strip() == f"{run}/checkpoint-300"
    assert bare("strip", run, "--keep-resumable", "2", "-y", cwd=tmp_path).returncode == 0
    done = bare("prune", run, "--keep-last", "1", "-y", cwd=tmp_path)
    assert done.returncode == 0 and sorted(path.name for path in Path(run).glob("checkpoint-*")) == ["checkpoint-300"]


def test_since_when_a_process_runs_is_known_without_a_package() -> None:
    asked = "import time; from ckptkit.system.processes import started_at; print(time.time() - started_at('self'))"
    command = [sys.executable, "-S", "-c", asked]
    done = subprocess.run(command, env={"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=True)
    assert -2 < float(done.stdout) < 60


def test_report_names_what_it_leaves_out_and_what_to_install(run: str, tmp_path: Path) -> None:
    done = bare("diskreport", run, "--json", "--no-eaters", cwd=tmp_path)
    flags = {flag["code"]: flag for flag in json.loads(done.stdout)["flags"]}
    assert flags["not-installed"]["command"] == installing("sh")
    assert "quotas" in flags["not-installed"]["message"] and "intact" in flags
    whole = subprocess.run(
        [sys.executable, "-m", "ckptkit", "diskreport", run, "--json", "--no-eaters"],
        env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "not-installed" not in {flag["code"] for flag in json.loads(whole.stdout)["flags"]}


def test_preflight_says_that_it_can_not_tell_who_watches(run: str, tmp_path: Path) -> None:
    checks = {
        check["code"]: check for check in json.loads(bare("preflight", run, "--json", cwd=tmp_path).stdout)["checks"]
    }
    assert checks["watch"]["state"] == "warn" and checks["watch"]["message"].startswith("nobody can tell")
    assert checks["watch"]["command"] == installing("psutil", "sh") and checks["resume"]["state"] == "go"


@pytest.mark.mounts
def test_cron_that_needs_a_package_names_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = box(tmp_path, 'cd /; "$PYTHON" -S -m ckptkit cron --install "$BOX/runs" -y', check=False)
    assert done.returncode == 2 and "crontab" not in done.stdout
    fault = "cron: this needs the Python package sh, which is not installed"
    assert done.stderr == f"{fault}; fix: {installing('sh')}\n"
