"""Which processes hold files open, and which may write in a run. Read from /proc with the standard library alone.

What protects a deletion is here: a save that gathers its shards writes nothing for minutes, and looks like one that was
torn, so before a damaged checkpoint goes, its writer is looked for. Where /proc can't be read, nobody is found. psutil
would read the same files, but what frees space must run where nothing is installed.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from ckptkit.model.decision import Writer
from ckptkit.model.disk import OpenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

NO_DISK = ("/memfd:", "/SYSV", "/dev/zero", "/i915", "/[aio]")  # memory that the kernel shows as a deleted file

DELETED = " (deleted)"  # the kernel's own suffix on the link of an unlinked file, proc(5)

# A line of /proc/PID/maps is `address perms offset dev inode path`; what is no file has no path, or one in brackets.
MAPPED = re.compile(r"^[^/\n\[]* (/.*)$", re.MULTILINE)


def open_files(path: str) -> tuple[OpenFile, ...]:
    """Given a directory, return the files and directories at or below it that live processes hold open or mapped.

    Deleted ones keep the path they had. Processes of other users are seen by root alone; the caller's own count too.
    What has the same path on another disk, in a container beside us, does not.
    """
    below = os.path.realpath(path).rstrip("/") + "/"
    open_by_name = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for target, link in _links(pid):
            name = target.removesuffix(DELETED)
            if (name + "/").startswith(below) and not _is_elsewhere(pid, link, (name, below)):
                open_by_name[name, pid] = OpenFile(name, int(pid), command_of(pid), target.endswith(DELETED))
    return tuple(sorted(open_by_name.values()))


def targets(pid: str) -> Iterator[str]:
    """What a process's descriptors and mappings point at; a process that ended or isn't ours yields nothing."""
    return (target for target, _ in _links(pid))


def _links(pid: str) -> Iterator[tuple[str, str]]:
    """(what it points at, its link in /proc or "" of a mapping) of each."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                yield os.readlink(f"/proc/{pid}/fd/{fd}"), f"/proc/{pid}/fd/{fd}"
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return
    # A memory-mapped safetensors file has no descriptor any more. Each has several lines: one for all of them.
    yield from ((mapped, "") for mapped in dict.fromkeys(MAPPED.findall(read_all(pid, "maps"))))


def _is_elsewhere(pid: str, link: str, here: tuple[str, ...]) -> bool:
    """Whether a process that sees other mounts than we do has that open on another disk than any of these paths is.

    A mapping counts as here: it has no link that every user may follow.
    """
    try:
        if not link or os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            return False
        return os.stat(link).st_dev not in {os.stat(path).st_dev for path in here if os.path.lexists(path)}
    except OSError:
        return False


