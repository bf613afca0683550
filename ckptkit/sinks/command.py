"""--exec CMD: run for each alert, without a shell."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from ckptkit.errors import UsageError
from ckptkit.events import Alert
from ckptkit.sinks import WHOLE_SECONDS, Sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Command(Sink):
    """The alert's JSON on stdin and its parts in CKPTKIT_ALERT_*; a name in it is data, never a word of a command."""

    def __init__(self, text: str, seconds: float = WHOLE_SECONDS) -> None:
        """text: words as a shell would split them; nothing in them is expanded. Raises UsageError."""
        try:
            self.words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--exec {text!r}: {error}") from None
        if not self.words:
            raise UsageError("--exec '': names no program")
        self.name, self.seconds = f"--exec {self.words[0]}", seconds

    def alert(self, alert: Alert, document: Mapping[str, Any]) -> None:
        """Raises OSError, TimeoutError or RuntimeError; whatever the program started is ended when its time is up."""
        parts = {f"CKPTKIT_ALERT_{key.upper()}": str(value) for key, value in document.items()}
        process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | parts,
            start_new_session=True,
        )
        try:
            process.communicate((json.dumps(document) + "\n").encode(), self.seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"did not end within {self.seconds:g} s, and was killed") from None
        finally:
            _end(process)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
