"""What a full or failing disk looks like from inside a save."""

import errno
import os
import re
from collections.abc import Iterator

# The last one: a person or a script removed the checkpoint that was being written.
STORAGE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.ESTALE}
    | {errno.ENOENT}
)
# safetensors' Rust error carries no errno, and its class moved between modules in 0.8; torch's zip writer names none.
WORDS = re.compile(
    r"No space left on device|StorageFull|Disk quota exceeded|Input/output error|Read-only file system|File too large"
    r"|os error (28|122|5|30|27|13|1|116|2)\b|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing file"
    r"|basic_ios::clear: iostream error|Parent directory .* does not exist",
    re.IGNORECASE,
)


def is_storage_error(error: BaseException) -> bool:
    """Whether the disk, not the program, made a save fail. Looks through the chain of causes."""
    return any(
        (isinstance(e, OSError) and e.errno in STORAGE_ERRNOS)
        or (
            (isinstance(e, (OSError, RuntimeError)) or type(e).__name__ == "SafetensorError")
            and WORDS.search(str(e)) is not None
        )
        for e in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def make_durable(directory: str, deep: bool = True) -> None:
    """fsync all below (deep), then it and the directory that holds it: the Trainer syncs nothing. Raises OSError."""
    for parent, _, names in os.walk(directory) if deep else ():
        for name in names:
            _sync(os.path.join(parent, name))
        _sync(parent)
    _sync(directory)
    _sync(os.path.dirname(directory))


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