def command_of(pid: str) -> str:
    """Given a process, return its name as the kernel has it; "?" once it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "?"


IN_WRITING = os.O_WRONLY | os.O_RDWR

MOST_LISTED = 10_000  # entries of a directory that are looked through for a checkpoint

NO_RUN_ID = "none"  # torchrun's own word where nobody named one: two of them have it


def writer_in(run: str, claimant: int | None, claimed: bool, is_checkpoint: Callable[[str], bool]) -> Writer | None:
    """Return the one of `writers_in`, called with the same, that says most: one that shows it before others."""
    uncertain = None
    for writer in writers_in(run, claimant, claimed, is_checkpoint):
        if writer.certain:
            return writer
        uncertain = uncertain or writer
    return uncertain


def writers_in(run: str, claimant: int | None, claimed: bool, is_checkpoint: Callable[[str], bool]) -> Iterator[Writer]:
    """Yield each training, other than the caller's own, that may write in a run.

    run: its real path. claimant: the process, not ours, whose claim is on the run, or None. claimed: whether ours is;
    then only what shows that it works there counts. is_checkpoint: whether a path's last part is a checkpoint's name.
    """
    parents = _parents()
    own = _own_training(parents)
    if claimant is not None and claimant in own and run in targets(str(claimant)):
        claimed = True
    elif claimant is not None:
        yield Writer(claimant, f"a training under a guard (pid {claimant})", certain=True)
    other_runs = _OtherRuns(run, is_checkpoint)
    for pid, words in _others(parents, own):
        training = trains(pid, words)
        if _works_in(run, pid, words, training):
            yield Writer(int(pid), f"{command_of(pid)} (pid {pid})", certain=True)
        elif training and not claimed and not other_runs.show(pid, words):
            yield Writer(int(pid), f"a training on this machine ({command_of(pid)}, pid {pid})", certain=False)


def _works_in(run: str, pid: str, words: Sequence[str], training: bool) -> bool:
    """Whether a process has something there open for writing or, if it trains, at all, or is called with it."""
    if any(flags & IN_WRITING for _, flags in _descriptors(pid, run)):
        return True
    paths = {working_directory(pid), *open_paths(pid), *argument_paths(pid, words)} if training else ()
    return any(is_below(path, run) for path in paths)


class _OtherRuns:
    """Tells who trains in another run than this one."""

    def __init__(self, run: str, is_checkpoint: Callable[[str], bool]) -> None:
        self._run, self._is_checkpoint = run, is_checkpoint
        self._known: dict[str, bool] = {}

    def show(self, pid: str, words: Sequence[str]) -> bool:
        """Whether a training works in another run: a file open for writing, a directory open, its own, an argument.

        What it only reads says nothing, nor does an argument that names a checkpoint: many a training starts from what
        another one wrote.
        """
        shows = IN_WRITING | os.O_DIRECTORY
        places = [working_directory(pid), *(path for path, flags in _descriptors(pid) if flags & shows)]
        places += [
            path for path in sorted(argument_paths(pid, words)) if not any(map(self._is_checkpoint, _upwards(path)))
        ]
        return any(self._is_elsewhere(path) for path in places)

    def _is_elsewhere(self, path: str) -> bool:
        for place in _upwards(path):
            around = os.path.dirname(place) if self._is_checkpoint(place) else place
            if around != place or self._holds_checkpoint(place):
                return not is_below(self._run, around)
        return False

    def _holds_checkpoint(self, path: str) -> bool:
        if path not in self._known:
            self._known[path] = False
            with suppress(OSError), os.scandir(path) as entries:
                self._known[path] = any(self._is_checkpoint(entry.name) for entry in islice(entries, MOST_LISTED))
        return self._known[path]


def _upwards(path: str) -> Iterator[str]:
    """The path and each directory above it, but not the root; nothing if it is none (`pipe:[4711]`)."""
    while path.startswith("/") and path != "/":
        yield path
        path = os.path.dirname(path)


# --- whose --------------------------------------------------------------------------------------------------------
def _parents() -> dict[int, int]:
    """{process: its parent} of all that are there."""
    try:
        return {int(pid): parent_of(pid) for pid in filter(str.isdigit, os.listdir("/proc"))}
    except OSError:
        return {}


def _own_training(parents: Mapping[int, int]) -> set[int]:
    """Ourselves, those that started us, those that we started, and the other ranks of the same launch."""
    own = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= grown
    return own | set(map(int, ancestors(str(os.getpid())))) | other_ranks(parents)


def other_ranks(pids: Iterable[int]) -> set[int]:
    """Given processes, return those that are ranks of the same launch as ours."""
    mine = {**environment(str(os.getpid())), **os.environ}
    if "MASTER_PORT" not in mine and "TORCHELASTIC_RUN_ID" not in mine:
        return set()
    return {pid for pid in pids if _same_launch(mine, environment(str(pid)))}


def _same_launch(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    def same(name: str) -> bool:
        return bool(mine.get(name)) and mine.get(name) == theirs.get(name)

    if same("TORCHELASTIC_RUN_ID") and mine["TORCHELASTIC_RUN_ID"] != NO_RUN_ID:
        return True
    several = all(ranks.get("WORLD_SIZE", "1") not in ("", "0", "1") for ranks in (mine, theirs))
    return several and same("MASTER_ADDR") and same("MASTER_PORT")


def _others(parents: Mapping[int, int], own: set[int]) -> Iterator[tuple[str, list[str]]]:
    """(process, its arguments) of each that is neither ours, nor the kernel's, nor one of our verbs."""
    for pid in map(str, sorted(parents.keys() - own)):
        words = command_line(pid)
        if words and not is_verb(words):
            yield pid, words


def is_verb(words: Sequence[str]) -> bool:
    """Given a process's arguments, return whether it is one of our own verbs."""
    by_module = any(pair == ("-m", "ckptkit") for pair in pairwise(words))
    return by_module or any(os.path.basename(word) == "ckptkit" for word in words[:2])


