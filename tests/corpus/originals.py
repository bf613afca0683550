"""The checkpoints that everything happens to: real ones, with the manifest that `verify --write` gives them."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ckptkit.ops.read import verify
from ckptkit.ops.verify import write_manifest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
KINDS = ("lora", "full", "sharded", "only", "bf16")
NEEDED = {
    "lora": ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
             "trainer_state.json"),
    "full": ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"),
    "sharded": ("model.safetensors.index.json", "trainer_state.json"),
    "only": ("model.safetensors", "trainer_state.json"),
}  # fmt: skip
LATER = 3600  # seconds: nobody has written there for longer than the quiet period


def make(real: str, top: Path) -> Path:
    """Given real checkpoints, make TOP/<kind>/checkpoint-100 with a manifest, and the torn ones without."""
    for kind in KINDS:
        shutil.copytree(os.path.join(real, kind, "checkpoint-100"), top / kind / "checkpoint-100")
        (judged,) = verify(str(top / kind / "checkpoint-100"), level="full", now=time.time() + LATER)
        write_manifest(judged)
    script = [sys.executable, "-m", "tests.corpus.torn_saves", str(top)]
    subprocess.run(script, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return top


def lay_down(top: Path, kind: str, run: Path) -> Path:
    """A copy of an original in a run of its own, which tells where the originals are."""
    run.mkdir(parents=True)
    (run / ".originals").symlink_to(top)
    shutil.copytree(top / kind / "checkpoint-100", run / "checkpoint-100", copy_function=shutil.copy2)
    return run / "checkpoint-100"
