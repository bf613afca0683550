"""Volumes as the kernel tells them: statvfs and /proc/self/mountinfo. Changes nothing.

The guard decides by them before a save, so they need no psutil; which tells neither inodes nor root's reserve.
"""

import os
from collections.abc import Callable

from ckptkit.model.disk import Volume


def volume(path: str) -> Volume:
    """Given any existing path, return the volume it lies on. Raises OSError."""
    status = os.statvfs(path)
    mount, device, filesystem = mount_of(os.path.realpath(path))
    size = status.f_frsize
    return Volume(
        path=path,
        mount=mount,
        device=device,
        filesystem=filesystem,
        total_bytes=status.f_blocks * size,
        free_bytes=status.f_bfree * size,
        available_bytes=status.f_bavail * size,
        total_inodes=status.f_files,
        free_inodes=status.f_ffree,
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )


def nearest_directory(path: str, is_there: Callable[[str], bool] = os.path.isdir) -> str:
    """The path, or the nearest directory above it that is there already. is_there: lexists, for a file or link too."""
    while not is_there(path):
        path = os.path.dirname(path) or "."
    return path


def total_bytes(path: str) -> int:
    """Given any existing path, return the size of its volume. Raises OSError."""
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize


def available_bytes(path: str) -> int:
    """Given any existing path, return what an ordinary user may still write there. Raises OSError."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def free_bytes(path: str) -> int:
    """Given any existing path, return what root may still write there, its reserve included. Raises OSError."""
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


def yield_to_others() -> None:
    """Put this process into the idle I/O class (ioprio_set(2)): it reads only when nobody else wants the disk."""
    try:
        import psutil

        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    except (ImportError, AttributeError, OSError):
        pass  # a courtesy: without psutil, or where the kernel forbids it, reading goes on as it is


def mount_of(path: str) -> tuple[str, str, str]:
    """(mount point, device, file system) of the longest mount that holds the path, from /proc/self/mountinfo."""
    best = ("/", "?", "?")
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                mount = _unescape(left.split(" ")[4])
                if (path + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[0]):
                    filesystem, device = right.split(" ")[:2]
                    best = (mount, _unescape(device), filesystem)
    except OSError:
        pass
    return best


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as octal escapes (proc(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
