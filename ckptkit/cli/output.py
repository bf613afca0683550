"""What reaches the person: results on stdout, messages on stderr, a log if asked for, and the exit code.

Nothing here may stop the work: with stdout, stderr or the log on a full disk, a sweep still frees it. What could not
be said is said at the end, when there may be room again.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NoReturn, TextIO

from ckptkit.errors import LockHeld
from ckptkit.units import printable

if TYPE_CHECKING:
    from argparse import Namespace

    from loguru import Logger

    from ckptkit.errors import CkptkitError
    from ckptkit.render.json import Document


class Output:
    """One call's voice. verb: the one that was typed. json: say one JSON document, and nothing else on stdout."""

    def __init__(self, verb: str, json: bool) -> None:
        self.verb, self.json = verb, json
        self.quiet = self.verbose = False
        self.colour: bool | None = None
        self._unsaid: list[tuple[TextIO, str]] = []
        self._log: Logger | None = None
        for stream in (sys.stdout, sys.stderr):
            # A name in an unknown encoding must not end a sweep; `reconfigure` exists on every real stream.
            getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")

    def configure(self, options: Namespace) -> None:
        """Take over what the common flags say. Raises UsageError if --log-to names what is not ours."""
        self.quiet, self.verbose = options.quiet, options.verbose
        self.colour = False if options.no_color else None
        if options.log_to:
            self._open_log(options.log_to, getattr(options, "dry_run", False))

    def result(self, text: str) -> None:
        """Say on stdout what was asked for; nothing under --json, which says it all in one document."""
        if text and not self.json:
            self._say(sys.stdout, text)
            self._record("INFO", text)

    def routine(self, text: str) -> None:
        """A result that -q leaves out: all went well."""
        if not self.quiet:
            self.result(text)
        else:
            self._record("INFO", text)

    def message(self, text: str) -> None:
        """Say something on stderr that a person should know; no name in it gets at the terminal."""
        text = "\n".join(map(printable, text.split("\n")))
        self._say(sys.stderr, f"{self.verb}: {text}")
        self._record("WARNING", text)

    def warn(self, text: str, shown: bool) -> None:
        """A message; one that the page on the terminal shows already goes to the log alone."""
        if shown:
            self._record("WARNING", text)
        else:
            self.message(text)

    def detail(self, text: str) -> None:
        """A message for -v."""
        if self.verbose:
            self.message(text)

    def document(self, content: Document) -> None:
        """Say the one JSON document of a call, under --json."""
        if self.json:
            import json

            self._say(sys.stdout, json.dumps({"schema": f"ckptkit.{self.verb}/1", **content}))

    def error(self, error: CkptkitError) -> int:
        """Tell an error in one line, as JSON too, and return its exit code."""
        self.document({"error": {"message": str(error), "exit_code": error.exit_code}})
        self.refusal(error)
        return error.exit_code

    def refusal(self, error: CkptkitError) -> None:
        """Say why a run, or all of a call, was left as it is. -q leaves out that a guarded save is running there."""
        line = printable(str(error))
        if self.quiet and isinstance(error, LockHeld) and error.saving:
            self._record("INFO", line)
        else:
            self.message(line)

    def unexpected(self, error: Exception) -> int:
        """Tell what nobody thought of, with where it happened, and return exit code 1."""
        import traceback

        self.document({"error": {"message": f"unexpected: {error!r}", "exit_code": 1}})
        self.message(f"unexpected: {error!r}\n{traceback.format_exc()}")
        return 1

    def use_colour(self) -> bool:
        """Whether the result goes to a terminal that wants colour: NO_COLOR and TERM=dumb are heard."""
        if self.colour is not None or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
            return False
        return sys.stdout.isatty()

    def shows_progress(self) -> bool:
        """Whether a person at a terminal waits for the result."""
        return sys.stderr.isatty() and not self.quiet and not self.json and os.environ.get("TERM") != "dumb"

    def can_ask(self) -> bool:
        """Whether a person is there who reads the question and can answer it."""
        terminals = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        return terminals and not self.quiet and not self.json

    def ask(self, question: str) -> bool:
        """Whether a person at the terminal says yes; anything else, and the end of input, is a no."""
        print(f"{self.verb}: {question} [y/N] ", end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline()
            if not line.endswith("\n"):  # the end of input: what is said next begins a line
                print(file=sys.stderr, flush=True)
            answer = line.strip().lower() in ("y", "yes")
        except (OSError, ValueError):  # the terminal is gone, or what was typed is no text
            answer = False
        self._record("WARNING", f"{question} {'yes' if answer else 'no'}")
        return answer

    def finish(self, code: int) -> NoReturn:
        """Say what could not be said before, and exit. What still can't be said turns success into failure."""
        self._close_log()
        self._drain()
        stop(code if not self._unsaid or code else 1)

    def _say(self, stream: TextIO, text: str) -> None:
        self._unsaid.append((stream, text))
        self._drain()

    def _drain(self) -> None:
        """Say all that waits, in order; what a full disk refuses waits on."""
        waiting, self._unsaid = self._unsaid, []
        for stream, text in waiting:
            if any(refused is stream for refused, _ in self._unsaid) or not _print(stream, text):
                self._unsaid.append((stream, text))

    def _open_log(self, path: str, dry_run: bool) -> None:
        from ckptkit.cli import log_file

        try:
            self._log = log_file.open_log(path, dry_run)
        except (OSError, ImportError) as error:
            self.message(f"--log-to {path!r}: {error}; going on without it")

    def _record(self, level: Literal["INFO", "WARNING"], text: str) -> None:
        if self._log is not None:
            with suppress(OSError):  # a full disk: the line waits in the file's buffer for what the sweep frees
                self._log.log(level, "{}", f"{self.verb}: {text}")

    def _close_log(self) -> None:
        """What the disk still refuses is lost, and told in one line if there is anybody to tell: the work is done."""
        log, self._log = self._log, None
        try:
            if log is not None:
                log.remove()
        except (OSError, ValueError) as error:
            fault = getattr(error, "strerror", None) or error
            _print(sys.stderr, f"{self.verb}: --log-to: {fault}; its last lines are lost")


def _print(stream: TextIO, text: str) -> bool:
    """Whether the text is out, or nobody wants it any more."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _discard(stream)  # `| head` has read enough
    except (OSError, ValueError):
        _discard(stream)
        return False
    return True


def _discard(stream: TextIO) -> None:
    """Drop what the stream still holds, so that the interpreter's own flush at exit does not fail on it again."""
    try:
        saved = os.dup(stream.fileno())
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), stream.fileno())
            stream.flush()
        os.dup2(saved, stream.fileno())
        os.close(saved)
    except (OSError, ValueError):
        pass


def stop(code: int, text: str = "") -> NoReturn:
    """Exit, after a last word: on stdout if all is well, else on stderr. What can't be said is no success."""
    if text and not _print(sys.stderr if code else sys.stdout, text):
        code = code or 1
    sys.exit(code)
