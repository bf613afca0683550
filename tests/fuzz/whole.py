"""A checkpoint of fuzzed files, judged at the level that reads most.

An input is a sequence of (number of a name, length in three bytes, content): each replaces a file of a small real
checkpoint, or joins it; a length of 0xFFFFFF takes the file away.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ckptkit.runs import discover
from ckptkit.verify import manifest
from ckptkit.verify.verdict import verify as verify_checkpoint
from tests.fuzz import shapes

if TYPE_CHECKING:
    from random import Random

    from ckptkit.model.checkpoint import Manifest

NAMES = (
    *("adapter_model.safetensors", "adapter_config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("trainer_state.json", "training_args.bin", "README.md", "model.safetensors", "model.safetensors.index.json"),
    *("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "pytorch_model.bin"),
    *(".ckptkit-manifest.json", "scaler.pt", "rng_state_0.pth", "rng_state_17.pth", "reference/adapter_config.json"),
    *("reference/adapter_model.safetensors", "tokenizer.json", "generation_config.json", "\udcff\n.safetensors"),
    *("checkpoint-is-incomplete.txt", "adapter_model.bin", "tokenizer.model", "optimizer.bin", "rng_state_999999.pth"),
)
GONE = 0xFFFFFF
LATER = 4e9  # everything is older than the quiet period


@cache
def scratch() -> Path:
    """A directory, gone at the end; whoever ends without an end (libFuzzer, a fork) gives a `tempdir` that goes."""
    path = Path(tempfile.mkdtemp(prefix="ckptkit-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def packed(files: dict[str, bytes | None]) -> bytes:
    """Given contents by name, None for a file that is taken away, return the input."""
    each = ((NAMES.index(n), GONE if c is None else len(c), c or b"") for n, c in files.items())
    return b"".join(bytes([number]) + length.to_bytes(3, "little") + content for number, length, content in each)


def unpacked(data: bytes) -> dict[str, bytes | None]:
    """The reverse, of any bytes at all."""
    files: dict[str, bytes | None] = {}
    at = 0
    while at + 4 <= len(data) and len(files) < 30:
        length = int.from_bytes(data[at + 1 : at + 4], "little")
        content = None if length == GONE else data[at + 4 : at + 4 + length]
        files[NAMES[data[at] % len(NAMES)]] = content
        at += 4 + len(content or b"")
    return files


def mutate(data: bytes, rng: Random) -> bytes:
    """One file changed as its format asks for, another joined or taken away."""
    files = unpacked(data)
    if not files or rng.random() < 0.2:
        files[rng.choice(NAMES)] = rng.choice((None, b"", b"{}", b"\0" * 5000))
    name = rng.choice(list(files))
    content = files[name]
    if content and name.endswith(".json"):
        files[name] = shapes.json_mutate(content, rng)
    elif content and name.endswith(".safetensors"):
        files[name] = shapes.safetensors_mutate(content, rng)
    elif content:
        at = rng.randrange(len(content))
        piece = rng.choice((b"", rng.randbytes(2), rng.choice(shapes.PIECES)))
        files[name] = shapes.zip_fix(content[:at] + piece + content[at + rng.choice((0, 1, len(piece))) :])
    return packed(files)


def verify(data: bytes) -> None:
    """Lay the files down, judge them at every level, take them away."""
    top = scratch() / "checkpoint-100"
    shutil.rmtree(top, ignore_errors=True)
    (top / "reference").mkdir(parents=True)
    for name, content in unpacked(data).items():
        if content is not None:
            (top / os.fsdecode(os.fsencode(name))).write_bytes(content)
    found = discover.checkpoint(str(top))
    verify_checkpoint(found, LATER, "quick")
    verify_checkpoint(found, LATER, "deep", manifest=_manifest(str(top)))


def _manifest(path: str) -> Manifest | None:
    try:
        return manifest.read(path)
    except ValueError:
        return None
