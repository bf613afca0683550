"""systemd: a service and a timer for each job, of the user, or as root of the system."""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit.errors import SchedulerError, UsageError
from ckptkit.schedulers.box_tools import user
from ckptkit.system import small_files
from ckptkit.system.tools import call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptkit.model.schedule import Job

BOOTED = "/run/systemd/system"  # sd_booted(3)
MARK = "# ckptkit: RUNS "
UNIT = re.compile(r"ckptkit-[a-z]+-[\w.-]+\.(service|timer)")


def is_running() -> bool:
    """Whether systemd runs this box."""
    return os.path.isdir(BOOTED)


def directory() -> str:
    """Where the units of this user lie."""
    if os.geteuid() == 0:
        return "/etc/systemd/system"
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "systemd/user")


def units(root: str, jobs: Sequence[Job]) -> dict[str, str]:
    """Given a directory above runs and its jobs, return {file name: text}."""
    texts = {}
    for job in jobs:
        name = _name(root, job.verb)
        texts[f"{name}.service"] = _service(root, job)
        texts[f"{name}.timer"] = _timer(root, job)
    return texts


def installed() -> dict[str, dict[str, str]]:
    """{root: {file name: text}} of what is there."""
    by_root: dict[str, dict[str, str]] = {}
    with suppress(OSError):
        for name in sorted(filter(UNIT.fullmatch, os.listdir(directory()))):
            with suppress(OSError), open(f"{directory()}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                first, _, _ = (text := file.read()).partition("\n")
                if first.startswith(MARK):
                    by_root.setdefault(first.removeprefix(MARK), {})[name] = text
    return by_root


def install(root: str, jobs: Sequence[Job]) -> None:
    """Write the units and start the timers. Raises SchedulerError; then no new unit is left there."""
    new, before = units(root, jobs), installed().get(root, {})
    try:
        _write(new)
        control("daemon-reload")
        control("enable", "--now", *(name for name in new if name.endswith(".timer")))
    except SchedulerError:
        _delete(new.keys() - before.keys())
        raise


def _write(texts: Mapping[str, str]) -> None:
    try:
        os.makedirs(directory(), exist_ok=True)
        fd = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, text in texts.items():
                small_files.replace(fd, name, os.fsencode(text))
        finally:
            os.close(fd)
    except OSError as error:
        raise SchedulerError(f"{directory()}: {error.strerror}; no timer was started") from None


def _delete(names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(f"{directory()}/{name}")


def remove(root: str) -> None:
    """Stop the timers and delete the units of a root. Raises SchedulerError."""
    names = installed().get(root, {})
    timers = [name for name in names if name.endswith(".timer")]
    if is_running() and timers:
        control("disable", "--now", *timers)
    _delete(names)
    if is_running() and names:
        control("daemon-reload")


def is_active(root: str) -> bool:
    """Whether the timer that prunes a root is waiting for its time."""
    if not is_running():
        return False
    return call([*_systemctl(), "is-active", f"{_name(root, 'prune')}.timer"]).code == 0


def lingering() -> str:
    """What to type so that the timers of an ordinary user run while nobody is logged in; "" if they do."""
    if os.geteuid() == 0:
        return ""
    name = user()
    return "" if os.path.exists(f"/var/lib/systemd/linger/{name}") else f"loginctl enable-linger {name}"


def require(instead: str) -> None:
    """Raise UsageError if systemd does not run this box. instead: the command that does without it."""
    if not is_running():
        raise UsageError(f"no systemd runs on this box; fix: {instead}")


def control(*words: str) -> None:
    """Call systemctl. Raises SchedulerError."""
    done = call([*_systemctl(), *words])
    if done.code:
        said = done.err.splitlines()[0] if done.err else "failed"
        raise SchedulerError(f"{' '.join([*_systemctl(), *words])}: {said}")


def _systemctl() -> list[str]:
    return ["systemctl"] if os.geteuid() == 0 else ["systemctl", "--user"]


def _name(root: str, verb: str) -> str:
    # The last part for a person who lists timers, a checksum so that two roots never share a unit.
    last = re.sub(r"[^A-Za-z0-9_.-]", "-", os.path.basename(root)) or "root"
    return f"ckptkit-{verb}-{last[:40]}-{zlib.crc32(os.fsencode(root)):08x}"


def _service(root: str, job: Job) -> str:
    line = " ".join(_quoted(word) for word in job.words)
    return f"{MARK}{root}\n[Unit]\nDescription=ckptkit: {job.what.replace('%', '%%')}\n\n" + (
        f"[Service]\nType=oneshot\nExecStart={line}\n"
    )


def _timer(root: str, job: Job) -> str:
    return f"{MARK}{root}\n[Unit]\nDescription=ckptkit: {job.what.replace('%', '%%')}\n\n" + (
        f"[Timer]\nOnCalendar={job.calendar}\n\n[Install]\nWantedBy=timers.target\n"
    )


def _quoted(word: str) -> str:
    """As systemd.service(5) reads ExecStart: its own quotes, % for specifiers, $ for variables."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII) else f'"{escaped}"'
