"""Launches a script of scenes under torchrun, and reads the JSON line that each rank writes after each scene."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import ckptkit

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(ckptkit.__file__)))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
LONGEST_SECONDS = 450.0  # in which a launch ends on a busy machine; a rank that waits for ever is ended then

Seen = dict[str, dict[int, dict[str, Any]]]


def begin(*command: str) -> "subprocess.Popen[str]":
    """Start one launcher; all ranks run this checkout's ckptkit."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": CHECKOUT}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def scenes(launchers: Sequence["subprocess.Popen[str]"]) -> Seen:
    """Wait for them; {scene: {rank: what it saw}}. Fails with what they said if one of them did."""
    seen: Seen = {}
    said = []
    for launcher in launchers:
        try:
            out, err = launcher.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            for each in launchers:
                each.terminate()  # it ends its ranks; killed, it would leave them
            out, err = launcher.communicate()
        said.append(err)
        for line in out.splitlines():
            if line.startswith('{"scene"'):
                found = json.loads(line)
                seen.setdefault(found.pop("scene"), {})[found.pop("rank")] = found
    told = "\n".join(err[-4000:] for err in said)
    assert not any(launcher.returncode for launcher in launchers), f"after {list(seen)}: {told}"
    return seen


def tell(scene: str, rank: int, seen: dict[str, Any]) -> None:
    """Called by the script: one write, since the ranks share the pipe."""
    line = json.dumps({"scene": scene, "rank": rank, **seen})
    os.write(1, f"\n{line}\n".encode())