def _descriptors(pid: str, directory: str = "/") -> Iterator[tuple[str, int]]:
    """(path, flags of open(2)) of each descriptor of a process below a directory; nothing if it isn't ours."""
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                path = os.readlink(f"/proc/{pid}/fd/{fd}").removesuffix(DELETED)
                if is_below(path, directory):
                    yield path, _flags(pid, fd)


def _flags(pid: str, fd: str) -> int:
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1], 8) for line in file if line.startswith("flags:")), 0)


LIBRARIES = ("/libtorch", "/libc10", "/torch/lib/")  # mapped by whatever imported torch

# A word of the command line, whole: `vim train.py` is told apart by the program that runs it.
WORDS = re.compile(r"(?:.*/)?(?:train\w*\.py|torchrun|accelerate|deepspeed|axolotl|llamafactory-cli)")

PROGRAMS = re.compile(r"(?:.*/)?(?:python[\d.]*|pt_main_thread|torchrun|accelerate|deepspeed|axolotl|llamafactory-cli)")


def command_line(pid: str) -> list[str]:
    """Given a process, return its arguments; none for the kernel's own and those that ended."""
    return [word for word in read_all(pid, "cmdline").split("\0") if word]


def environment(pid: str) -> Mapping[str, str]:
    """Given a process, return the environment that it started with; nothing if it isn't ours."""
    pairs = (entry.partition("=") for entry in read_all(pid, "environ").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def working_directory(pid: str) -> str:
    """Given a process, return the directory that it works in; "" if it isn't ours."""
    return link_of(pid, "cwd")


def parent_of(pid: str) -> int:
    """Given a process, return its parent's number; 0 if it ended."""
    return int(stat_of(pid)[1])


def started_at(pid: str) -> float | None:
    """Given a process, return since when it runs, in seconds since the epoch; None if nobody can tell.

    Nobody can once it ended. The kernel counts from the boot, in clock ticks (field 22 of /proc/PID/stat, proc(5)).
    """
    ticks, booted = float(stat_of(pid)[19]), _booted_at()
    return booted + ticks / os.sysconf("SC_CLK_TCK") if ticks and booted is not None else None


def _booted_at() -> float | None:
    """When the box was booted, in seconds since the epoch; None if /proc doesn't say."""
    with suppress(OSError), open("/proc/stat", encoding="ascii", errors="replace") as file:
        return next((float(line.split()[1]) for line in file if line.startswith("btime ")), None)
    return None


def ancestors(pid: str) -> Iterator[str]:
    """Given a process, yield its parent, that one's parent, and so on."""
    while (parent := parent_of(pid)) > 0:
        pid = str(parent)
        yield pid


def trains(pid: str, words: Sequence[str]) -> bool:
    """Given a process and its arguments, return whether it is one that trains: it runs a training's script, or torch.

    A process may have given itself another name (setproctitle); the program that it runs is the same.
    """
    if not PROGRAMS.fullmatch(words[0]) and not PROGRAMS.fullmatch(link_of(pid, "exe").removesuffix(DELETED)):
        return False
    if any(WORDS.fullmatch(word) for word in words):
        return True
    maps = read_all(pid, "maps")
    return any(library in maps for library in LIBRARIES)


def open_paths(pid: str) -> set[str]:
    """Given a process, return the paths that it holds open or mapped."""
    return {target.removesuffix(DELETED) for target in targets(pid) if target.startswith("/")}


def argument_paths(pid: str, words: Sequence[str]) -> set[str]:
    """Given a process and its arguments, return the paths that they may mean: each word, and what follows its `=`."""
    here = working_directory(pid)
    parts = {os.path.join(here, part) for word in words for part in (word, word.partition("=")[2]) if part}
    return {os.path.normpath(part) for part in parts} | {os.path.realpath(part) for part in parts}


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory's or of something in it; both absolute."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


# --- /proc ----------------------------------------------------------------------------------------------------------
def stat_of(pid: str) -> list[str]:
    """The fields behind the name, which may hold anything: state, parent, group, session, terminal, ..."""
    fields = read_all(pid, "stat").rpartition(")")[2].split()
    return fields or ["?"] + ["0"] * 50


def read_all(pid: str, name: str) -> str:
    """Given a process and the name of a file in its /proc, return its text; "" if it ended or isn't ours."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read()
    except OSError:
        return ""


def link_of(pid: str, name: str) -> str:
    """Given a process and the name of a link in its /proc, return where it points; "" if it ended or isn't ours."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""
