"""The places of a Python script that delete checkpoints. It is parsed, never imported, and nothing of it is run."""

from __future__ import annotations

import ast
import re
import warnings

from ckptkit.model.advice import Cleanup
from ckptkit.scripts.state import TooMuchError
from ckptkit.scripts.statements import Statements
from ckptkit.scripts.value import NAMES, NUMBERS

DELETES = re.compile(r"rmtree|unlink|rmdir|remove|trash|\brm\b|-delete")  # what has none of these is read in no time

# Names of one length, which the script gives to its own saves: their text sorts as their numbers do.
PADDED = re.compile(r"(?i)(checkpoint|ckpt|global_step)[-_]?(\{[^{}]*:0\d+d?\}|%0\d+d)")


class NoScriptError(Exception):
    """A text that can't be read as a script, and why."""


def places(text: str) -> tuple[Cleanup, ...]:
    """Given a script's text, return where it deletes checkpoints and by which order, by line. Raises NoScriptError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a person's backslashes
            tree = ast.parse(text)
        state = Statements(tree)
        if DELETES.search(text):
            state.read(tree)
    except SyntaxError as error:
        raise NoScriptError(f"line {error.lineno or 1}: {error.msg}") from None
    except ValueError as error:  # a NUL byte, before Python 3.12
        raise NoScriptError(str(error)) from None
    except (RecursionError, MemoryError):
        raise NoScriptError("is nested too deeply") from None
    except TooMuchError:
        raise NoScriptError("is too long to be followed to its end") from None
    padded = bool(PADDED.search(text))
    return tuple(
        Cleanup(line, NUMBERS if padded and order == NAMES else order, in_class)
        for line, (order, _, in_class) in sorted(state.deletions.items())
    )
