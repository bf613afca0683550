"""A box of its own: no crontab, process, tmux or systemd of this machine is seen there, and none is changed."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.replay.scenario import OTHER_USER
from tests.support.runs import CHECKOUT, NOBODY

PRELUDE = """
set -e
mount -t tmpfs tmpfs /var/spool/cron; mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
mount -t tmpfs tmpfs /run
mkdir -p "$BOX/var-log"; mount --bind "$BOX/var-log" /var/log
ckptkit() { "$PYTHON" -m ckptkit "$@"; }
# A person at a terminal who types an answer: answered y cron --install RUNS
answered() {
  answer=$1; shift
  printf '%s\\n' "$answer" | script -qec "$PYTHON -m ckptkit $*" /dev/null | tr -d '\\r'
  return "${PIPESTATUS[1]}"
}
# As cron does with its lines: % is unescaped, and sh runs the command with next to nothing.
now() {
  crontab -l | sed -n "s/^[*0-9/]* [*0-9]* \\* \\* \\* //p" | grep "/$1 " | sed 's/\\\\%/%/g' >"$BOX/line"
  (cd /; env -i HOME=/root SHELL=/bin/sh PATH=/usr/bin:/bin sh "$BOX/line")
}
"""


def box(folder: Path, script: str, check: bool = True, **environment: Any) -> subprocess.CompletedProcess[str]:
    """Run a bash script there, as root; returns what it said. folder: $BOX, for its own files."""
    environment = {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHON": sys.executable,
        "BOX": str(folder),
        "CKPTKIT_PYTHON": sys.executable,
        "CKPTKIT_STATE": f"{folder}/state",
        "COLUMNS": "300",
        "NOBODY": shlex.join((*OTHER_USER, f"--regid={NOBODY}")),
    } | {key: str(value) for key, value in environment.items()}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CKPTKIT_", "TMUX"))}
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", PRELUDE + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept | environment)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
