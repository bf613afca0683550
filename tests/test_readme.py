"""README and docs/ are what they say: every code block runs, every link leads somewhere, every verb is in the table."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ckptkit.cli.verbs import VERBS
from tests.support.runs import make_run, names
from tests.support.typed import Mount

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()
DECISIONS = sorted((CHECKOUT / "docs/decisions").glob("*.md"))
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md")), *DECISIONS]
# Lines that take a machine, a network or minutes, and the test that runs each.
ELSEWHERE = {
    "git clone <this repository> ckptkit && cd ckptkit": "tests/test_install.py",
    "pip install .": "tests/test_install.py",
    "bin/train": "tests/test_train.py",
    "bin/test": ".ci/run",
    "ckptkit cron --install RUNS": "tests/schedulers/test_cron.py",
    "ckptkit cron --show": "tests/schedulers/test_cron.py",
    "ckptkit cron --remove": "tests/schedulers/test_cron.py",
}
QUOTED = ["SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)"]  # no command


def shell_lines(page: str) -> list[str]:
    """What a page's indented blocks say to type, without the comments."""
    found = re.findall(r"(?m)^    (\S.*)$", re.sub(r"(?ms)^```.*?^```", "", page))
    return [re.split(r"\s{2,}#", line)[0].strip() for line in found]


