"""What a person may ask for: Range, Best and Rules, which refuse nonsense at construction, and the texts they parse.

From Python, from the shell and from a file the same is refused, in the same words. PURE.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from ckptkit import arguments
from ckptkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

Parsed = TypeVar("Parsed")

# Decimal, as disks are sold, `df -H` counts and we print: G and GB are 1000³; GiB is 1024³.
UNITS = {unit + suffix: base**power
         for power, unit in enumerate(("", "K", "M", "G", "T"))
         for suffix, base in (("", 1000), ("iB", 1024), ("B", 1000))}  # fmt: skip
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LEAVE_OUT = ", or None to leave the rule out"
BYTES = "must be a whole number of bytes above 0, or text such as '20G'"


# --- texts, as typed ------------------------------------------------------------------------------------------------


class Share(float):
    """Of the volume's size."""


def count(text: str, must: str = "must be a whole number above 0") -> int:
    """Given a whole number above 0 as typed, return it. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) == 0:
        raise ValueError(must)
    return int(text)


def limit(text: str) -> int:
    """Given a whole number as typed, 0 or more, return it. Raises ValueError."""
    return 0 if text == "0" else count(text, "must be a whole number, 0 or more")


def parse_range(text: str) -> Range:
    """Given N or N..M as typed, return the range. Raises ValueError."""
    must = "must be a whole number above 0, or a range such as 2..5"
    low, dots, high = text.partition("..")
    ends = count(low, must), count(high if dots else low, must)
    if ends[0] > ends[1]:
        raise ValueError("the lower end comes first, as in 2..5")
    return Range(*ends)


def parse_best(text: str) -> Best:
    """Given METRIC[:min|max][=N] as typed, return the rule. Raises ValueError."""
    match = re.fullmatch(r"([^:=\0]*[^:=\0\s][^:=\0]*)(?::(min|max))?(?:=([0-9]{1,9}))?", text, re.ASCII)
    if not match:
        raise ValueError("must be METRIC[:min|max][=N], as in eval_loss:min=2")
    metric, mode, number = match.groups()
    # As the Trainer's own greater_is_better: a loss is better when lower, all else when higher.
    mode = mode or ("min" if metric.endswith("loss") else "max")
    keep = count(number or "1", "N must be a whole number above 0, as in eval_loss:min=2")
    try:
        return Best(metric, mode, keep)
    except UsageError as error:  # a name that no log can hold, such as half of a surrogate pair
        raise ValueError(str(error)) from None


def duration(text: str) -> float:
    """Given a duration as typed (90s, 30m, 12h, 2d, 1w), return seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])", text, re.ASCII)
    if not match or float(match.group(1)) == 0:
        raise ValueError("must be a duration such as 90s, 30m, 12h, 2d, 1w")
    return float(match.group(1)) * SECONDS[match.group(2)]


def size(text: str) -> int:
    """Given a size as typed (500M, 20G, 20GB, 1.5T, 4096), return bytes. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGT]?(?:iB|B)?)", text, re.ASCII)
    size_bytes = int(float(match.group(1)) * UNITS[match.group(2)]) if match else 0
    if size_bytes == 0:
        raise ValueError("must be a size such as 500M, 20G, 1.5T")
    return size_bytes


def parse_target(text: str) -> int | Share:
    """Given SIZE or PERCENT% as typed, return bytes, or the share of the volume. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", text, re.ASCII):
        raise ValueError(f"a bare number may mean two things: type {text}G or {text}%")
    if not re.fullmatch(r"[0-9]{1,9}%", text, re.ASCII):
        try:
            return size(text)
        except ValueError:
            raise ValueError("must be a size or a share of the volume, such as 20G or 20%") from None
    percent = count(text[:-1], "must be from 1% to 99%")
    if percent >= 100:
        raise ValueError("must be from 1% to 99%: a volume can't be that free")
    return Share(percent / 100)


def parse_argument(name: str, value: str, parse: Callable[[str], Parsed]) -> Parsed:
    """Given an argument that is text, return what it means, parsed as on the command line. Raises UsageError."""
    try:
        return parse(value)
    except (ValueError, UsageError) as error:
        raise arguments.wrong(name, value, str(error)) from None


# --- values ---------------------------------------------------------------------------------------------------------


def _checks_itself(kind: type[Parsed]) -> type[Parsed]:
    """Let `_replace`, which calls `_make`, go through the constructor as well: what it makes is checked too."""
    kind._make = classmethod(lambda cls, items: cls(*items))  # type: ignore[attr-defined]
    return kind


class _Range(NamedTuple):
    low: int
    high: int


@_checks_itself
class Range(_Range):
    """Keep `low` always, and up to `high` while the free target holds.

    Both are whole numbers above 0, low first. Raises UsageError.
    """

    __slots__ = ()

    def __new__(cls, low: int, high: int) -> Range:
        """Check both ends."""
        ends = arguments.whole("low", low), arguments.whole("high", high)
        if low > high:
            raise arguments.wrong("low", low, f"must not be above high={high}: the lower end comes first, as in (2, 5)")
        return super().__new__(cls, *ends)

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}..{self.high}"


class _Best(NamedTuple):
    metric: str
    mode: Literal["min", "max"]
    keep: int


@_checks_itself
class Best(_Best):
    """Keep the `keep` checkpoints with the lowest (mode "min") or highest ("max") `metric`. Raises UsageError."""

    __slots__ = ()

    def __new__(cls, metric: str, mode: str, keep: int) -> Best:
        """Check each part."""
        name = arguments.text("metric", metric, "must be the name of a logged metric, such as 'eval_loss'")
        return super().__new__(cls, name, arguments.one_of("mode", mode, ("min", "max")), arguments.whole("keep", keep))

    def __str__(self) -> str:
        return f"{self.metric}:{self.mode}={self.keep}"


class _Rules(NamedTuple):
    keep_last: Range | None
    keep_best: Best | None
    keep_every: int | None
    keep_within: float | None
    free_target: int | None
    max_delete: int | None


@_checks_itself
class Rules(_Rules):
    """What a run keeps. A checkpoint is deleted only if every rule releases it; with no rule, all stay.

    keep_last: the newest so many, such as 2, or a Range, or "2..5"; the default is 2.
    keep_best: the best by a logged metric, such as "eval_loss:min=2".
    keep_every: those whose step is a multiple of so many steps.
    keep_within: those saved at most so many seconds before the newest, or text such as "2d".
    free_target: bytes that the volume should have available, or text such as "20G"; then keep_last is a range.
    max_delete: the most intact ones that one plan may delete, 0 or more.
    None leaves a rule out; 0 is refused. Raises UsageError with the argument's name.
    """

    __slots__ = ()

    def __new__(
        cls,
        keep_last: Range | int | str | None = 2,
        keep_best: Best | str | None = None,
        keep_every: int | None = None,
        keep_within: float | str | None = None,
        free_target: int | str | None = None,
        max_delete: int | None = None,
    ) -> Rules:
        """Check each rule, and parse what is text."""
        return super().__new__(
            cls, _last(keep_last), _best(keep_best), _every(keep_every), _within(keep_within), _target(free_target),
            _max_delete(max_delete),
        )  # fmt: skip

    def __repr__(self) -> str:
        """Say the number to keep and what else is set, as it is typed in Python."""
        rest = {name: value for name, value in self._asdict().items() if value is not None}
        return f"Rules({', '.join(f'{name}={_typed(rest.get(name))}' for name in {'keep_last': 0, **rest})})"

    @property
    def empty(self) -> bool:
        """Whether no rule is set, so that everything is kept."""
        return not (self.keep_last or self.keep_best or self.keep_every or self.keep_within)


def _typed(value: object) -> str:
    if isinstance(value, Range) and value.low == value.high:
        return str(value.low)
    return repr(str(value)) if isinstance(value, (Range, Best)) else repr(value)


def _last(value: object) -> Range | None:
    if value is None or isinstance(value, Range):
        return value
    if isinstance(value, str):
        return parse_argument("keep_last", value, parse_range)
    number = arguments.whole("keep_last", value, f"must be a whole number above 0{LEAVE_OUT}")
    return Range(number, number)


def _best(value: object) -> Best | None:
    if value is None or isinstance(value, Best):
        return value
    if not isinstance(value, str):
        raise arguments.wrong("keep_best", value, f"must be text such as 'eval_loss:min=2'{LEAVE_OUT}")
    return parse_argument("keep_best", value, parse_best)


def _every(value: object) -> int | None:
    must = f"must be a whole number above 0{LEAVE_OUT}"
    return None if value is None else arguments.whole("keep_every", value, must)


def _within(value: object) -> float | None:
    if isinstance(value, str):
        return parse_argument("keep_within", value, duration)
    must = f"must be a number of seconds above 0, or text such as '2d'{LEAVE_OUT}"
    return None if value is None else arguments.number("keep_within", value, must, zero=False)


def _target(value: object) -> int | None:
    if isinstance(value, str):
        value = parse_argument("free_target", value, parse_target)
        if isinstance(value, Share):
            raise UsageError(
                f"free_target='{value:.0%}': a share needs a volume, so give it to prune or plan themselves, "
                "as in ckptkit.prune(RUN, free_target='20%')"
            )
    most = int(arguments.LARGEST)
    return None if value is None else arguments.whole("free_target", value, BYTES + LEAVE_OUT, most=most)


def _max_delete(value: object) -> int | None:
    must = "must be a whole number, 0 or more, or None for no limit of your own"
    return None if value is None else arguments.whole("max_delete", value, must, least=0)


DEFAULT_RULES = Rules()
