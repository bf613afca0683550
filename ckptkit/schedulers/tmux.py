"""tmux: a detached session with two windows for each directory above runs: the monitor, and a loop that prunes.

For a box with neither cron nor systemd. It ends with the box.
"""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from ckptkit.errors import SchedulerError, UsageError
from ckptkit.schedulers.box_tools import installing
from ckptkit.system.tools import Called, call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.model.schedule import Job

SESSION = "ckptkit"
MARK = "@ckptkit-runs"  # a user option of each window of ours: whose runs it looks after
EVERY_SECONDS = 600
AGAIN_SECONDS = 10  # after a monitor that ended


def require() -> None:
    """Raise UsageError if there is no tmux."""
    if not shutil.which("tmux"):
        raise UsageError(f"tmux is not installed on this box; fix: {installing('tmux')}")


def scripts(jobs: Sequence[Job]) -> dict[str, str]:
    """Given jobs, return {name of the window: what sh runs in it}."""
    commands = {job.verb: shlex.join(job.words) for job in jobs}
    return {
        "monitor": f"while :; do {commands['monitor']}; sleep {AGAIN_SECONDS}; done",
        "prune": f"while :; do {commands['prune']} </dev/null; sleep {EVERY_SECONDS}; done",
    }


def windows() -> dict[str, list[str]]:
    """{root: the windows of ours for it}; none where no tmux of this user runs."""
    if not shutil.which("tmux") or not os.path.isdir(_sockets()):
        return {}
    by_root: dict[str, list[str]] = {}
    done = call(["tmux", "list-windows", "-a", "-F", f"#{{window_id}} #{{{MARK}}}"])
    for line in done.out.split("\n") if done.code == 0 else ():
        window, _, root = line.partition(" ")
        if root:
            by_root.setdefault(_read(root), []).append(window)
    return by_root


def text(root: str) -> str:
    """What runs for a root, as `scripts` gave it; "" if nothing does."""
    lines = []
    for window in windows().get(root, ()):
        done = call(["tmux", "show-options", "-wqv", "-t", window, f"{MARK}-script"])
        lines.append(_read(done.out.removesuffix("\n")))
    return "\n".join(lines)


def install(root: str, jobs: Sequence[Job]) -> None:
    """Start the windows of a root, then end those that ran for it before. Raises SchedulerError."""
    before = windows().get(root, [])
    for name, script in scripts(jobs).items():
        _start(name, root, script)
    _end(before)


def remove(root: str) -> None:
    """End the windows of a root; the session ends with its last window."""
    _end(windows().get(root, []))


def _start(name: str, root: str, script: str) -> None:
    exists = call(["tmux", "has-session", "-t", f"={SESSION}"]).code == 0
    where = ["new-window", "-d", "-t", f"={SESSION}:"] if exists else ["new-session", "-d", "-s", SESSION, "-c", "/"]
    done = _required(["tmux", *where, "-n", name, "-P", "-F", "#{window_id}", "sh", "-c", script])
    window = done.out.strip()
    _required(["tmux", "set-option", "-w", "-t", window, MARK, _written(root)])
    _required(["tmux", "set-option", "-w", "-t", window, f"{MARK}-script", _written(script)])


def _sockets() -> str:
    """Where servers of this user would listen. Asked of any, tmux makes that directory: a dry run must not."""
    return os.path.join(os.environ.get("TMUX_TMPDIR") or "/tmp", f"tmux-{os.getuid()}")  # noqa: S108 - tmux chose it


def _end(windows: Sequence[str]) -> None:
    for window in windows:
        call(["tmux", "kill-window", "-t", window])


def _required(words: Sequence[str]) -> Called:
    done = call(words)
    if done.code:
        raise SchedulerError(f"tmux: {done.err or 'failed'}")
    return done


def _written(value: str) -> str:
    """Hexadecimal: tmux cuts and escapes what is no plain text."""
    return os.fsencode(value).hex()


def _read(value: str) -> str:
    try:
        return os.fsdecode(bytes.fromhex(value))
    except ValueError:
        return ""
