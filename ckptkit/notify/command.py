"""--exec CMD: run for each alert, without a shell."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit.errors import UsageError
from ckptkit.notify.sink import WHOLE_SECONDS, AlertSink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptkit.model.events import Alert

OPERATORS = ("|", "||", "&&", ">", ">>", "<", ">&")  # as words of their own: meant for a shell


class CommandSink(AlertSink):
    """The alert's JSON on stdin and its parts in CKPTKIT_ALERT_*; a name in it is data, never a word of a command."""

    def __init__(self, text: str, seconds: float = WHOLE_SECONDS) -> None:
        """text: words as a shell would split them; nothing in them is expanded. Raises UsageError."""
        try:
            self.words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--exec {text!r}: {error}") from None
        if not self.words:
            raise UsageError("--exec '': names no program")
        if operator := next(filter(_is_operator, self.words), ""):
            shell = shlex.quote(shlex.join(["sh", "-c", text]))
            raise UsageError(f"--exec runs without a shell, which {operator!r} needs; type --exec {shell}")
        self.name, self.seconds = f"--exec {self.words[0]}", seconds

    def alert(self, alert: Alert, document: Mapping[str, object]) -> None:
        """Raises OSError, TimeoutError or RuntimeError; whatever the program started is ended when its time is up."""
        parts = {f"CKPTKIT_ALERT_{key.upper()}": str(value) for key, value in document.items()}
        process = self._started(os.environ | parts)
        try:
            process.communicate((json.dumps(document) + "\n").encode(), self.seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"did not end within {self.seconds:g} s, and was killed") from None
        finally:
            _end(process)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}")

    def _started(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        null = subprocess.DEVNULL  # not sh: its time limit ends the program alone, not what that started
        try:
            return subprocess.Popen(
                self.words, stdin=subprocess.PIPE, stdout=null, stderr=null, env=environment, start_new_session=True
            )
        except FileNotFoundError:
            raise FileNotFoundError("no such program") from None


def _is_operator(word: str) -> bool:
    return word.strip("0123456789") in OPERATORS or (word.endswith(";") and word != ";")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
