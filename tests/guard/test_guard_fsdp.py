"""The real FSDP on two ranks (gloo): as without us, and a save that breaks off in its middle costs that save alone."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import launching
import pytest

HERE = os.path.dirname(__file__)
KINDS = ("sharded", "whole")
BYTES = {"sharded": 2_900_000, "whole": 3_100_000}  # three checkpoints: what the plain Trainer needs for a limit of 2


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[int, dict[str, Any]]]]:
    """{scene: {rank: what it saw}}; one launch for all."""
    mounts = []
    try:
        for kind in KINDS:
            for _ in range(3):
                mounts.append(str(tmp_path_factory.mktemp(kind)))
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES[kind]}", "tmpfs", mounts[-1]], check=True)
        script = os.path.join(HERE, "real_fsdp.py")
        command = (*launching.TORCHRUN, "--standalone", "--nproc-per-node", "2", script, *mounts)
        yield launching.scenes([launching.begin(*command)])
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ends_as_without_us_on_a_disk_on_which_the_trainer_just_gets_along(
    scenes: dict[str, dict[int, dict[str, Any]]], kind: str
) -> None:
    for rank in (0, 1):
        plain, guarded = (scenes[f"{kind} {scene}"][rank] for scene in ("plain", "guarded"))
        assert plain["names"] == guarded["names"] == ["checkpoint-30", "checkpoint-40"]
        assert (guarded["skipped"], guarded["step"], guarded["files"]) == (0, 40, plain["files"])
        assert guarded["rotates"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_in_the_middle_of_a_save_costs_that_save_alone(
    scenes: dict[str, dict[int, dict[str, Any]]], kind: str
) -> None:
    """FSDP gathers once more after rank 0's first file: a rank that raised there would leave the other behind."""
    for rank in (0, 1):
        seen = scenes[f"{kind} full_in_the_middle"][rank]
        assert (seen["skipped"], seen["step"]) == (1, 40)
        assert seen["names"] == ["checkpoint-20", "checkpoint-40"]