def fenced_lines(page: str) -> list[str]:
    """What a page's blocks without a language say to type."""
    blocks = re.findall(r"(?ms)^```\n(.*?)^```", page)
    return [re.split(r"\s{2,}#", line)[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def python_blocks(page: str) -> list[Any]:
    return re.findall(r"(?ms)^```python\n(.*?)^```", page)


TYPED = [line for line in shell_lines(README) if line not in [*ELSEWHERE, *QUOTED]]


def test_there_are_lines_to_run_and_each_that_is_run_elsewhere_stands_in_the_readme() -> None:
    assert len(TYPED) >= 8 and len(python_blocks(README)) == 3
    lines = shell_lines(README)
    for line, test in ELSEWHERE.items():
        assert line in lines and (CHECKOUT / test).exists()
        words = [word for word in line.split() if word.startswith("--")] or [line.split()[-1].strip(".")]
        assert words[0] in (CHECKOUT / test).read_text()


class Person(NamedTuple):
    """Somebody at a shell, in a directory with a run."""

    folder: Path
    environment: dict[str, str]
    run: str

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-c", line]
        return subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def person(real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """types(line) does what a person's shell does, in a directory with a run, a script and a log; its result."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ckptkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptkit "$@"\n')
    (tools / "ckptkit").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    run = make_run(real, str(tmp_path / "RUN"), {100: "intact", 200: "intact", 300: "intact", 400: "torn"})
    (tmp_path / "train.log").write_text(QUOTED[0] + "\n")
    (tmp_path / "your_script.py").write_text("import sys\nprint('resumes from', sys.argv[-1])\n")
    environment = os.environ | {"PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)}

    return Person(tmp_path, environment, run)


def test_the_lines_of_3_am_do_their_part_one_after_the_other(person: Person) -> None:
    """The same with a disk at 0 bytes: tests/test_three_in_the_morning.py."""
    for line in TYPED:
        done = person(line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert names(person.run) == ["checkpoint-200", "checkpoint-300"]
    assert done.stdout == f"resumes from {person.run}/checkpoint-300\n"


@pytest.mark.mounts
def test_the_lines_of_moving_do_their_part_on_a_second_volume(person: Person, mount: Mount) -> None:
    """Those to another box: tests/ops/test_move_ssh.py."""
    second = mount("ext4", megabytes=16)
    lines = fenced_lines((CHECKOUT / "docs/moving.md").read_text())
    here = [line for line in lines if "ssh:" not in line and not line.startswith(("#", "mv "))]
    assert len(here) >= 4 and "--ssh-command" in (CHECKOUT / "tests/ops/test_move_ssh.py").read_text()
    for line in here:
        done = person(line.replace("/mnt/second", second).replace("DEST", f"{second}/DEST"))
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert names(f"{second}/RUN")[-2:] == ["checkpoint-200", "checkpoint-300"]


def test_commands_within_sentences_and_tables_are_ours() -> None:
    """`ckptkit VERB ...` and the first cells of the table of commands."""
    said = re.findall(r"`ckptkit ([a-z]+)", README) + re.findall(r"(?m)^\| `([a-z]+) ", README)
    said += re.findall(r"(?m)^\| `.*, `([a-z]+) CKPT", README)
    assert set(said) <= set(VERBS), set(said) - set(VERBS)
    assert set(VERBS) <= set(said), set(VERBS) - set(said)


# --- Python ----------------------------------------------------------------------------------------------------------

TRAINER = """
import sys; sys.path.insert(0, {checkout!r})
from transformers import Trainer
from tests.guard import tiny
made = tiny.trainer("RUN")
model, args, data = made.model, made.args, made.train_dataset
"""
LOOP = """
import ckptkit, torch
from accelerate import Accelerator
accelerator, step = Accelerator(cpu=True), 1
accelerator.prepare(torch.nn.Linear(4, 4))
"""
LIGHTNING = """
import ckptkit, lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
model = BoringModel()
"""
BEFORE = dict(zip(python_blocks(README), (TRAINER, LOOP, LIGHTNING), strict=True))
BEFORE |= dict.fromkeys(python_blocks((CHECKOUT / "docs/guard.md").read_text()), LOOP)


@pytest.mark.parametrize("block", BEFORE, ids=lambda block: block.split("\n")[0][:40])
def test_block_of_python_runs(block: Any, tmp_path: Path) -> None:
    code = BEFORE[block].format(checkout=str(CHECKOUT)) + block
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    saved = [path for path in tmp_path.rglob("*") if path.name.startswith(("checkpoint-", "epoch="))]
    assert 1 <= len(saved) <= 2, saved


# --- links -----------------------------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """The names that a page's headings get."""
    heads = re.findall(r"(?m)^#+ (.*)$", page)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def of_docs(page: Any) -> str:
    """A page's path, as a test is called."""
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=of_docs)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        leads_to = (page.parent / path) if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=of_docs)
def test_tests_and_files_that_a_page_names_are_there(page: Path) -> None:
    for name in re.findall(r"`((?:tests|benchmarks|examples|docs|bin)/[\w./-]+)`", page.read_text()):
        assert (CHECKOUT / name).exists() or "VERB" in name, name


@pytest.mark.parametrize("page", DECISIONS, ids=of_docs)
def test_a_decision_is_in_the_index_has_its_five_parts_and_names_code_and_tests_that_are_there(page: Path) -> None:
    text, index = page.read_text(), (page.parent / "README.md").read_text()
    if page.name == "README.md":
        assert set(re.findall(r"\]\(([^)]+)\)", text)) == {p.name for p in DECISIONS} - {page.name}
        return
    assert f"]({page.name})" in index and 15 <= text.count("\n") <= 40
    heads = re.findall(r"(?m)^## (.*)$", text)
    assert (heads[0], heads[1], heads[-1]) == ("The question", "What was considered", "What would change our mind")
    assert heads[2] in ("What was seen", "What was measured") and "What was decided" in heads
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text):
        assert f"def {test}(" in (CHECKOUT / file).read_text(), test
    for file in re.findall(r"`([a-z_]+/[a-z_0-9]+\.py)`", text):
        assert (CHECKOUT / "ckptkit" / file).exists() or (CHECKOUT / file).exists(), file


def test_a_registry_of_another_project_is_never_named() -> None:
    for page in PAGES:
        assert not re.search(r"pip install ['\"]?ckptkit\b", page.read_text()), page
    for file in (CHECKOUT / "ckptkit").rglob("*.py"):
        assert not re.search(r"pip install ['\"]?ckptkit\b", file.read_text()), file
