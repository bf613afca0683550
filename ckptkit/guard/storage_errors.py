"""Which errors inside a save are the disk's, and not the program's: a rule, since no list of them was ever complete.

A save does nothing but write. So every OSError in it is the disk's, whatever its number, and so is what a library that
does not raise OSError says of the operating system: safetensors and tokenizers (Rust) name it as "(os error 28)", and
torch's zip writer (C++) names none. Everything else is the program's: a missing key, a wrong type, a GPU out of memory.
"""

import re
from collections.abc import Iterator

# Rust's std::io::Error ends so; its older Debug form is `IoError(Os { code: 28, kind: StorageFull, ... })`; an error
# that Rust itself makes has a kind and no number. Then torch's writer: caffe2/serialize/inline_container.cc.
WORDS = re.compile(
    r"\(os error \d+\)|\bOs \{ code: \d+|I/O error|IoError\("
    r"|unexpected pos \d+ vs \d+|PytorchStreamWriter failed|inline_container\.cc|basic_ios::clear|iostream error"
    r"|Parent directory .* does not exist|can't start new thread"
)


def is_storage_error(error: BaseException) -> bool:
    """Whether the disk, not the program, made a save fail. Looks through the chain of causes."""
    return any(
        isinstance(link, OSError) or (isinstance(link, Exception) and WORDS.search(str(link)) is not None)
        for link in _chain(error)
    )


def told(error: BaseException) -> str:
    """An error in one line, for a person: of a chain, the disk's own word."""
    own = next((link for link in _chain(error) if isinstance(link, OSError) and link.strerror), error)
    return " ".join((str(own) or repr(own)).split())


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
