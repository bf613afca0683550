"""A person at a terminal."""

import os
import pty
import subprocess
import sys

from tests.support.runs import CHECKOUT


def on_a_terminal(*words: str, typed: str = "", columns: int = 100) -> tuple[int, str]:
    """What a person sees who typed that beforehand: (exit code, all that came)."""
    parent, child = pty.openpty()
    os.write(parent, typed.encode())
    command = [sys.executable, "-m", "ckptkit", *map(str, words)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    seen = b""
    while True:
        try:
            block = os.read(parent, 65536)
        except OSError:  # the terminal is closed: the process ended
            break
        seen += block
    os.close(parent)
    return process.wait(), seen.decode()
