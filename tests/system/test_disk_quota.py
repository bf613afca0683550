"""Quotas: a real one of Btrfs that a real save runs into, and a user's as quota(1) tells them.

The kernels that run this are built without user quotas (no CONFIG_QFMT_V2, CONFIG_XFS_QUOTA, CONFIG_TMPFS_QUOTA: ext4,
XFS and tmpfs refuse such a mount), so quota(1)'s words are given by a program of ours.
"""

import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.advise import flags
from ckptkit.ops.diskreport import report
from ckptkit.ops.preflight import preflight
from ckptkit.ops.prune import prune
from ckptkit.ops.read import judge, scan
from ckptkit.system import quota, volumes
from tests.support.runs import make_run, names
from tests.support.typed import present

LATER = 3600  # seconds: longer than a neighbour's torch process protects what was last written to

WORK = volumes.volume("/")._replace(path="/work space/run", mount="/work space", filesystem="ext4")
HEAD = """Disk quotas for user trainer (uid 1000):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
"""
WORDS = {
    "hard_limit": ("/work space    5000  9000   10000    0    7  0  0   0", [5000 << 10, 10000 << 10, 7, 0], ["ok"]),
    "soft_alone": (
        "/work space    5000*  4000   0    1795557030   7  0  0   0",
        [5000 << 10, 4000 << 10, 7, 0],
        ["critical"],
    ),
    "files_too": ("/work space  10  0  0  0   85*  80  100   1795557030", [10 << 10, 0, 85, 100], ["high"]),
    "no_limit": ("/work space   10   0   0   0   7   0   0   0", [10 << 10, 0, 7, 0], []),
    "both": (
        "/work space   7000  0  10000   0   95   0  100   0",
        [7000 << 10, 10000 << 10, 95, 100],
        ["filling", "critical"],
    ),
}


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """say(words) makes quota(1) say them, and fail as it does above a limit."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(words: Any, after: str = "") -> None:
        (tmp_path / "words").write_text(words)
        (tmp_path / "quota").write_text(f"#!/bin/sh\n{after}cat {tmp_path}/words; exit 1\n")
        (tmp_path / "quota").chmod(0o755)

    return put


@pytest.mark.parametrize("name", WORDS)
def test_quota_is_read_and_its_flags_follow_its_use(say: Callable[..., None], name: str) -> None:
    line, numbers, levels = WORDS[name]
    say(f"{HEAD}{line}\n          /other    1  0  2  0  1  0  0  0\n")
    (found,) = quota.quotas([WORK])
    assert list(found) == ["/work space", *numbers, "this user"]
    assert [flag.code.rpartition("-")[2] for flag in flags.of_quota(found)] == levels


@pytest.mark.parametrize("words", ["", "Disk quotas for user root (uid 0): none\n", "quota: Quota server down\n", HEAD])
def test_box_without_quotas_has_none(say: Callable[..., None], words: str) -> None:
    say(words)
    assert quota.quotas([WORK]) == ()


def test_box_without_the_program_and_one_whose_server_hangs_have_none(
    say: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("", after="exec sleep 30; ")
    monkeypatch.setattr("ckptkit.system.quota.SECONDS", 0.3)
    assert quota.quotas([volumes.volume("/")]) == ()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert quota.quotas([volumes.volume("/")]) == ()


def test_quota_takes_the_flags_that_it_is_asked_with() -> None:
    """The real program, on a box that has no quota: it says nothing, and complains of no flag."""
    done = subprocess.run(quota.COMMAND, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


# --- a real one -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(subvolume: Callable[[str], str]) -> str:
    """A subvolume that may hold 40 MB."""
    return subvolume("40M")


def told(run: str) -> dict[str, str]:
    """The level of the flag about the quota, and that of the volume, once the file system has counted."""
    subprocess.run(["btrfs", "filesystem", "sync", os.path.dirname(run)], check=True, capture_output=True)
    found = {f.code: f.level for f in report([run]).flags if os.path.dirname(run) in f.message}
    return {code: level for code, level in found.items() if code.startswith("quota")}


@pytest.mark.mounts
def test_full_quota_on_a_volume_with_room_rises_and_clears_when_room_is_made(mine: str, real: str) -> None:
    run, ballast = make_run(real, f"{mine}/run", {100: "intact", 200: "intact"}), Path(mine, "ballast")
    assert told(run) == {"quota-ok": "green"}
    for megabytes, code in ((22, "quota-noticed"), (26, "quota-filling"), (33, "quota-high"), (38, "quota-critical")):
        ballast.write_bytes(os.urandom(megabytes << 20))
        assert list(told(run)) == [code], megabytes
    assert volumes.volume(run).available_bytes > 100 << 20, "df shows room"
    ballast.unlink()
    assert told(run) == {"quota-ok": "green"}


def fill_up(path: str) -> None:
    """Write until it is refused, and then as long as smaller pieces go in."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 14, 1 << 12, 1 << 12):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError as error:
                full = error
    raise full


@pytest.mark.mounts
def test_save_that_the_quota_refuses_is_what_preflight_foretells_and_prune_makes_room_for(mine: str, real: str) -> None:
    run = make_run(real, f"{mine}/run", {100: "intact", 200: "intact", 300: "intact"})
    with pytest.raises(OSError, match="quota") as full:
        fill_up(f"{run}/checkpoint-100/payload")
    assert full.value.errno == errno.EDQUOT
    with pytest.raises(OSError, match="quota"):
        os.rename(f"{run}/checkpoint-100", f"{run}/aside")
    (write,) = [check for check in preflight(run) if check.code == "write"]
    assert write.state == "no-go" and "Disk quota exceeded" in write.message
    assert present(prune(run).outcome).failures == ()
    subprocess.run(["btrfs", "filesystem", "sync", mine], check=True, capture_output=True)
    assert [check.state for check in preflight(run) if check.code == "write"] == ["go"]
    assert Path(run, "checkpoint-300").exists() and not Path(run, "checkpoint-100").exists()


@pytest.mark.mounts
def test_one_that_can_go_neither_aside_nor_wholly_looks_dead(mine: str, real: str) -> None:
    """At its quota, with a file in it that no one may delete: the state goes first, so that nobody resumes from it."""
    run = make_run(real, f"{mine}/run", {100: "intact", 200: "intact", 300: "intact"})
    held = f"{run}/checkpoint-100/adapter_config.json"
    subprocess.run(["chattr", "+i", held], check=True)
    with pytest.raises(OSError, match="quota"):
        fill_up(f"{run}/checkpoint-300/payload")
    try:
        (failure,) = present(prune(run).outcome).failures
    finally:
        subprocess.run(["chattr", "-i", held], check=True)
    assert failure.path == held and "Operation not permitted" in failure.error
    assert [j.verdict.damaged for j in judge(scan(run), now=time.time() + LATER)] == [True, False, False]
    assert present(prune(run, now=time.time() + LATER).outcome).failures == ()
    assert names(run) == ["checkpoint-200", "checkpoint-300"]
