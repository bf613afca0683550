"""`--dry-run` is the same plan, and touches nothing: shown by the system calls themselves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import tree
from tests.support.typed import Ckptkit, RunOf

BIN = Path(__file__).resolve().parents[2] / "bin"
CHANGING = "unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,truncate,ftruncate,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,creat,setxattr,fsetxattr,mknod,mknodat"  # noqa: E501


@pytest.mark.parametrize(
    "verb, more, told",
    [
        ("prune", (), "delete  checkpoint-200"),
        ("prune", ("--keep-last", "1"), "delete  checkpoint-300"),  # more than half: the real run would stop
        ("strip", ("-y",), "strip  checkpoint-100"),
    ],
)
def test_no_system_call_of_a_dry_run_changes_anything(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, more: tuple[str, ...], told: str
) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"})
    trace = tmp_path / "trace"
    before = tree(run)
    monkeypatch.setenv("CKPTKIT_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # Python's own cache of this checkout, not of the run
    command = [
        "strace",
        "-f",
        "-o",
        trace,
        "-e",
        f"trace={CHANGING},open,openat,openat2",
        BIN / verb,
        run,
        *more,
        "--dry-run",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and told in done.stdout
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    opened = [call for call in calls if re.match(r"open", call)]
    assert opened, "strace saw no open at all"
    writing = [
        c for c in opened if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", c) and not re.search(r"/dev/(null|tty)", c)
    ]
    changing = [c for c in calls if re.match("|".join(f"{name}\\(" for name in CHANGING.split(",")), c)]
    assert (writing, changing) == ([], [])
    assert tree(run) == before


def test_dry_run_tells_the_plan_that_is_then_executed(run_of: RunOf, ckptkit: Ckptkit) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "intact"})
    told = ckptkit("prune", run, "--dry-run", "--json").json["runs"][0]
    done = ckptkit("prune", run, "--json").json["runs"][0]
    assert told["dry_run"] and not done["dry_run"]
    assert told["decisions"] == done["decisions"]
    assert told["expected_freed_bytes"] == done["expected_freed_bytes"]


def test_tmux_is_asked_nothing_where_it_would_make_a_directory_for_that(tmp_path: Path) -> None:
    code = "from ckptkit.schedulers import tmux; assert tmux.windows() == {}"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMUX_TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []
