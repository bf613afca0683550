"""What is known of a value in a script: whether it names checkpoints, in which order they stand, which were chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# By what a script chooses the checkpoints that it deletes, the worst first.
NAMES: Final = "names"  # the order of text
LISTING: Final = "listing"  # as the disk lists them: any order
TIMES: Final = "times"
NUMBERS: Final = "numbers"
OTHER: Final = "other"  # by something that can't be told from the script
ALL: Final = "all"  # it chooses none: it deletes each that it meets
Order = Literal["names", "listing", "times", "numbers", "other", "all"]
WORST_FIRST: tuple[Order, ...] = (NAMES, LISTING, TIMES, NUMBERS, OTHER, ALL)


# What a value holds, the surest first.
CHECKPOINTS: Final = "checkpoints"
OUTPUT: Final = "output"  # all that lies in an output_dir
LISTED: Final = "listed"  # what lies in some directory
OTHERS: Final = "others"  # things that are no checkpoints
Source = Literal["checkpoints", "output", "listed", "others", ""]
SUREST_FIRST: tuple[Source, ...] = (CHECKPOINTS, OUTPUT, LISTED, OTHERS, "")

# By what a value itself sorts, and what a true test says of it; "" where nothing is known.
Measure = Literal["names", "listing", "times", "numbers", "other", "all", ""]
Hint = Literal["checkpoint", "other", "not-checkpoint", "reckoned", ""]

OPEN, CLOSE = "\ue000", "\ue001"  # around a name in a text whose value is not known


class Value(NamedTuple):
    """One value, or the items of one.

    text: as far as it is known, names between OPEN and CLOSE. source: what it holds, "" if it comes from no listing.
    depth: 0 one item, 1 a sequence, 2 a sequence of sequences. order: how a sequence was sorted, empty: not at all.
    picks: by which orders a part was chosen. measure: NUMBERS, TIMES or OTHER if that is what it sorts by, "" for text.
    fields: the measures of its parts, if it is made of some, as a pair of step and path is.
    root: the loop that it comes from. hint: what a true test says of the items of that loop: "checkpoint", "other",
    "not-checkpoint". assumed: only its name says that it holds checkpoints. function: what it is, if it can be called.
    """

    text: str = ""
    source: Source = ""
    depth: int = 0
    order: frozenset[Order] = frozenset()
    picks: frozenset[Order] = frozenset()
    measure: Measure = ""
    fields: tuple[Measure, ...] = ()
    root: int = 0
    hint: Hint = ""
    assumed: bool = False
    function: Any = None

    @property
    def listed(self) -> bool:
        """Whether it comes from a listing."""
        return bool(self.source)


NOTHING = Value()


def join(values: Iterable[Value]) -> Value:
    """Return what holds of any of these: the surest source, every order and choice."""
    every = list(values)
    if len(every) < 2:
        return every[0] if every else NOTHING
    texts = {value.text for value in every if value.text}
    known = [value for value in every if value.listed] or every
    return Value(
        text=texts.pop() if len(texts) == 1 else "",
        source=min((value.source for value in every), key=SUREST_FIRST.index),
        depth=max(value.depth for value in every),
        order=frozenset().union(*(value.order for value in known)),
        picks=frozenset().union(*(value.picks for value in every)),
        measure=next((value.measure for value in known if value.measure), ""),
        fields=next((value.fields for value in known if value.fields), ()),
        root=next((value.root for value in known if value.root), 0),
        hint=next((value.hint for value in every if value.hint), ""),
        assumed=all(value.assumed for value in known),
        function=next((value.function for value in every if value.function), None),
    )


def item(value: Value, root: int = 0) -> Value:
    """Return one item of a sequence. root: the loop that goes through it."""
    return value._replace(text="", depth=max(0, value.depth - 1), root=root or value.root, function=None)


def field(value: Value, number: int) -> Value:
    """Return one part of what is made of parts."""
    if not value.fields:
        return value if not number else value._replace(measure="")
    return value._replace(measure=value.fields[number] if -1 <= number < len(value.fields) else "", fields=())


def picked(value: Value) -> Value:
    """Return a part of a sequence that was chosen by its place in it."""
    return value._replace(picks=value.picks | (value.order or {LISTING})) if value.listed else value


def chosen(value: Value, picks: frozenset[Order]) -> Value:
    """Return what a test let through. A choice by place counts more: a test beside it spares one or the other."""
    return value if value.picks else value._replace(picks=picks)


def sorted_by(value: Value, order: Order) -> Value:
    """Return a sequence in that order."""
    return value._replace(order=frozenset({order}), depth=max(1, value.depth))


def worst(picks: Iterable[Order]) -> Order:
    """Return by what a deletion chooses, given every order that has a say in it."""
    return min(picks, key=WORST_FIRST.index, default=ALL)
