"""Run as a script: puts a set of packages beside the installed ones, once, and prints the PYTHONPATH that adds them.

PYTHONPATH=$(python tests/support/beside.py .venv old eight_bit) python tests/support/make_real.py TOP all

Beside, not over: torch, peft and all that can be shared stay where they are, and no other test pays for what is here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

# --no-deps, or pip would bring a second torch. So what 4.57 asks for and the newest does not bring is named here.
SETS = {
    "old": (
        "transformers==4.57.*",
        "huggingface_hub>=0.34,<1",
        "tokenizers>=0.22,<=0.23.0",
        *("requests>=2,<3", "certifi", "charset_normalizer>=2,<4", "idna>=2.5,<4", "urllib3>=2,<3"),
    ),
    # Real 8-bit states: bitsandbytes has CPU kernels and 125 MB that each import of peft would look into.
    "eight_bit": ("bitsandbytes>=0.50", "torchao>=0.18"),
}


def python_path(cache: Path, *names: str) -> str:
    """Return what PYTHONPATH must be for these sets; installs each below `cache` if it is not there yet."""
    return os.pathsep.join(_folder(cache.resolve() / f"beside-{name}", SETS[name]) for name in names)


def _folder(target: Path, packages: tuple[str, ...]) -> str:
    wanted = f"{sys.version_info[:2]} {packages}"
    stamp = target / "complete"
    with FileLock(f"{target}.lock"):
        if not (stamp.exists() and stamp.read_text() == wanted):
            _install(target, packages)
            stamp.write_text(wanted)
    return str(target)


def _install(target: Path, packages: tuple[str, ...]) -> None:
    """Given a target, empty it, for pip replaces nothing there, and install."""
    shutil.rmtree(target, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    how = ("--no-deps", "--no-compile", "--target", str(target))  # of thousands of modules a few hundred are imported
    done = subprocess.run([*pip, *how, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip could not install {' '.join(packages)} into {target}:\n{done.stderr}")


if __name__ == "__main__":
    print(python_path(Path(sys.argv[1]), *sys.argv[2:]))
