"""Which processes train, on what, and whether they outlive the connection that started them.

Who trains is told as for a deletion, by `processes`. psutil does not tell a deleted log, an ignored SIGHUP, or a
terminal of another container's, so these are read from /proc too; as is since when one runs, which a person must see
where nothing is installed.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit.model.disk import KeptBy, Training
from ckptkit.system.processes import (
    DELETED,
    NO_DISK,
    ancestors,
    argument_paths,
    command_line,
    command_of,
    environment,
    is_below,
    link_of,
    open_paths,
    parent_of,
    read_all,
    started_at,
    stat_of,
    trains,
    working_directory,
)
from ckptkit.system.volumes import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MULTIPLEXERS: dict[str, KeptBy] = {"tmux: server": "tmux", "screen": "screen", "SCREEN": "screen"}

UNNAMED = re.compile(r"#[0-9]+")

TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/")  # noqa: S108 - places that a log is not kept in

LOG = re.compile(r"(?:^|[._-])(?:log|out|err|txt|stdout|stderr)(?:$|[._-])", re.IGNORECASE)

SIGHUP_BIT = 1  # of the mask in /proc/PID/status: signal 1


def trainings(runs: Sequence[str], mounts: Sequence[str]) -> tuple[Training, ...]:
    """Given runs and mount points, return the live processes that train, those with a run of ours first.

    One whose parent trains too (a launcher's rank, a data loader) is left out, unless it alone holds the run.
    """
    by_pid = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = command_line(pid)
        if words and trains(pid, words):
            by_pid[int(pid)] = _training(pid, words, runs, mounts)
    heads = [t for pid, t in by_pid.items() if not _covered(t, by_pid.get(parent_of(str(pid))))]
    return tuple(sorted(heads, key=lambda t: (not t.run, not t.on_volume, t.pid)))


def _covered(own: Training, parent: Training | None) -> bool:
    return parent is not None and bool(parent.run or not own.run)


def _training(pid: str, words: Sequence[str], runs: Sequence[str], mounts: Sequence[str]) -> Training:
    here = working_directory(pid)
    paths = (here, *open_paths(pid), *argument_paths(pid, words))
    run = next((run for run in runs for path in paths if is_below(path, run)), "")
    session, name, lost = session_of(pid)
    log, deleted, written_at = _log(pid)
    return Training(
        int(pid),
        command_of(pid),
        " ".join(words),
        started_at(pid),
        run,
        any(mount_of(path)[0] in mounts for path in (here, log) if path),
        session,
        name,
        lost,
        log,
        written_at,
        deleted,
    )


# --- what keeps it -------------------------------------------------------------------------------------------------
def session_of(pid: str) -> tuple[KeptBy, str, bool]:
    """Given a process, return (what keeps it when the connection drops, that one's name, whether that one is gone).

    What keeps it: tmux, screen, nohup; else terminal (the connection ends it) or detached.
    """
    own = environment(pid)
    started_in = "tmux" if "TMUX" in own else "screen" if "STY" in own else ""
    for ancestor in ancestors(pid):
        if kind := MULTIPLEXERS.get(command_of(ancestor)):
            return kind, own.get("STY", "") if kind == "screen" else _tmux_name(own.get("TMUX", "")), False
    if _ignores_hangup(pid):
        return "nohup", "", bool(started_in)
    return ("terminal" if int(stat_of(pid)[4]) else "detached"), "", bool(started_in)


def _tmux_name(variable: str) -> str:
    """TMUX is "socket,server's pid,session's number"; the number is what `tmux attach -t` takes behind a $."""
    return f"${variable.rpartition(',')[2]}" if "," in variable else ""


def _ignores_hangup(pid: str) -> bool:
    for line in read_all(pid, "status").splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) & SIGHUP_BIT)
    return False


# --- where it writes -----------------------------------------------------------------------------------------------
def log_of(pid: str) -> str:
    """Given a process, return the file that its output goes to, "" if it goes to none or to one that is deleted."""
    path, deleted, _ = _log(pid)
    return "" if deleted else path


def _log(pid: str) -> tuple[str, bool, float | None]:
    """(file that its output goes to, also through a pipe to `tee`; whether it is deleted; when it was written)."""
    for fd in ("1", "2"):
        target = link_of(pid, f"fd/{fd}")
        if target.startswith("pipe:"):
            for reader in _tees(target):
                return _written(reader)
        with suppress(OSError):
            if stat.S_ISREG(os.stat(f"/proc/{pid}/fd/{fd}").st_mode):
                return _written(f"/proc/{pid}/fd/{fd}")
    return "", False, None


def _written(link: str) -> tuple[str, bool, float | None]:
    try:
        target, status = os.readlink(link), os.stat(link)
    except OSError:
        return "", False, None
    path, deleted = target.removesuffix(DELETED), not status.st_nlink
    if deleted and not _was_a_log(path):
        return "", False, None
    return path, deleted, status.st_mtime


def _was_a_log(path: str) -> bool:
    """Whether a deleted file had a name that somebody would look for.

    One without (O_TMPFILE, shown as "#inode") never had; what was unlinked in a directory for temporary files is some
    program's buffer, such as a test runner's, unless it is called a log.
    """
    if UNNAMED.fullmatch(os.path.basename(path)) or path.startswith(NO_DISK):
        return False
    return not path.startswith(TEMPORARY) or bool(LOG.search(os.path.basename(path)))


def _tees(pipe: str) -> Iterator[str]:
    """The links to the files that a `tee` which reads this pipe writes."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if command_of(pid) == "tee" and link_of(pid, "fd/0") == pipe:
            with suppress(OSError):
                # Those that it opened itself: 0 to 2 came from the shell.
                yield from (f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2)


SUFFIXES = (".py", ".sh", ".bash", ".yaml", ".yml", ".json", ".toml", ".cfg")

LARGEST_BYTES = 1 << 20  # a person wrote it

VARIABLE = re.compile(r".*(?:OUT|DIR|SAVE|CKPT|CHECKPOINT)", re.IGNORECASE)  # $RUN may stand in a person's shell

PLAIN = r"""[^\s"'`=:,;()\[\]{}<>|&]*"""  # of a path in a script

FLAG = re.compile(r"-{0,2}(?:[\w.]+\.)?output[-_]dir(?:ectory)?", re.IGNORECASE)


def mention(run: str, pid: str, words: Sequence[str]) -> str:
    """Given a run's real path, a training and its arguments, return what names the run; "" if nothing does.

    What names it: a variable (`$OUTPUT_DIR`), or the last part of a file's path (`train.py`, `train.yaml`).
    """
    here = working_directory(pid)
    for name, value in environment(pid).items():
        if VARIABLE.match(name) and value and _same(here, value, run):
            return f"${name}"
    if writes_elsewhere(run, pid, words):
        return ""
    return next((os.path.basename(file) for file in sorted(_texts(pid, words)) if _names(file, here, run)), "")


def writes_elsewhere(run: str, pid: str, words: Sequence[str]) -> bool:
    """Given a run's real path, a training and its arguments, return whether these name another output_dir."""
    here = working_directory(pid)
    output_dirs = [os.path.realpath(os.path.join(here, value)) for value in _output_dirs(words)]
    return bool(output_dirs) and not any(is_below(run, path) or is_below(path, run) for path in output_dirs)


def _output_dirs(words: Sequence[str]) -> Iterator[str]:
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if FLAG.fullmatch(flag) and (value or after):
            if equals:
                yield value
            elif flag.startswith("-"):
                yield after


def _texts(pid: str, words: Sequence[str]) -> set[str]:
    """The scripts and settings files among its arguments."""
    return {path for path in argument_paths(pid, words) if path.endswith(SUFFIXES)}


def _names(file: str, here: str, run: str) -> bool:
    """Whether a text holds a path that means the run, from where the training stands."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, encoding="utf-8", errors="replace") as read:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
                return False
            text = read.read(LARGEST_BYTES)
    except OSError:
        return False
    path = re.compile(PLAIN + re.escape(os.path.basename(run)) + r"(?![\w.-])")
    return any(_same(here, written, run) for written in set(path.findall(text)))


def _same(here: str, text: str, run: str) -> bool:
    """Whether a text means the run. One of another user, whose directory is not told, is compared as it stands."""
    if "\0" in text or not text.rstrip("/").endswith(os.path.basename(run)):
        return False
    return os.path.realpath(os.path.join(here, os.path.expanduser(text))) == run
