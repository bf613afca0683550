"""cron: the calling user's crontab through crontab(1), and whether a daemon runs it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ckptkit import crontab
from ckptkit.errors import SchedulerError, UsageError
from ckptkit.schedule import Job
from ckptkit.schedulers.calls import call

DAEMONS = ("cron", "crond", "fcron")
NONE_YET = re.compile(r"no crontab for|can't open '[^/']*': No such file", re.IGNORECASE)  # Vixie and cronie; busybox
PLACES = ("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/cron.d")
PACKAGES = {
    "apt-get": "apt-get update && apt-get install -y cron",
    "dnf": "dnf install -y cronie",
    "yum": "yum install -y cronie",
    "apk": "apk add dcron",
    "zypper": "zypper install -y cron",
    "pacman": "pacman -S --noconfirm cronie",
}


def read() -> str:
    """Return the user's crontab, "" if there is none yet. Raises SchedulerError if nobody can tell."""
    done = call(["crontab", "-l"])
    if done.code == 0:
        return done.out
    if NONE_YET.search(done.err) and not done.out:
        return ""
    raise SchedulerError(f"your crontab can't be read: {_first(done.err)}; nothing was changed")


def write(text: str) -> None:
    """Replace the user's crontab. Raises SchedulerError if it is not there afterwards, to the byte."""
    before = read()
    done = call(["crontab", "-"], text) if text else call(["crontab", "-r"])
    if done.code == 0 and read() == text:
        return
    state = "your crontab is as it was" if read() == before else "look at what is there with: crontab -l"
    raise SchedulerError(f"crontab refused the new lines: {_first(done.err)}; {state}")


def lines(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Given jobs, return their lines for a crontab, each below a comment that tells what it is. Raises UsageError."""
    return tuple(line for job in jobs for line in (f"# {job.what}", f"{job.when} {crontab.command(job.words)}"))


def require() -> None:
    """Raise UsageError, with what to type, if there is no crontab command."""
    if not shutil.which("crontab"):
        raise UsageError(f"cron is not installed on this box; fix: {installing()}")


def installing() -> str:
    """The command that installs cron here."""
    found = (text for tool, text in PACKAGES.items() if shutil.which(tool))
    return _as_root(next(found, PACKAGES["apt-get"]))


def daemon(processes: Mapping[int, Sequence[str]]) -> int:
    """The process id of a cron daemon; 0 if none runs."""
    return next((pid for pid, words in processes.items() if _name(words) in DAEMONS), 0)


def starting() -> str:
    """The command that starts the daemon here, or installs it."""
    if os.path.isdir("/run/systemd/system"):
        return _as_root("systemctl start cron")
    for name in ("cron", "crond"):
        if os.path.exists(f"/etc/init.d/{name}"):
            return _as_root(f"service {name} start")
    found = next((name for name in ("cron", "crond") if shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")), "")
    return _as_root(found) if found else installing()


def prunes(run: str) -> bool:
    """Whether a line in a crontab that we can read prunes a run: the user's own, root's, the system's."""
    return any(crontab.sweeps(text, run) for text in _texts())


def _texts() -> Iterator[str]:
    if shutil.which("crontab"):
        with suppress(SchedulerError):
            yield read()
    for directory in PLACES:
        with suppress(OSError):
            for entry in os.scandir(directory):
                with suppress(OSError), open(entry.path, encoding="utf-8", errors="surrogateescape") as file:
                    yield file.read()


def _name(words: Sequence[str]) -> str:
    return os.path.basename(words[0].split(" ")[0])


def _first(said: str) -> str:
    """The line that tells; what quotes the crontab before it is left out."""
    return said.splitlines()[-1] if said else "it did not say why"


def _as_root(command: str) -> str:
    if os.geteuid() == 0:
        return command
    return " && ".join(f"sudo {part}" for part in command.split(" && "))
