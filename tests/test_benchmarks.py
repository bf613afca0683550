"""The benchmarks measure what they say, and fail when they should. Their full size is no test: see their --help."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stall.__main__ import document
from benchmarks.verify.rows import Row, against, memory, table
from benchmarks.verify.turns import Cost

CHECKOUT = Path(__file__).resolve().parent.parent
TINY = ("--size", "3e6", "--rounds", "1", "--checkpoints", "3", "--tensors", "50", "--no-cold")


def start(folder: Path, *flags: Any) -> subprocess.CompletedProcess[str]:
    """The benchmark of verify, at a size that takes seconds, with all that it makes below `folder`."""
    command = (sys.executable, "-m", "benchmarks.verify", "--json", "--folder", str(folder), *flags)
    return subprocess.run(command, cwd=CHECKOUT, env=os.environ, capture_output=True, text=True, check=False)


def instead_of_verify(folder: Path, line: str) -> tuple[str, str]:
    """A program that does `line` where the benchmark would start bin/verify."""
    path = folder / "verify"
    path.write_text(f"#!/usr/bin/env bash\n{line}\n")
    path.chmod(0o755)
    return "--verify", str(path)


@pytest.mark.slow
def test_a_tiny_run_measures_every_part_and_leaves_nothing(tmp_path: Path) -> None:
    done = start(tmp_path, *TINY)
    rows = json.loads(done.stdout)
    assert done.returncode == (0 if all(row["met"] for row in rows) else 1), done.stderr
    parts = {(row["what"], row["peer"]) for row in rows}
    for short in ("fp32", "bf16"):
        for level in ("full", "full, manifest", "deep"):
            assert (f"{level}, warm, {short}", "crc32 of isal, 1 MiB") in parts
        assert (f"memory, deep, 3 MB {short}", "") in parts
    assert {("quick, 3 checkpoints", "safe_open, pt"), ("memory, deep, 50 tensors", "")} <= parts
    assert all(row["met"] for row in rows if not row["peer"])  # a start of Python and three megabytes
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_slow_verify_misses_its_targets(tmp_path: Path) -> None:
    slow = instead_of_verify(tmp_path, f'sleep 1; exec "{CHECKOUT}/bin/verify" "$@"')
    done = start(tmp_path, *TINY, "--parts", "large", *slow)
    assert done.returncode == 1, done.stderr
    assert not any(row["met"] for row in json.loads(done.stdout) if row["what"].startswith(("full", "deep")))


@pytest.mark.slow
def test_a_verify_that_finds_damage_is_not_measured(tmp_path: Path) -> None:
    damaged = instead_of_verify(tmp_path, """echo '{"checkpoints": []}'; exit 4""")
    done = start(tmp_path, *TINY, "--parts", "large", *damaged)
    assert done.returncode == 1
    assert "ended with 4" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("own", "other", "ratio", "met"),
    [
        ([1.0], [0.9], 0.9, True),
        ([1.0], [0.8], 0.8, False),
        ([9.0, 1.0], [0.9, 9.0], 0.9, True),  # the best of each: the rest was the machine's
    ],
)
def test_the_ratio_is_of_the_best_times(own: list[float], other: list[float], ratio: float, met: bool) -> None:
    costs, others = ([Cost(s, s, 0) for s in seconds] for seconds in (own, other))
    row = against("full", costs, "cat", others, 0.9)
    assert (row.value, row.met) == (ratio, met)
    assert ("MISSED" in table([row])) is not met


def test_one_byte_beyond_the_memory_target_is_too_much() -> None:
    assert memory("memory", [Cost(1, 1, 100_000_000), Cost(1, 1, 5)], 0).met
    assert not memory("memory", [Cost(1, 1, 5), Cost(1, 1, 100_000_001)], 0).met


def test_what_has_no_target_is_not_judged() -> None:
    assert Row("quick", "cat", 0.1, None, {}).met


STALL = ("--pairs", "1", "--saves", "3", "--gb", "0.003", "--apart", "0.01")


def stall(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The benchmark of the guard, with all that it makes below `folder`."""
    command = (sys.executable, "-m", "benchmarks.stall", "--dir", str(folder), *STALL, *flags)
    return subprocess.run(command, cwd=CHECKOUT, env=os.environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_tiny_stall_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    done = stall(tmp_path, "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["met"] else 1)
    (pair,) = found["pairs"]
    assert all(0 < pair[kind]["write"] < pair[kind]["seconds"] for kind in ("alone", "guarded"))
    assert found["ratio"] == pair["guarded"]["seconds"] / pair["alone"]["seconds"]
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_slow_fsync_is_measured_over_all_of_a_training(tmp_path: Path) -> None:
    done = stall(tmp_path, "--slow-fsync", "0.01")
    assert done.stdout, done.stderr
    head, row, last = done.stdout.splitlines()
    assert head.startswith("pair") and row.startswith("1 ")
    assert ("MISSED" in last) is (done.returncode == 1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("alone, guarded, met", [([1.0, 2.0, 9.0], [1.0, 2.1, 5.0], True), ([1.0], [1.06], False)])
def test_the_stall_is_the_median_of_the_pairs(alone: list[float], guarded: list[float], met: bool) -> None:
    pairs = [{"alone": {"seconds": a}, "guarded": {"seconds": g}} for a, g in zip(alone, guarded, strict=True)]
    assert document(pairs, is_slow=False)["met"] is met
