"""Which processes train, on what, and whether they outlive the connection that started them. Read from /proc.

Not from psutil, which a box at 3 a.m. may not have: all that it would tell stands in five files of /proc.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ckptkit.disk.holders import DELETED, NO_DISK, command_of, targets
from ckptkit.disk.volumes import mount_of
from ckptkit.model.disk import Training

LIBRARIES = ("/libtorch", "/libc10", "/torch/lib/")  # mapped by whatever imported torch
# A word of the command line, whole: `vim train.py` is told apart by the program that runs it.
WORDS = re.compile(r"(?:.*/)?(?:train\w*\.py|torchrun|accelerate|deepspeed|axolotl|llamafactory-cli)")
PROGRAMS = re.compile(r"(?:.*/)?(?:python[\d.]*|pt_main_thread|torchrun|accelerate|deepspeed|axolotl|llamafactory-cli)")
MULTIPLEXERS = {"tmux: server": "tmux", "screen": "screen", "SCREEN": "screen"}
UNNAMED = re.compile(r"#[0-9]+")
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/")
LOG = re.compile(r"(?:^|[._-])(?:log|out|err|txt|stdout|stderr)(?:$|[._-])", re.IGNORECASE)
SIGHUP_BIT = 1  # of the mask in /proc/PID/status: signal 1


def trainings(runs: Sequence[str], mounts: Sequence[str]) -> tuple[Training, ...]:
    """Given runs and mount points, return the live processes that train, those with a run of ours first.

    One whose parent trains too (a launcher's rank, a data loader) is left out, unless it alone holds the run.
    """
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = command_line(pid)
        if words and trains(pid, words):
            found[int(pid)] = _training(pid, words, runs, mounts)
    heads = [t for pid, t in found.items() if not _covered(t, found.get(parent_of(str(pid))))]
    return tuple(sorted(heads, key=lambda t: (not t.run, not t.on_volume, t.pid)))


def _covered(own: Training, parent: Training | None) -> bool:
    return parent is not None and bool(parent.run or not own.run)


def command_line(pid: str) -> list[str]:
    """Given a process, return its arguments; none for the kernel's own and those that ended."""
    return [word for word in _read(pid, "cmdline").split("\0") if word]


def environment(pid: str) -> Mapping[str, str]:
    """Given a process, return the environment that it started with; nothing if it isn't ours."""
    pairs = (entry.partition("=") for entry in _read(pid, "environ").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def working_directory(pid: str) -> str:
    """Given a process, return the directory that it works in; "" if it isn't ours."""
    return _link(pid, "cwd")


def parent_of(pid: str) -> int:
    """Given a process, return its parent's number; 0 if it ended."""
    return int(_stat(pid)[1])


def ancestors(pid: str) -> Iterator[str]:
    """Given a process, yield its parent, that one's parent, and so on."""
    while (parent := parent_of(pid)) > 0:
        pid = str(parent)
        yield pid


def trains(pid: str, words: Sequence[str]) -> bool:
    """Given a process and its arguments, return whether it is one that trains: it runs a training's script, or torch.

    A process may have given itself another name (setproctitle); the program that it runs is the same.
    """
    if not PROGRAMS.fullmatch(words[0]) and not PROGRAMS.fullmatch(_link(pid, "exe").removesuffix(DELETED)):
        return False
    if any(WORDS.fullmatch(word) for word in words):
        return True
    return any(library in line for line in _read(pid, "maps").splitlines() for library in LIBRARIES)


def _training(pid: str, words: Sequence[str], runs: Sequence[str], mounts: Sequence[str]) -> Training:
    here = working_directory(pid)
    paths = (here, *held(pid), *named(pid, words))
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


def held(pid: str) -> set[str]:
    """Given a process, return the paths that it holds open or mapped."""
    return {target.removesuffix(DELETED) for target in targets(pid) if target.startswith("/")}


def named(pid: str, words: Sequence[str]) -> set[str]:
    """Given a process and its arguments, return the paths that they may mean: each word, and what follows its `=`."""
    here = working_directory(pid)
    parts = {os.path.join(here, part) for word in words for part in (word, word.partition("=")[2]) if part}
    return {os.path.normpath(part) for part in parts} | {os.path.realpath(part) for part in parts}


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory's or of something in it; both absolute."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


# --- what keeps it -------------------------------------------------------------------------------------------------


def session_of(pid: str) -> tuple[str, str, bool]:
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
    return ("terminal" if int(_stat(pid)[4]) else "detached"), "", bool(started_in)


def _tmux_name(variable: str) -> str:
    """TMUX is "socket,server's pid,session's number"; the number is what `tmux attach -t` takes behind a $."""
    return f"${variable.rpartition(',')[2]}" if "," in variable else ""


def _ignores_hangup(pid: str) -> bool:
    for line in _read(pid, "status").splitlines():
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
        target = _link(pid, f"fd/{fd}")
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
        if command_of(pid) == "tee" and _link(pid, "fd/0") == pipe:
            with suppress(OSError):
                # Those that it opened itself: 0 to 2 came from the shell.
                yield from (f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2)


# --- /proc ----------------------------------------------------------------------------------------------------------


def started_at(pid: str) -> float:
    """Given a process, return since when it runs, in seconds since the epoch."""
    # starttime counts ticks since the boot, proc(5).
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")


def _stat(pid: str) -> list[str]:
    """The fields behind the name, which may hold anything: state, parent, group, session, terminal, ..."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return fields or ["?"] + ["0"] * 50


def _read(pid: str, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""  # it ended, or isn't ours


def _link(pid: str, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""
