"""PURE: our lines in the text of a crontab. Every other line stays to the byte.

Ours stand between two marker comments, one block for each directory above runs. The block sets no variable, since a
variable in a crontab holds for each line below it, and needs none.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ckptkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BEGIN, END = "# ckptkit: begin ", "# ckptkit: end "
LONGEST_LINE = 990  # cron cuts a command off, or refuses it, at 1000
SWEEP = re.compile(r"bin/prune\b|\bckptkit['\"]?\s+prune\b")  # a line that a person wrote


def install(text: str, root: str, lines: Iterable[str]) -> str:
    """Given a crontab, return it with our lines for a root in place of earlier ones, else at its end.

    Raises UsageError if a begin marker of ours has no end.
    """
    ours = "".join(f"{line}\n" for line in (BEGIN + root, *lines, END + root))
    parts = list(_parts(text))
    if not any(of == root for of, _ in parts):
        return text + ("\n" if text and not text.endswith("\n") else "") + ours
    first = [of for of, _ in parts].index(root)
    return "".join(ours if i == first else "" if of == root else part for i, (of, part) in enumerate(parts))


def remove(text: str, root: str | None = None) -> str:
    """Given a crontab, return it without our lines for a root, None: for any. Raises UsageError as `install`."""
    return "".join(part for of, part in _parts(text) if of is None or root not in (None, of))


def blocks(text: str) -> dict[str, str]:
    """Given a crontab, return {root: our lines for it, with their markers}. Raises UsageError as `install`."""
    return {root: part for root, part in _parts(text) if root is not None}


def sweeps(text: str, run: str) -> bool:
    """Given a crontab, return whether a line of it prunes a run: one of ours for a root above it, or a person's."""
    try:
        parts = list(_parts(text))
    except UsageError:
        parts = [(None, text)]
    return any(_below(run, root) if root is not None else _by_hand(part) for root, part in parts)


def command(words: Sequence[str]) -> str:
    """Given words, return the command as it stands in a crontab: quoted for sh, and % for cron. Raises UsageError."""
    line = " ".join(_quoted(word) for word in words)
    if len(line) > LONGEST_LINE:
        raise UsageError(f"the line for cron is too long ({len(line)} characters; cron takes {LONGEST_LINE})")
    return line


def require_plain(root: str) -> None:
    """Raise UsageError if a name can't stand in every cron's crontab: each treats a backslash in its own way."""
    if "\\" in root or any(not c.isprintable() and not "\ud800" <= c <= "\udfff" for c in root):
        raise UsageError(f"{root!r}: no crontab line can hold a backslash or a control character; rename the directory")


def words_of(line: str) -> list[str]:
    """Given a line of ours, return the words of its command, and of its times."""
    try:
        return shlex.split(line)
    except ValueError:  # a hand was at it
        return line.split()


def _quoted(word: str) -> str:
    # Outside of quotes `\%` is % for cron and, where a cron leaves it alone (busybox), for the shell.
    return "\\%".join(shlex.quote(part) if part or not word else "" for part in word.split("%"))


def _parts(text: str) -> Iterator[tuple[str | None, str]]:
    """The crontab in order: (root, our block) and (None, what is not ours)."""
    root, held = None, ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):  # str.splitlines would also split at a form feed
        bare = line.removesuffix("\n")
        if bare.startswith(BEGIN):
            if root is not None:
                break
            if held:
                yield None, held
            root, held = bare.removeprefix(BEGIN), line
        elif root is not None and bare == END + root:
            yield root, held + line
            root, held = None, ""
        else:
            held += line
    if root is not None:
        raise UsageError(
            f"the crontab has the line {BEGIN + root!r} and not its end {END + root!r}: nothing was changed; "
            "correct it by hand; fix: crontab -e"
        )
    if held:
        yield None, held


def _below(run: str, root: str) -> bool:
    return (run + "/").startswith(root.rstrip("/") + "/")


def _by_hand(part: str) -> bool:
    return any(SWEEP.search(line) for line in part.split("\n") if not line.lstrip().startswith("#"))
