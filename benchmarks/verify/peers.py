"""Run as a script: what verify is measured by, each the fastest plain way to it in a process of its own.

peers.py crc32 FILE...                     isal's CRC-32 in a read loop; zlib's where isal is not installed
peers.py safe_open numpy|pt CHECKPOINT...  opens the weights of each; prints the seconds without its imports
"""

import os
import sys
import time
from importlib import import_module
from typing import Any

CHUNK_BYTES = 1 << 20


def main() -> None:
    """Do what is asked."""
    if sys.argv[1] == "crc32":
        digests(sys.argv[2:])
    else:
        opened(sys.argv[2], sys.argv[3:])


def digests(paths: list[str]) -> None:
    """Print each file's CRC-32, as the tools for it do."""
    crc32 = fastest()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    for path in paths:
        value = 0
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                value = crc32(buffer[:count], value)
        print(f"{value:08x} {path}")


def fastest() -> Any:
    """What ckptkit.formats.crc uses too, found without it."""
    try:
        return import_module("isal.isal_zlib").crc32
    except ImportError:
        return import_module("zlib").crc32


def opened(framework: str, checkpoints: list[str]) -> None:
    """Open each checkpoint's weights and have their names."""
    from safetensors import safe_open

    import_module("torch" if framework == "pt" else framework)
    began = time.perf_counter()
    for path in checkpoints:
        with safe_open(os.path.join(path, "model.safetensors"), framework) as file:
            file.keys()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
