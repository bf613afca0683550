"""cron: the calling user's crontab through crontab(1), and whether a daemon runs it."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit.errors import SchedulerError, UsageError
from ckptkit.schedulers import crontab
from ckptkit.schedulers.box_tools import as_root, installing
from ckptkit.system.tools import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ckptkit.model.schedule import Job

DAEMONS = ("cron", "crond", "fcron")
MOST_LINES = 3  # of what crontab says
NONE_YET = re.compile(r"no crontab for|can't open '[^/']*': No such file", re.IGNORECASE)  # Vixie and cronie; busybox
PLACES = ("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/cron.d")


def read() -> str:
    """Return the user's crontab, "" if there is none yet. Raises SchedulerError if nobody can tell."""
    done = call(["crontab", "-l"])
    if done.code == 0:
        return done.out
    if NONE_YET.search(done.err) and not done.out:
        return ""
    raise SchedulerError(f"your crontab can't be read: {_one_line(done.err)}; nothing was changed")


def write(text: str) -> None:
    """Replace the user's crontab. Raises SchedulerError if it is not there afterwards, to the byte."""
    before = read()
    done = call(["crontab", "-"], text) if text else call(["crontab", "-r"])
    if done.code == 0 and read() == text:
        return
    state = "your crontab is as it was" if read() == before else "look at what is there with: crontab -l"
    raise SchedulerError(f"crontab refused the new lines: {_one_line(done.err)}; {state}")


def lines(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Given jobs, return their lines for a crontab, each below a comment that tells what it is. Raises UsageError."""
    return tuple(line for job in jobs for line in (f"# {job.what}", f"{job.when} {crontab.command(job.words)}"))


def require(instead: str) -> None:
    """Raise UsageError, with what to type, if there is no crontab command. instead: what does without it, or ""."""
    if not shutil.which("crontab"):
        other = f" (to do without it: {instead})" if instead else ""
        raise UsageError(f"cron is not installed on this box{other}; fix: {installing('cron')}")


def daemon(processes: Mapping[int, Sequence[str]]) -> int:
    """The process id of a cron daemon; 0 if none runs."""
    return next((pid for pid, words in processes.items() if _name(words) in DAEMONS), 0)


def starting() -> str:
    """The command that starts the daemon here, or installs it."""
    if os.path.isdir("/run/systemd/system"):
        return as_root("systemctl start cron")
    for name in ("cron", "crond"):
        if os.path.exists(f"/etc/init.d/{name}"):
            return as_root(f"service {name} start")
    program = next((name for name in ("cron", "crond") if shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")), "")
    return as_root(program) if program else installing("cron")


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


def _one_line(said: str) -> str:
    return "; ".join(said.split("\n")[:MOST_LINES]) or "it did not say why"
