"""Who holds files open or mapped, from /proc. Changes nothing."""

import os
from collections.abc import Iterator

from ckptkit.model.disk import OpenFile

NO_DISK = ("/memfd:", "/SYSV", "/dev/zero", "/i915", "/[aio]")  # memory that the kernel shows as a deleted file
DELETED = " (deleted)"  # the kernel's own suffix on the link of an unlinked file, proc(5)


def open_files(path: str) -> tuple[OpenFile, ...]:
    """Given a directory, return the files and directories at or below it that live processes hold open or mapped.

    Deleted ones keep the path they had. Processes of other users are seen by root alone; the caller's own count too.
    What has the same path on another disk, in a container beside us, does not.
    """
    below = os.path.realpath(path).rstrip("/") + "/"
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for target, link in _links(pid):
            name = target.removesuffix(DELETED)
            if (name + "/").startswith(below) and not _is_elsewhere(pid, link, (name, below)):
                found[name, pid] = OpenFile(name, int(pid), command_of(pid), target.endswith(DELETED))
    return tuple(sorted(found.values()))


def targets(pid: str) -> Iterator[str]:
    """What a process's descriptors and mappings point at; a process that ended or isn't ours yields nothing."""
    return (target for target, _ in _links(pid))


def _links(pid: str) -> Iterator[tuple[str, str]]:
    """(what it points at, its link in /proc or "" of a mapping) of each."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                yield os.readlink(f"/proc/{pid}/fd/{fd}"), f"/proc/{pid}/fd/{fd}"
            except OSError:
                continue  # closed meanwhile
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                # address perms offset dev inode path: a memory-mapped safetensors file has no descriptor any more
                fields = line.rstrip("\n").split(None, 5)
                if len(fields) == 6 and fields[5].startswith("/"):
                    yield fields[5], ""
    except OSError:
        return


def _is_elsewhere(pid: str, link: str, here: tuple[str, ...]) -> bool:
    """Whether a process that sees other mounts than we do has that open on another disk than any of these paths is.

    A mapping counts as here: it has no link that every user may follow.
    """
    try:
        if not link or os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            return False
        return os.stat(link).st_dev not in {os.stat(path).st_dev for path in here if os.path.lexists(path)}
    except OSError:
        return False


def command_of(pid: str) -> str:
    """Given a process, return its name as the kernel has it; "?" once it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "?"
