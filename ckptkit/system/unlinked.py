"""Files that were deleted while a process had them open: `du` does not see them, and the volume stays full.

Read from /proc: psutil leaves deleted files out.
"""

import os
from collections.abc import Iterator

from ckptkit.model.disk import OpenDeleted
from ckptkit.system.processes import DELETED, NO_DISK, command_of
from ckptkit.system.usage import BLOCK_BYTES
from ckptkit.system.volumes import mount_of


def open_deleted() -> tuple[OpenDeleted, ...]:
    """Return the deleted files whose bytes a process of this box still holds, largest first; each once.

    Processes of other users are seen by root alone. Mapped ones without a descriptor need root too.
    """
    by_inode: dict[tuple[int, int], OpenDeleted] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for link, target in _deleted_links(pid):
            try:
                status = os.stat(link)
            except OSError:
                continue  # closed meanwhile
            # A live file may be called "x (deleted)". One that several processes hold is told of once.
            if not status.st_nlink and status.st_blocks and (status.st_dev, status.st_ino) not in by_inode:
                path = target.removesuffix(DELETED)
                mount, size = mount_of(path)[0], status.st_blocks * BLOCK_BYTES
                deleted = OpenDeleted(path, mount, int(pid), command_of(pid), size, _command(pid, link))
                by_inode[status.st_dev, status.st_ino] = deleted
    return tuple(sorted(by_inode.values(), key=lambda file: (-file.allocated_bytes, file.path)))


def _deleted_links(pid: str) -> Iterator[tuple[str, str]]:
    """(link in /proc, where it points) of each deleted file that the process has open or mapped."""
    for folder in ("fd", "map_files"):
        try:
            names = os.listdir(f"/proc/{pid}/{folder}")
        except OSError:
            continue  # it ended, or isn't ours
        for name in names:
            link = f"/proc/{pid}/{folder}/{name}"
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.endswith(DELETED) and target.startswith("/") and not target.startswith(NO_DISK):
                yield link, target


def _command(pid: str, link: str) -> str:
    """What frees the bytes. A file open for writing alone, such as a log, can be emptied under its process."""
    return f"truncate -s 0 {link}" if _only_written(link) else f"kill {pid}"


def _only_written(link: str) -> bool:
    try:
        with open(link.replace("/fd/", "/fdinfo/"), encoding="ascii") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags:"))
    except (OSError, ValueError, StopIteration):
        return False
    return "/fd/" in link and flags & os.O_ACCMODE == os.O_WRONLY
