"""Which errors inside a save are the disk's, and not the program's: a rule, since no list of them was ever complete.

A save does nothing but write. So every OSError in it is the disk's, whatever its number, and so is what a library that
does not raise OSError says of the operating system: safetensors and tokenizers (Rust) name it as "(os error 28)", and
torch's zip writer (C++) names none. Everything else is the program's: a missing key, a wrong type, a GPU out of memory.
"""

import errno
import os
import re
from collections.abc import Iterator

# Rust's std::io::Error ends so; its older Debug form is `IoError(Os { code: 28, kind: StorageFull, ... })`; an error
# that Rust itself makes has a kind and no number. Then torch's writer: caffe2/serialize/inline_container.cc.
WORDS = re.compile(
    r"\(os error \d+\)|\bOs \{ code: \d+|I/O error|IoError\("
    r"|unexpected pos \d+ vs \d+|PytorchStreamWriter failed|inline_container\.cc|basic_ios::clear|iostream error"
    r"|Parent directory .* does not exist|can't start new thread"
)


# What ends a program, and is no fault of a save. All else may be: the CheckpointException of
# torch.distributed.checkpoint, with which sharded FSDP tells of a full disk, is no `Exception`.
ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)


BROKEN_OFF = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE})


def is_storage_error(error: BaseException, by_context: bool = True) -> bool:
    """Whether the disk, not the program, made a save fail. Looks through the chain of causes.

    by_context: through what was being handled as well. What a person's own code makes of that is the program's.
    """
    return any(map(_is_the_disks, chain(error, by_context)))


def broke_off(error: BaseException, path: str) -> bool:
    """Whether a write of the checkpoint at this path may have ended in it: not so of an upload that came after."""
    return any(_of_a_write(link, path) for link in chain(error))


def _of_a_write(link: BaseException, path: str) -> bool:
    if not isinstance(link, OSError):
        return _is_the_disks(link)
    if isinstance(link.filename, (str, os.PathLike)):
        return os.path.abspath(link.filename).startswith(path)
    return link.errno in BROKEN_OFF


def one_line(error: BaseException) -> str:
    """An error in one line, for a person: of a chain, the disk's own word."""
    links = list(chain(error))
    with_words = (link for link in links if isinstance(link, OSError) and link.strerror)
    own = next(with_words, None) or next(filter(_is_the_disks, links), error)
    return " ".join((str(own) or repr(own)).split())


def chain(error: BaseException, by_context: bool = True) -> Iterator[BaseException]:
    """The error, what it came from, and what each rank failed of where it says that (`CheckpointException`)."""
    passed: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in passed:
            continue
        passed.add(id(link))
        yield link
        todo += [*_of_ranks(link), link.__cause__ or (link.__context__ if by_context else None)]


def _is_the_disks(link: BaseException) -> bool:
    return isinstance(link, OSError) or (isinstance(link, Exception) and WORDS.search(str(link)) is not None)


def _of_ranks(error: BaseException) -> list[BaseException]:
    by_rank: object = getattr(error, "failures", None)
    failures = by_rank.values() if isinstance(by_rank, dict) else ()
    return [each[0] for each in failures if isinstance(each, tuple) and each and isinstance(each[0], BaseException)]
