"""Who holds files open or mapped, from /proc. Changes nothing."""

import os
from collections.abc import Iterator

from ckptkit.model import OpenFile

NO_DISK = ("/memfd:", "/SYSV", "/dev/zero", "/i915", "/[aio]")  # memory that the kernel shows as a deleted file
DELETED = " (deleted)"  # the kernel's own suffix on the link of an unlinked file, proc(5)


def open_files(path: str) -> tuple[OpenFile, ...]:
    """Given a directory, return the files and directories at or below it that live processes hold open or mapped.

    Deleted ones keep the path they had. Processes of other users are seen by root alone; the caller's own count too.
    """
    below = os.path.realpath(path).rstrip("/") + "/"
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for target in targets(pid):
            name = target.removesuffix(DELETED)
            if (name + "/").startswith(below):
                found[name, pid] = OpenFile(name, int(pid), command_of(pid), target.endswith(DELETED))
    return tuple(sorted(found.values()))


def targets(pid: str) -> Iterator[str]:
    """What a process's descriptors and mappings point at; a process that ended or isn't ours yields nothing."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                yield os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue  # closed meanwhile
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                # address perms offset dev inode path: a memory-mapped safetensors file has no descriptor any more
                fields = line.rstrip("\n").split(None, 5)
                if len(fields) == 6 and fields[5].startswith("/"):
                    yield fields[5]
    except OSError:
        return


def command_of(pid: str) -> str:
    """Given a process, return its name as the kernel has it; "?" once it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "?"
