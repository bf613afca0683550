"""What this box is: how a package is installed, who its user is, and what runs there, as psutil tells it."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ckptkit.calling import pip_install
from ckptkit.errors import NotInstalled

INSTALLERS = {  # {tool: how it installs, what it calls cron}
    "apt-get": ("apt-get update && apt-get install -y", "cron"),
    "dnf": ("dnf install -y", "cronie"),
    "yum": ("yum install -y", "cronie"),
    "apk": ("apk add", "dcron"),
    "zypper": ("zypper install -y", "cron"),
    "pacman": ("pacman -S --noconfirm", "cronie"),
}


def installing(package: str) -> str:
    """The command that installs a package here; "cron" is called as this box calls it."""
    tool = next((name for name in INSTALLERS if shutil.which(name)), "apt-get")
    how, cron = INSTALLERS[tool]
    return as_root(f"{how} {cron if package == 'cron' else package}")


def as_root(command: str) -> str:
    """Given a command that root may run, return what this user types."""
    if os.geteuid() == 0:
        return command
    return " && ".join(f"sudo {part}" for part in command.split(" && "))


def processes() -> dict[int, list[str]]:
    """{process id: the words that started it}, of those that can be seen. Raises NotInstalled."""
    command_lines = {process.pid: process.info["cmdline"] for process in _psutil().process_iter(["cmdline"])}
    return {pid: words for pid, words in command_lines.items() if words}


def user() -> str:
    """The name of the user that we run as, the number of one that has none. Raises NotInstalled."""
    name: str = _psutil().Process().username()
    return name


def _psutil() -> Any:
    try:
        import psutil
    except ImportError:
        raise NotInstalled("psutil", pip_install("psutil")) from None
    return psutil
