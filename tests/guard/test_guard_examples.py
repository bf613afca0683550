"""The scripts of examples/ as a person runs them: to the end on a small disk, and once more from where they ended."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.typed import Names, SmallDisk

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOM_FOR_2_AND_A_HALF = 2_100_000  # each checkpoint: 0.8 MB
NAMES, LAST = {"accelerate_loop": "checkpoint-{}", "plain_loop": "step-{}", "lightning_fit": "step={}.ckpt"}, 50


def run(script: str, folder: str, steps: int, tmp: Path) -> dict[Any, Any]:
    """Its losses by step."""
    command = [sys.executable, f"{CHECKOUT}/examples/{script}.py", folder, str(steps), "10"]
    environment = os.environ | {"PYTHONPATH": CHECKOUT, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp)
    assert not done.returncode, done.stderr[-3000:]
    return dict(re.findall(r"^step (\d+): loss (\S+)$", done.stdout, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("script", NAMES)
def test_example_ends_on_a_small_disk_and_goes_on_from_there(
    script: str, disk: SmallDisk, names: Names, tmp_path: Path
) -> None:
    folder = f"{disk(ROOM_FOR_2_AND_A_HALF)}/run"
    assert len(run(script, folder, 40, tmp_path)) == 40
    assert names(folder) == [NAMES[script].format(step) for step in (30, 40)]
    assert list(run(script, folder, LAST, tmp_path)) == [str(step) for step in range(41, LAST + 1)]
    assert names(folder) == [NAMES[script].format(step) for step in (40, LAST)]
