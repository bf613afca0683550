"""What a caller gave, checked: each function returns the value, or raises UsageError with the argument's name.

`prune(RUN, dry_run="no")` would delete, `Range(-1, -1)` would keep the wrong ones: nothing is taken for what it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ckptkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST = 999_999_999  # as many digits as a flag takes
LARGEST = float(1 << 100)  # of bytes and seconds: far beyond all that there is, and whole sums of them stay finite
SHOWN = 60  # characters of a value

Word = TypeVar("Word", bound=str)
Function = TypeVar("Function", bound="Callable[..., Any]")


def wrong(name: str, value: object, must: str) -> UsageError:
    """The error for an argument: its name, the value, and what it must be, in words."""
    return UsageError(f"{name}={shown(value)}: {must}")


def shown(value: object) -> str:
    """A value as Python writes it, on one line, cut where it gets long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - it is a stranger's code
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def whole(
    name: str, value: object, must: str = "must be a whole number above 0", least: int = 1, most: int = MOST
) -> int:
    """A whole number from `least` to `most`: neither a float nor a bool. must: what it must be, in words."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(name, value, must)
    if value > most:
        raise wrong(name, value, f"{must}, and at most {most:,}")
    return int(value)


def number(name: str, value: object, must: str, zero: bool = True) -> float:
    """A finite number, 0 or more; above 0 if not `zero`. NaN is refused, a bool too. must: what it must be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(name, value, must)
    if not (0 <= value <= LARGEST) or (value == 0 and not zero):
        raise wrong(name, value, must)
    return float(value)


def moment(name: str, value: object) -> float | None:
    """Seconds since the epoch, or None for now."""
    must = "must be a finite number of seconds since the epoch, or None for now"
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -LARGEST <= value <= LARGEST:
        raise wrong(name, value, must)
    return float(value)


def switch(name: str, value: object) -> bool:
    """True or False themselves: "no" would count as true, and delete."""
    if not isinstance(value, bool):
        raise wrong(name, value, "must be True or False")
    return value


def one_of(name: str, value: object, known: Iterable[Word]) -> Word:
    """One of the words that are known."""
    words = tuple(known)
    for word in words:
        if isinstance(value, str) and value == word:
            return word
    raise wrong(name, value, f"must be one of {', '.join(words)}")


def function(name: str, value: Function | None) -> Function | None:
    """Something that can be called, or None."""
    if value is not None and not callable(value):
        raise wrong(name, value, "must be a function, or None")
    return value


def text(name: str, value: object, must: str = "must be text that is not empty") -> str:
    """Text with something in it that can be written: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or not value.strip() or "\0" in value or not _can_be_written(value):
        raise wrong(name, value, must)
    return value


def _can_be_written(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")  # a name on the disk may be no text
    except UnicodeEncodeError:
        return False
    return True
