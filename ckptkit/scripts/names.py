"""Which words and patterns mean checkpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptkit.scripts.value import CHECKPOINTS, CLOSE, LISTED, NUMBERS, OPEN, OTHER, OTHERS, OUTPUT, TIMES

if TYPE_CHECKING:
    from ckptkit.scripts.value import Hint, Order, Source

WORD = re.compile(r"(?i)(?<!tmp-)(?<!tmp_)(checkpoint|ckpt(?!kit)|global_step)")
# A name that says that it holds several: checkpoints, old_ckpts, checkpoint_dirs, checkpoints_to_be_deleted.
SEVERAL = re.compile(
    r"(?i)(^|_)((checkpoint|ckpt)s?_?(dirs|files|paths|folders|list|names)|checkpoints|ckpts)"
    r"(_(sorted|list|all|found|paths|dirs|files|names|old|(to_)?(be_)?(delete|deleted|remove|removed|prune)))?$"
)
NOT_THEM = re.compile(r"(?i)(^|_)(non?|not|other|keep|kept|best|num|n|nb|max|min|total|limit|count|save)_")
OUTPUT_DIR = re.compile(r"(?i)(out(put)?|save|run)_?(dir|path|folder|root)|(checkpoints?|ckpts?)_?(dir|folder|root)")
SEVERAL_DIR = re.compile(r"(?i)^[\w.-]*(checkpoints|ckpts)$")  # a directory of them, spelt out
ONE = re.compile(rf"{WORD.pattern}[-_]?{OPEN}")  # the one of a step that is in a variable
WILD = re.compile(r"[*?\[]")


def means_checkpoints(text: str) -> bool:
    """Whether a pattern, a prefix or a part of a name is that of checkpoints."""
    return bool(WORD.search(text))


def says_several(name: str) -> bool:
    """Whether a variable's name says that it holds checkpoints."""
    return bool(SEVERAL.search(name)) and not NOT_THEM.search(name)


def listing_of(pattern: str) -> Source:
    """Given the pattern of a listing, with names that are not known between marks, return what it lists."""
    parts = [part for part in pattern.replace("\\", "/").split("/") if part not in ("", ".", "**")]
    last = parts[-1] if parts else ""
    if last.strip("*"):
        return CHECKPOINTS if WILD.search(last) and WORD.search(last) and not ONE.search(last) else OTHERS
    directory = parts[-2] if len(parts) > 1 else ""
    if WILD.search(directory):
        return CHECKPOINTS if WORD.search(directory) else LISTED
    if OUTPUT_DIR.search(directory) or SEVERAL_DIR.search(directory):
        return OUTPUT
    return OTHERS if WORD.search(directory) else LISTED  # what lies in one checkpoint is none


def lies_in(after: str) -> bool:
    """Whether what follows a checkpoint's name in a path leads to something in it."""
    return bool(re.search(r"/[^/*]", after))


def unknown(name: str) -> str:
    """Return a name as it stands in a text whose value is not known."""
    return f"{OPEN}{name}{CLOSE}"


def clean(text: str) -> str:
    """Return a constant of a script without the marks of our own."""
    return text.replace(OPEN, "").replace(CLOSE, "")


def hint_of(text: str) -> Hint:
    """What a test for that text says of a name, if it is true. A text that is not known says nothing."""
    if means_checkpoints(text):
        return "checkpoint"
    return "other" if re.search(r"[A-Za-z]{2}", re.sub(f"{OPEN}[^{CLOSE}]*{CLOSE}", "", text)) else ""


def measure_of(name: str) -> Order:
    """By what a function or a field of that name sorts, as far as its name says so."""
    if re.search(r"(?i)step|num|iter|epoch|nat|digit|version|index", name):
        return NUMBERS
    return TIMES if re.search(r"(?i)time|date|age\b", name) else OTHER


def opposite(hint: Hint) -> Hint:
    """What a test says if it is false. That it is not one of the others says nothing."""
    if hint == "checkpoint":
        return "not-checkpoint"
    return "checkpoint" if hint == "not-checkpoint" else ""


def refined(source: Source, hint: Hint) -> Source:
    """Given what a listing holds, return what those of it hold of which the hint is true."""
    if source and hint == "checkpoint":
        return CHECKPOINTS
    if source and hint == "not-checkpoint":
        return OTHERS
    return OTHERS if hint == "other" and source in (LISTED, OUTPUT) else source
