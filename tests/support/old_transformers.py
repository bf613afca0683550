"""Run as a script: puts transformers 4.57 into the directory named, once, and prints the PYTHONPATH that runs it.

PYTHONPATH=$(python tests/support/old_transformers.py .venv/transformers-4.57) python tests/support/make_real.py TOP all

It goes beside the installed one, not over it: torch, peft and all that both versions can share stay where they are.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

# --no-deps, or pip would bring a second torch. So what 4.57 asks for and the newest does not bring is named here.
PACKAGES = (
    "transformers==4.57.*",
    "huggingface_hub>=0.34,<1",
    "tokenizers>=0.22,<=0.23.0",
    *("requests>=2,<3", "certifi", "charset_normalizer>=2,<4", "idna>=2.5,<4", "urllib3>=2,<3"),  # huggingface_hub's
)


def python_path(cache: Path) -> str:
    """Return what PYTHONPATH must be for transformers 4.57; installs it into `cache` if it is not there yet."""
    cache = cache.resolve()
    wanted = f"{sys.version_info[:2]} {PACKAGES}"
    stamp = cache / "complete"
    with FileLock(f"{cache}.lock"):
        if not (stamp.exists() and stamp.read_text() == wanted):
            _install(cache)
            stamp.write_text(wanted)
    return str(cache)


def _install(target: Path) -> None:
    """Given a target, empty it, for pip replaces nothing there, and install."""
    shutil.rmtree(target, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    how = ("--no-deps", "--no-compile", "--target", str(target))  # of its 2,000 modules a few hundred are imported
    done = subprocess.run([*pip, *how, *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip could not install transformers 4.57 into {target}:\n{done.stderr}")


if __name__ == "__main__":
    print(python_path(Path(sys.argv[1])))
