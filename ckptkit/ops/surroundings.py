"""What lies around a training that is about to start: what keeps it, where else it writes."""

from __future__ import annotations

import glob
import os
import signal
from collections.abc import Mapping
from typing import Any

from ckptkit.advise.preflight import Place, Session
from ckptkit.system import volumes
from ckptkit.system.processes import ancestors, command_of
from ckptkit.system.trainings import session_of

SHM = "/dev/shm"
TMUX = "tmux new -A -s train"


# --- what keeps it --------------------------------------------------------------------------------------------------


def session() -> Session:
    """Return what keeps us alive when the connection drops, and what would."""
    kind = _keeper()
    return Session(kind, _starts_one() if kind in ("", "jupyter") else "")


def _keeper() -> str | None:
    """None where there is no connection to drop."""
    if os.environ.get("TMUX"):
        return "tmux"
    if os.environ.get("STY"):
        return "screen"
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return "nohup"
    if "JPY_PARENT_PID" in os.environ:  # of a kernel, and of the terminals in its page
        return "jupyter"
    above = [command_of(pid) for pid in ancestors(str(os.getpid()))]
    if os.environ.get("INVOCATION_ID") and not any(name.startswith(("sshd", "login")) for name in above):
        return "systemd"
    kind, _, _ = session_of(str(os.getpid()))
    if kind == "detached" and os.environ.get("SSH_CONNECTION") and not any(name.startswith("sshd") for name in above):
        return "setsid"
    return "" if os.environ.get("SSH_CONNECTION") or os.isatty(0) else None


def _starts_one() -> str:
    if _is_installed("tmux"):
        return TMUX
    if _is_installed("screen"):
        return "screen -S train"
    return f"apt-get install -y tmux && {TMUX}" if _is_installed("apt-get") and os.geteuid() == 0 else ""


def _is_installed(program: str) -> bool:
    places = os.environ.get("PATH", "").split(os.pathsep)
    return any(place and os.access(os.path.join(place, program), os.X_OK) for place in places)


# --- where else it writes -------------------------------------------------------------------------------------------


def places(run: str) -> tuple[Place, ...]:
    """Given a run's path, or of what lies above where it will be, return where else a training writes."""
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    hub = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    named = {"HOME": home, "TMPDIR": os.environ.get("TMPDIR") or "/tmp", "HF_HOME": hub}
    for name in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_DATASETS_CACHE"):
        path = os.environ.get(name)
        if path and not os.path.realpath(path).startswith(os.path.realpath(hub) + "/"):
            named[name] = path
    if os.path.isdir(SHM):
        named["/dev/shm"] = SHM
    mount = volumes.volume(run).mount
    return tuple(_place(name, path, mount) for name, path in named.items())


def _place(name: str, path: str, mount: str) -> Place:
    there = os.path.realpath(path)
    while not os.path.isdir(there):  # a cache is made when it is used
        there = os.path.dirname(there)
    try:
        volume = volumes.volume(there)
    except OSError as error:
        return Place(name, path, None, f"can't be looked at: {error.strerror}")
    fault = ""
    if volume.read_only:
        fault = "is on a volume that is mounted read-only"
    elif name in ("HOME", "TMPDIR") and not os.path.isdir(path):
        return Place(name, path, None, "does not exist")
    elif not os.access(there, os.W_OK | os.X_OK):
        fault = "can't be written to by this user"
    return Place(name, path, volume, fault, volume.mount == mount)


def processes(settings: Mapping[str, Any] | None) -> int:
    """Given a training's settings, return how many processes it will have: ranks, and data loaders' workers."""
    workers = (settings or {}).get("dataloader_num_workers")
    ranks = os.environ.get("WORLD_SIZE", "")
    gpus = int(ranks) if ranks.isdecimal() and len(ranks) < 7 else len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, gpus) * (1 + (workers if type(workers) is int and workers > 0 else 0))
