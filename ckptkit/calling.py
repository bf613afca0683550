"""How a person calls us, so that each command that we print can be pasted where it is read.

A terminal gets the name that was typed there. All that may be read elsewhere (a log, a mail, a page, the training's own
output) gets an absolute path. Commands are built here and nowhere else: `command("prune", run, "--dry-run")`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin")  # of a checkout
ELSEWHERE = {"--log-to", "--html", "--json", "-q", "--quiet"}  # what is said will be read in another place
WRAPPER = "CKPTKIT_CALLED"  # bin/.python leaves there what was typed

_before: list[str] | None = None  # words before the verb, None: an absolute path
_typed: tuple[str, ...] = ()  # the verb and its arguments; none from Python
_script = ""  # absolute path of the console script that was called, "" if it was something else
_directory = ""  # of the scripts in bin/, as typed; "" if it was not one of them that was called


def command(verb: str, *words: str) -> str:
    """Given a verb, and flags and paths as they are, return the shell command that a person can paste."""
    from shlex import join

    typed = bool(_directory or _before)
    return join([*_verb_words(verb), *(words if typed else map(_rooted, words))])


def absolutely(verb: str, *arguments: str) -> str:
    """The same for another terminal, user or day: `sudo`, cron and a page know nothing of our PATH or directory."""
    from shlex import join

    return join([*words(verb), *map(_rooted, arguments)])


def program() -> str:
    """What a verb follows: `ckptkit`, as the person calls it."""
    from shlex import join

    return join(_before or _outside())


def spelled(*before: str) -> None:
    """Spell each command with these words before its verb, whatever called us: for what is read on other machines."""
    global _before, _directory
    _before, _directory = list(before), ""


def words(verb: str) -> list[str]:
    """The words that call a verb from anywhere: what cron and a timer run."""
    if _script:
        return [_script, verb]
    if _in_checkout():
        return [os.path.join(SCRIPTS, verb)]
    return [*_outside(), verb]


def place(path: str) -> str:
    """A path for a command: as it was typed on a terminal; elsewhere nobody knows from which directory."""
    return path if _directory or _before is not None else os.path.abspath(path)


def verb() -> str:
    """The verb that was typed, "" from Python."""
    return _typed[0] if _typed else ""


def again(path: str, *instead: str) -> str:
    """Given a path that was typed, and words for its place, return the same command with these; "" from Python."""
    real = os.path.realpath(path)
    changed = [new for word in _typed[1:] for new in (instead if os.path.realpath(word) == real else (word,))]
    return command(_typed[0], *changed) if _typed and changed != list(_typed[1:]) else ""


def repeated(*words: str) -> str:
    """What was typed, with more flags at its end; "" from Python."""
    return command(*_typed, *words) if _typed else ""


def completed(path: str) -> str:
    """The command that was typed, with the RUN that was left out; "" from Python."""
    return command(_typed[0], *_typed[1:], path) if _typed else ""


def started(arguments: Sequence[str]) -> None:
    """Note how this process was called; the command line alone does. arguments: those after the program's name."""
    global _before, _directory, _script, _typed
    _typed, _script = tuple(arguments), _console_script()
    wrapper = os.environ.pop(WRAPPER, "")  # not for what we start
    terminal = _is_terminal() and not ELSEWHERE & {word.split("=", 1)[0] for word in arguments}
    _before, _directory = None, ""
    if not terminal:
        return
    if wrapper:
        _directory = os.path.dirname(wrapper) or "."
    elif os.path.basename(sys.argv[0]) == "__main__.py":
        _before = None if _in_checkout() else _module_words()
    elif _on_path(sys.argv[0]):
        _before = [os.path.basename(sys.argv[0])]
    else:
        _before = [sys.argv[0]]


def _verb_words(verb: str) -> list[str]:
    """The words that call a verb, as the person called us."""
    if _directory:
        return [f"{_directory}/{verb}"]
    return words(verb) if _before is None else [*_before, verb]


def _outside() -> list[str]:
    """The command of an installation, from anywhere."""
    beside = os.path.join(os.path.dirname(sys.executable), "ckptkit")
    return [beside] if os.access(beside, os.X_OK) else [sys.executable, "-m", "ckptkit"]


def scripts() -> str:
    """The directory of bin/'s scripts, "" outside of a checkout."""
    return os.path.realpath(SCRIPTS) if _in_checkout() else ""


def pip_install(*packages: str) -> str:
    """What puts libraries beside us, whichever tool made this environment: uv's have no pip of their own."""
    from importlib.util import find_spec
    from shlex import join

    pip = [sys.executable, "-m", "pip", "install"]
    uv = ["uv", "pip", "install", "--python", sys.executable]
    return join([*(pip if find_spec("pip") else uv), *packages])


def _in_checkout() -> bool:
    return os.access(os.path.join(SCRIPTS, "prune"), os.X_OK)


def _console_script() -> str:
    """The console script by which we were called, from anywhere; "" if it was something else."""
    called = os.path.abspath(sys.argv[0])
    return called if os.path.basename(called) == "ckptkit" and os.path.isfile(called) else ""


def _rooted(word: str) -> str:
    """A path as it was typed, for who reads it in another directory."""
    typed = os.sep in word and not word.startswith(("-", os.sep)) and os.path.lexists(word)
    return os.path.abspath(word) if typed else word


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed, or none at all
        return False


def _module_words() -> list[str]:
    """`python -m ckptkit`, with the interpreter and its flags as typed."""
    typed = list(getattr(sys, "orig_argv", ()))
    return typed[: typed.index("ckptkit") + 1] if "ckptkit" in typed else [sys.executable, "-m", "ckptkit"]


def _on_path(program: str) -> bool:
    """Whether its bare name calls it."""
    name = os.path.basename(program)
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        candidate = os.path.join(directory, name)
        if directory and os.access(candidate, os.X_OK):
            return os.path.realpath(candidate) == os.path.realpath(program)
    return False
