"""How a training was started: noted when it begins, and typed again, with the checkpoint, when it died."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.advise import restart
from ckptkit.history.remembered import Start, recall_start, remember_start
from ckptkit.layouts import by_name
from ckptkit.system import small_files

if TYPE_CHECKING:
    from ckptkit.model.checkpoint import Checkpoint

SCRIPT_BYTES = 1 << 20


class GoingOn(NamedTuple):
    """line: what goes on from a checkpoint. exact: it can be typed as it is; else what stands for it is a placeholder.

    in_script: it is Python, for the person's own script. started: the command that started the training, "" if nobody
    knows.
    """

    line: str
    exact: bool
    in_script: bool = False
    started: str = ""


def note_start(run: str) -> None:
    """Given a run that this process begins to train, keep how it was started. Loses it rather than raise."""
    with suppress(Exception):  # whatever /proc or the disk say: training begins
        from ckptkit.system.processes import ancestors, command_line, trains, working_directory
        from ckptkit.system.trainings import log_of

        own = str(os.getpid())
        line = [own, *takewhile(lambda pid: trains(pid, command_line(pid) or ["?"]), ancestors(own))]
        for pid in reversed(line):  # the launcher, if there is one; a notebook's or test's own parent is none
            words = tuple(command_line(pid))
            if restart.is_start(words):
                remember_start(os.path.realpath(run), Start(words, working_directory(pid), log_of(own)))
                break


def start_of(run: str) -> Start | None:
    """Given a run, return how its last training started under a guard, None if nobody knows."""
    return recall_start(os.path.realpath(run))


def going_on(checkpoint: Checkpoint, run: str, head: str = "") -> GoingOn:
    """Given what a training goes on from and its run, return what to type. head: the beginning of its log, or ""."""
    layout = by_name(checkpoint.layout)
    own_words = layout.going_on(checkpoint.path)
    if not layout.resume_with.startswith(restart.FLAG):
        return GoingOn(own_words, exact=False, in_script=bool(own_words))
    for start in filter(None, (start_of(run), _shown(head))):
        if words := restart.again(start.words, _script(start), checkpoint.path):
            return GoingOn(_from(start.directory, shlex.join(words)), exact=True)
    known = start_of(run) or _shown(head)
    started = _from(known.directory, shlex.join(known.words)) if known else ""
    return GoingOn(f"{restart.PLACEHOLDER}{shlex.quote(checkpoint.path)}", exact=False, started=started)


def _shown(head: str) -> Start | None:
    """The one command that the log's first lines show; none where there are several."""
    starts = []
    for command in restart.starts_in(head):
        with suppress(ValueError):  # an open quote
            words = tuple(shlex.split(command))
            if restart.is_start(words) and words not in starts:
                starts.append(words)
    return Start(starts[0], "", "") if len(starts) == 1 else None


def _script(start: Start) -> str:
    """Its text; "" where it can't be read any more."""
    path = os.path.join(start.directory or os.getcwd(), restart.script_of(start.words))
    with suppress(OSError), small_files.opened(path, follow=True) as file:
        return file.read(SCRIPT_BYTES).decode("utf-8", "replace")
    return ""


def _from(directory: str, command: str) -> str:
    if not directory or os.path.realpath(directory) == os.path.realpath(os.getcwd()):
        return command
    return f"cd {shlex.quote(directory)} && {command}"
