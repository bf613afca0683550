"""The box's own tools (crontab, tmux, systemctl, quota, du), called with plain words and without a shell, through sh.

What frees space calls none of them, and needs no package.
"""

from __future__ import annotations

import codecs
import errno
import os
import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptkit.calling import pip_install
from ckptkit.errors import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 30.0
NAMES = "ckptkit_names"  # the encoding of words: sh's own refuses a name that is no text


class Called(NamedTuple):
    """What a tool said and how it ended; 127 if it could not be started, 124 if it did not end in time."""

    code: int
    out: str
    err: str


def call(words: Sequence[str], given: str = "", seconds: float = SECONDS, **streams: Any) -> Called:
    """Run a tool to its end, with a text on its stdin. Its words are English, and names that are no text survive.

    seconds: then it is killed. streams: sh's own `_out` and `_err`, called with what comes as it comes, in a thread of
    its own; that is not returned then. Raises NotInstalled if this Python has no sh.
    """
    try:
        running = _start(words, _in=os.fsencode(given), **streams)
    except OSError as error:
        return Called(127, "", f"{words[0]}: {error.strerror}")
    if not _ends_within(running, min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
        return Called(124, "", f"{words[0]} did not end in {seconds:.0f} s")
    return Called(running.exit_code, os.fsdecode(running.stdout), os.fsdecode(running.stderr).strip())


def _start(words: Sequence[str], **options: Any) -> Any:
    """Return sh's running command. options: sh's own. Raises NotInstalled, and OSError if it can't be started."""
    sh = _sh()
    try:
        return sh.Command(words[0])(
            *words[1:],
            _env=os.environ | {"LC_ALL": "C"},
            _ok_code=range(256),  # any exit code is an answer
            _tty_out=False,  # else the tool is given a terminal, and writes for one
            _encoding=NAMES,
            _bg=True,
            _bg_exc=False,
            **options,
        )
    except sh.CommandNotFound:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    except sh.ForkException:
        raise PermissionError(errno.EACCES, "it can't be run") from None


def _ends_within(running: Any, seconds: float) -> bool:
    """Wait for the end of sh's running command, and kill it after that time; return whether it ended by itself.

    sh's own limits look at the process ten times a second, and with one of them each call takes a tenth of a second.
    """
    expired = threading.Event()

    def end() -> None:
        if running.is_alive():
            expired.set()
            with suppress(ProcessLookupError):  # it ended this very moment
                running.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        with suppress(_sh().ErrorReturnCode):  # by a signal
            running.wait()
    finally:
        timer.cancel()
    return not expired.is_set()


def is_installed(package: str) -> bool:
    """Whether this Python can import a package."""
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def _sh() -> Any:
    try:
        import sh
    except ImportError:
        raise NotInstalled("sh", pip_install("sh")) from None
    return sh


def _names(encoding: str) -> codecs.CodecInfo | None:
    """The file system's own encoding, with which the bytes of any name come back as they were."""
    if encoding != NAMES:
        return None
    return codecs.CodecInfo(
        lambda text, _="": (os.fsencode(text), len(text)), lambda raw, _="": (os.fsdecode(bytes(raw)), len(raw))
    )


codecs.register(_names)
