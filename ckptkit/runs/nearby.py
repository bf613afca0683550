"""What a person may have meant by a path that is no run: a run below it, beside it, or of a similar name.

Loaded only for an error message. It looks into few directories and few entries of each: never at a whole volume.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from ckptkit import calling, layouts
from ckptkit.calling import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_NAMED = 3
MOST_ENTRIES = 500  # of a directory
MOST_DIRECTORIES = 200
LEVELS = 2  # to look down
ALIKE = 0.75  # of two names, as difflib counts
NAMES_ONE = "RUN is the training's output_dir, which holds checkpoint-N"
NEEDS_ONE = {"pin", "unpin", "discard"}  # verbs that take a checkpoint


def missing(path: str, kind: str = "run") -> str:
    """Given a path that was typed and does not exist, return the sentence. kind: what it should have been."""
    meant = similar(path)
    if not meant:
        return f"no such {kind}: {shown(path)} does not exist; {NAMES_ONE}"
    return f"no such {kind}: {shown(path)} (did you mean {shown(meant)}?){_fix(path, meant)}"


def unnamed() -> str:
    """Of a command that was typed without RUN, return what it may have meant: a run here or below; else its help."""
    here = [os.curdir] if holds_checkpoint(os.curdir) else [os.path.relpath(run) for run in runs_below(os.curdir)]
    if not here:
        return f"{NAMES_ONE}; see {command(calling.verb(), '--help')}"
    fix = calling.completed(calling.place(max(here, key=_written_at)))
    there = "this directory is one" if here == [os.curdir] else f"below this directory: {_listed(here)}"
    return f"{there}; fix: {fix}"


def no_directory(path: str) -> str:
    """Given a path that was typed as RUN and is a file, or anything but a directory, return the sentence."""
    kind = "a file" if os.path.isfile(path) else "not a directory"
    message = f"no such run: {shown(path)} is {kind}; {NAMES_ONE}"
    above = next((run for run in _above(os.path.realpath(path)) if holds_checkpoint(run)), "")
    return message + (_fix(path, above) if above else "")


def no_checkpoint(path: str, below: Sequence[str], strays: Sequence[str] = ()) -> str:
    """Given a directory without a checkpoint, the runs below it, and names like a checkpoint's, return the sentence."""
    if layouts.step_of(os.path.basename(path)) and (calling.verb() or holds_checkpoint(os.path.dirname(path))):
        run = os.path.dirname(path)
        return f"no such run: {shown(path)} is a checkpoint; name its run, {shown(run)}{_fix(path, run)}"
    if below:
        return _parent(path, below)
    stray = f"; {shown(strays[0])} is not a checkpoint's name" if strays else ""
    return f"no such run: no checkpoint in {shown(path)}{stray}; {NAMES_ONE}"


def no_such_checkpoint(path: str) -> str:
    """Given what was typed as a checkpoint and is none, return the sentence, with those that are there."""
    real = os.path.realpath(path)
    names = sorted(filter(is_step, _entries(real)), key=lambda name: layouts.named(name)[1])
    if names:
        newest = os.path.join(path, names[-1])
        message = f"{shown(path)} is a run, not a checkpoint: name it in full, one of {_listed(names[::-1])}"
        return message + (_fix(path, newest) if calling.verb() != "discard" else "")
    if below := runs_below(real):
        return _parent(path, below)
    if not os.path.lexists(path) and (meant := similar(path)):
        fix = _fix(path, meant) if is_step(os.path.basename(meant)) and calling.verb() != "discard" else ""
        return f"no such checkpoint: {shown(path)} (did you mean {shown(meant)}?){fix}"
    return f"{shown(path)} is not a checkpoint: name it in full, such as RUN/checkpoint-1000"


def shown(path: str) -> str:
    """A path as a person reads it on one line."""
    return path if path.isprintable() and path.strip() == path and path else repr(path)


def _parent(path: str, below: Sequence[str]) -> str:
    real = os.path.realpath(path)
    newest = max(below, key=_written_at)
    names = [os.path.relpath(run, real) for run in below]
    runs = "1 run" if len(below) == 1 else f"{len(below)} runs"
    message = f"{shown(path)} holds no checkpoint itself, but {runs} below it: {_listed(names)}"
    if calling.verb() in NEEDS_ONE:
        example = shown(os.path.join(newest, _newest_name(newest)))
        return f"{message}; name a checkpoint of one in full, such as {example}"
    below_it = calling.again(path, "--recursive", path) if calling.verb() == "prune" else ""  # with -n, if it was there
    every = f"; all of them: {below_it}" if below_it else ""
    return f"{message}{every}{_fix(path, newest)}"


