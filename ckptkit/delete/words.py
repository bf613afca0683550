"""What could not be removed, for a person."""

import errno

from ckptkit.model import Failure


def first_of(failures: list[Failure]) -> list[Failure]:
    """One line for a directory of a hundred files that are all refused: the first, and how many more."""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f._replace(error=f.error + more) for f in failures[:1]]


def in_words(error: OSError) -> str:
    """What the disk said, and for whom to look where that is not plain."""
    hint = {
        errno.EPERM: " (immutable or another user's? see lsattr, ls -l)",
        errno.EACCES: " (its directory can't be written by this user)",
        errno.EBUSY: " (in use: a mount, or an open file on a network disk)",
        errno.EROFS: " (the volume is mounted read-only: see dmesg)",
    }.get(error.errno or 0, "")
    return f"{error.strerror or error}{hint}"