def _listed(names: Sequence[str]) -> str:
    more = f" (and {len(names) - MOST_NAMED} more)" if len(names) > MOST_NAMED else ""
    return ", ".join(map(shown, names[:MOST_NAMED])) + more


def _fix(path: str, instead: str) -> str:
    again = calling.again(path, instead)
    return f"; fix: {again}" if again else ""


def _written_at(run: str) -> float:
    with suppress(OSError):
        return os.stat(run).st_mtime  # a checkpoint was made there, or deleted
    return 0.0


def _newest_name(run: str) -> str:
    names = filter(is_step, _entries(run))
    return max(names, key=lambda name: layouts.named(name)[1], default="checkpoint-1000")


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


# --- runs around ----------------------------------------------------------------------------------------------------


def runs_below(directory: str) -> list[str]:
    """Given a directory, return the runs one or two levels below it, sorted; few, for a message."""
    return sorted(place for place in _directories(directory) if holds_checkpoint(place))


def holds_checkpoint(directory: str) -> bool:
    """Whether a checkpoint lies in a directory, by its name."""
    return any(map(is_step, _entries(directory)))


def similar(path: str, typo: bool = False) -> str:
    """Given a path that is not there, return the one that was probably meant: a run, or a checkpoint; "" if none.

    One of the same last name that lies one or two levels around, else one of a similar name beside it.
    typo: it may well be that a new one is meant, as run-6 beside run-5.
    """
    with suppress(OSError):  # the directory that a person stands in may be gone
        return _similar(path, typo)
    return ""


def _similar(path: str, typo: bool) -> str:
    parent, name = os.path.split(os.path.abspath(path).rstrip("/"))
    if is_step(name) and not os.path.isdir(parent):
        run = similar(os.path.dirname(path) or ".")
        return os.path.join(run, name) if run and os.path.isdir(os.path.join(run, name)) else ""
    around = _around(parent, above=not typo)
    same = [place for place in around if os.path.basename(place) == name]
    meant = _best(same) or _best(_close(name, parent, around))
    if typo and meant and _letters(os.path.basename(meant)) == _letters(name) and os.path.basename(meant) != name:
        return ""
    return _as_typed(meant, path) if meant else ""


def _letters(name: str) -> str:
    return "".join(c for c in name if not c.isdecimal())


def _around(parent: str, above: bool) -> list[str]:
    """Directories near where a path would lie, and near where a person stands: those below come first."""
    existing = next(place for place in (parent, *_above(parent)) if os.path.isdir(place))
    beside = (existing, os.getcwd())
    tops = dict.fromkeys((*beside, *map(os.path.dirname, beside)) if above else beside)
    return list(dict.fromkeys(place for top in tops if top != "/" for place in _directories(top)))


def _close(name: str, parent: str, around: Iterable[str]) -> list[str]:
    """Those of a similar name: beside the path that was typed, or runs anywhere around."""
    import difflib

    names: dict[str, list[str]] = {}
    for place in around:
        if os.path.dirname(place) == parent or holds_checkpoint(place):
            names.setdefault(os.path.basename(place), []).append(place)
    return [place for near in difflib.get_close_matches(name, names, 1, ALIKE) for place in names[near]]


def _best(places: Sequence[str]) -> str:
    """The first that holds a checkpoint; else, of a single one, that."""
    runs = [place for place in places if holds_checkpoint(place) or is_step(os.path.basename(place))]
    return next(iter(runs or (places if len(places) == 1 else ())), "")


def _as_typed(meant: str, path: str) -> str:
    """Relative where the person typed it so and it stays short."""
    near = os.path.relpath(meant)
    return meant if os.path.isabs(path) or near.startswith("../..") else near


def _directories(top: str) -> Iterator[str]:
    """The directories below, `LEVELS` down, the near ones first; no link and no checkpoint is entered."""
    level, left = [top], MOST_DIRECTORIES
    for _ in range(LEVELS):
        below = [os.path.join(place, name) for place in level for name in _children(place)][:left]
        left -= len(below)
        yield from below
        level = [place for place in below if not is_step(os.path.basename(place))]


def _children(directory: str) -> list[str]:
    with suppress(OSError), os.scandir(directory) as entries:
        some = islice(entries, MOST_ENTRIES)
        return sorted(e.name for e in some if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))
    return []


def _entries(directory: str) -> list[str]:
    with suppress(OSError), os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, MOST_ENTRIES)]
    return []


def is_step(name: str) -> bool:
    """Whether a name alone tells a checkpoint, such as checkpoint-1000."""
    return layouts.step_of(name) is not None
