"""Run directory → checkpoints. The only place that turns names on disk into checkpoints. By stat alone: opens no file.

What can't be read or isn't plain becomes a finding on the checkpoint, so that one bad entry never stops the scan.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ckptkit import layouts
from ckptkit.errors import CkptkitError, NoSuchRun, UnreadableRun, UsageError
from ckptkit.model.checkpoint import ASIDE, DEEPEST, IGNORE, MOVING, OURS, Checkpoint, File, Finding, Leftover, Run

# Nobody means one of these, even if a checkpoint lies there; each user's home beside them.
SYSTEM_DIRECTORIES = frozenset({"/", "/home", "/root", "/tmp", "/var", "/usr", "/etc", "/opt", "/mnt", "/srv"})  # noqa: S108 - never written to
Candidates = tuple[layouts.Layout, ...]
BLOCK_BYTES = 512  # st_blocks counts these whatever the file system's own block is (stat(2))


def scan(path: str) -> Run:
    """Given a run directory, return its checkpoints in the order of their steps. Raises NoSuchRun, UsageError."""
    path = run_directory(path)
    possible, leftovers, strays = [], [], []
    entries = _listing(path)
    links = {entry.name: target for entry in entries if entry.is_symlink() and (target := _sibling(entry))}
    for entry in entries:
        if candidates := _candidates(entry):
            with suppress(FileNotFoundError):  # somebody removed it while we looked
                possible.append((_checkpoint(entry.path, candidates[0].name), candidates))
        elif entry.name.startswith(ASIDE):
            with suppress(FileNotFoundError):
                leftovers.append(_leftover(entry))
        elif any(layout.stem and entry.name.startswith(layout.stem) for layout in layouts.LAYOUTS):
            strays.append(entry.name)
    return Run(path, tuple(_with_layouts(possible)), tuple(sorted(leftovers)), tuple(sorted(strays)), links)


def checkpoint(path: str) -> Checkpoint:
    """Given a checkpoint's path, return it as it is now. Raises NoSuchRun if nothing is there or its name is none."""
    path = os.path.abspath(path)
    candidates, _ = layouts.named(os.path.basename(path))
    if candidates:
        with suppress(FileNotFoundError):
            if recognized := _alone(_checkpoint(path, candidates[0].name), candidates):
                return recognized
    raise NoSuchRun(_no_such_checkpoint(path))


def _alone(checkpoint: Checkpoint, candidates: Candidates) -> Checkpoint | None:
    """It as its own files show it; where they leave that open, as its neighbours are."""
    candidates = _of_its_kind(checkpoint, candidates)
    layout = layouts.recognized(candidates, _names(checkpoint))
    if layout and (layout.marker in {file.name for file in checkpoint.files} or len(candidates) == 1):
        return checkpoint._replace(layout=layout.name)
    try:
        run = scan(os.path.dirname(checkpoint.path))
    except CkptkitError:  # a home, a system directory: no run, and one may be looked at there all the same
        chosen = layout or next((layout for layout in candidates if layout.clear), None)
        return checkpoint._replace(layout=chosen.name) if chosen else None
    return next((other for other in run.checkpoints if other.name == checkpoint.name), None)


def may_be_checkpoint(path: str, name: str) -> bool:
    """Given a path and the name that counts, return whether a person can mean a checkpoint by it.

    Its name alone tells it (checkpoint-1000, a single file), what lies in it does, or it is gone.
    """
    candidates, _ = layouts.named(name)
    if not os.path.isdir(path) or any(of.clear and of.stem for of in candidates):
        return bool(candidates)
    return layouts.recognized(candidates, _names(directory(path))) is not None


def named_as(path: str, name: str) -> Checkpoint:
    """Given a checkpoint that lies under another name than it had, return it as if it had that. Raises OSError."""
    candidates, step = layouts.named(name)
    checkpoint = directory(path)
    candidates = _of_its_kind(checkpoint, candidates) or candidates
    by_name = next((layout for layout in candidates if layout.clear), candidates[0])
    layout = layouts.recognized(candidates, _names(checkpoint)) or by_name
    return checkpoint._replace(layout=layout.name, step=step)


def _sibling(entry: "os.DirEntry[str]") -> str:
    """The name of the entry beside it that a link stands for or points into, "" if it stands for anything else."""
    run = os.path.dirname(entry.path)
    try:
        target = os.path.normpath(os.path.join(run, os.readlink(entry.path)))
        if not target.startswith(f"{run}/"):  # by another name of the run, perhaps
            target = os.path.realpath(entry.path)
    except OSError:
        return ""
    return target[len(run) + 1 :].split("/")[0] if target.startswith(f"{run}/") else ""


def _candidates(entry: "os.DirEntry[str]") -> Candidates:
    """The layouts that an entry may be of, by its name and whether it is a file. A link is none of a file's."""
    by_name = layouts.named(entry.name)[0]
    if not by_name:
        return ()
    try:
        is_directory, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
    except OSError:  # a network disk on a bad day: what can't be looked at is told as such
        is_directory = is_file = True
    if is_directory and not is_file:
        return tuple(layout for layout in by_name if not layout.single)
    return tuple(of for of in by_name if (is_file if of.single else of.clear and of.stem))


def _of_its_kind(checkpoint: Checkpoint, candidates: Candidates) -> Candidates:
    return tuple(layout for layout in candidates if layout.single == checkpoint.single)


def _stem(name: str) -> str:
    return name[: next((at for at, letter in enumerate(name) if letter.isdecimal()), len(name))]


def _names(checkpoint: Checkpoint) -> list[str]:
    return [*checkpoint.directories, *(file.name for file in checkpoint.files)]


def _with_layouts(possible: "list[tuple[Checkpoint, Candidates]]") -> Iterator[Checkpoint]:
    """Each with the layout that its files show. One that broke off early may show none, or another framework's parts:

    it is then what the whole ones of its stem are, the newest of them. What neither its name nor its files nor its
    neighbours make a checkpoint is none.
    """
    ordered = sorted(possible, key=lambda each: each[0].step)
    shown = [(c, candidates, layouts.recognized(candidates, _names(c))) for c, candidates in ordered]
    whole = [(c, layout) for c, _, layout in shown if layout and layout.marker in {file.name for file in c.files}]
    for checkpoint, candidates, by_files in shown:
        stem = _stem(checkpoint.name)
        alike = [of for c, of in whole if of in candidates and _stem(c.name) == stem]
        # Of several, the one that the name stands for first, else that of the newest.
        likely = candidates[0] if candidates[0] in alike else alike[-1] if alike else None
        if likely and (by_files is None or (by_files.name in likely.holds and by_files not in alike)):
            chosen: layouts.Layout | None = likely
        else:
            chosen = by_files or next((of for of in candidates if of.clear), None)
        if chosen:
            yield checkpoint._replace(layout=chosen.name)


def require_checkpoint_name(path: str) -> None:
    """Raises NoSuchRun if the last part of the path is no checkpoint's name."""
    if not is_checkpoint_name(path):
        raise NoSuchRun(_no_such_checkpoint(path))


def _no_such_checkpoint(path: str) -> str:
    from ckptkit.runs import nearby  # loaded for the message alone

    return nearby.no_such_checkpoint(path)


def directory(path: str) -> Checkpoint:
    """Given any directory with a saved model, return it as if it were a checkpoint, of step 0. Raises OSError."""
    path = os.path.abspath(path)
    return _checkpoint(path, layouts.LAYOUTS[0].name)._replace(step=0)


def allocated(checkpoint: Checkpoint, files: Iterable[File]) -> int:
    """Bytes that removing these files of a checkpoint gives back: hard links are counted as of all of it."""
    linked: LinkedFiles = []
    for file in files:
        with suppress(OSError):  # gone already, or told when it is to go
            status = os.lstat(os.path.join(checkpoint.folder, file.name))
            linked.append(((status.st_dev, status.st_ino, status.st_nlink), file))
    return _allocated(linked)


def is_gone(path: str) -> bool:
    """Whether nothing is there. What the disk can't tell is there still."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_checkpoint_name(path: str) -> bool:
    """Whether the last part of the path is a checkpoint's name, or may be one and what is there shows it to be.

    A checkpoint's own directories are none, whatever their names (`global_step500` of DeepSpeed).
    """
    parent, name = os.path.split(os.path.normpath(path))
    if layouts.step_of(name):
        return True
    candidates, _ = layouts.named(name)
    if not candidates or layouts.step_of(os.path.basename(parent)):
        return False
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return False
    return layouts.recognized(candidates, (*names, *_one_below(path, names))) is not None


def _one_below(path: str, names: Iterable[str]) -> Iterator[str]:
    """Names one directory down, where some layouts have their signs."""
    for name in names:
        with suppress(OSError):
            yield from (f"{name}/{below}" for below in os.listdir(os.path.join(path, name)))


def run_directory(path: str) -> str:
    """Given what a person typed as RUN, return its real absolute path. Raises NoSuchRun, UsageError (/, a home)."""
    real, kind = _looked_up(path)
    if kind is None:
        from ckptkit.runs import nearby  # loaded for the message alone

        raise NoSuchRun(nearby.missing(path))
    if kind != stat.S_IFDIR:
        from ckptkit.runs import nearby

        raise NoSuchRun(nearby.no_directory(path))
    refuse_system_directory(path)
    return real


def directory_at(path: str) -> str:
    """Given what a person typed as a run or a root above runs, return its real path. Raises NoSuchRun."""
    real, kind = _looked_up(path)
    if kind != stat.S_IFDIR:
        from ckptkit.runs import nearby

        raise NoSuchRun(nearby.missing(path, "directory") if kind is None else nearby.no_directory(path))
    return real


def _looked_up(path: str) -> tuple[str, int | None]:
    """The real path, and what kind of file is there; None if nothing is. Raises UnreadableRun in the disk's own words:

    `os.path.isdir` would say False of what the disk could not look at.
    """
    refuse_empty(path)
    try:
        real = os.path.realpath(path, strict=True)
        return real, stat.S_IFMT(os.stat(real).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.realpath(path), None
    except OSError as error:
        raise UnreadableRun(f"{path!r} can't be looked at: {error.strerror}; try again") from None


def refuse_empty(path: str) -> None:
    """Given what a person typed, raise UsageError if it is nothing: it would mean the directory that one stands in.

    Raises NoSuchRun if that one is gone: no path means anything there.
    """
    if not path:
        raise UsageError("the path '' is empty: name the Trainer's output_dir; is a variable such as $RUN not set?")
    try:
        os.getcwd()
    except OSError:
        raise NoSuchRun("the directory that you are in was deleted; fix: cd ~") from None


def refuse_system_directory(path: str) -> None:
    """Given where a run lies or will lie, raise UsageError if nobody can mean that: /, a home, /tmp, ..."""
    real = os.path.realpath(path)
    if real in _never_a_run():
        raise UsageError(f"refusing {path!r}: {real} is a system or home directory; name the Trainer's output_dir")


def find_runs(root: str, deepest: int = DEEPEST) -> list[str]:
    """Given a directory, return every run at or below it, sorted.

    Symlinks and checkpoints are not entered, nor is a directory with a file `.ckptkit-ignore`, such as our own tests'.

    deepest: how many directories down to look.
    """
    runs, top = [], directory_at(root)
    for directory, children, files in os.walk(top):
        if IGNORE in files and directory != top:
            children.clear()
            continue
        below = {name for name in children if is_checkpoint_name(os.path.join(directory, name))}
        if below or any(_is_single(directory, name) for name in files):
            runs.append(directory)
        deep = directory.count(os.sep) - top.count(os.sep) >= deepest
        children[:] = [c for c in children if not deep and c not in below and not c.startswith((ASIDE, MOVING))]
    return sorted(runs)


def _is_single(directory: str, name: str) -> bool:
    """Whether a file is a checkpoint of its own; a link is another name of one."""
    single = any(layout.single for layout in layouts.named(name)[0])
    return single and not os.path.islink(os.path.join(directory, name))


def _never_a_run() -> frozenset[str]:
    """The directories that nobody means, even if a checkpoint lies there: a typo must not cost a home directory."""
    import pwd

    homes = {entry.pw_dir for entry in pwd.getpwall()} | {os.path.expanduser("~")}
    return SYSTEM_DIRECTORIES | homes - {""}


def _listing(path: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise UnreadableRun(
            f"can't list {path!r}: {error.strerror}; run as the user who trains, or change its permissions"
        ) from None


def _leftover(entry: "os.DirEntry[str]") -> Leftover:
    if entry.is_dir(follow_symlinks=False):
        return Leftover(entry.path, entry.name, _allocated(_contents(entry.path)[0]))
    status = entry.stat(follow_symlinks=False)
    freed = status.st_blocks * BLOCK_BYTES if status.st_nlink == 1 else 0
    return Leftover(entry.path, entry.name, freed, single=stat.S_ISREG(status.st_mode))


def _checkpoint(path: str, layout: str) -> Checkpoint:
    name = os.path.basename(path)
    candidates, step = layouts.named(name)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise
    except OSError as error:  # a network disk on a bad day: it is there, and nothing can be said of it
        problem = Finding("", "unreadable", f"can't be looked at: {error.strerror}")
        return Checkpoint(path, name, step, layout, 0, 0, (), (), 0, 0.0, (problem,))
    identity = (path, name, step, layout, status.st_dev, status.st_ino)
    if stat.S_ISREG(status.st_mode) and any(candidate.single for candidate in candidates):
        file = File(name, status.st_size, status.st_blocks * BLOCK_BYTES, status.st_mtime)
        freed = file.allocated_bytes if status.st_nlink == 1 else 0
        return Checkpoint(*identity, (file,), (), freed, status.st_mtime, single=True)
    if not stat.S_ISDIR(status.st_mode):
        kind = "a symlink" if stat.S_ISLNK(status.st_mode) else "not a directory"
        problem = Finding("", "not-a-directory", f"{kind}: nothing behind it is judged or deleted")
        return Checkpoint(*identity, (), (), 0, status.st_mtime, (problem,))
    files, directories, problems = _contents(path)
    modified_at = max([status.st_mtime, *(file.modified_at for _, file in files if not file.name.startswith(OURS))])
    plain = tuple(file for _, file in files)
    return Checkpoint(*identity, plain, tuple(directories), _allocated(files), modified_at, tuple(problems))


LinkedFiles = list[tuple[tuple[int, int, int], File]]


def _contents(top: str) -> tuple[LinkedFiles, list[str], list[Finding]]:
    """Given a directory, return ((device, inode, links), file) for each regular file below, directories, problems."""
    files: LinkedFiles = []
    directories: list[str] = []
    problems: list[Finding] = []
    for name, status in _walk(top, "", problems):
        if stat.S_ISREG(status.st_mode):
            file = File(name, status.st_size, status.st_blocks * BLOCK_BYTES, status.st_mtime)
            files.append(((status.st_dev, status.st_ino, status.st_nlink), file))
        elif stat.S_ISDIR(status.st_mode):
            directories.append(name)
        else:
            kind = "symlink" if stat.S_ISLNK(status.st_mode) else "special file"
            problems.append(Finding(name, "not-a-file", f"a {kind}: never followed or opened, so it can't be judged"))
    files.sort(key=lambda each: each[1].name)
    return files, sorted(directories), sorted(problems)


def _walk(top: str, inside: str, problems: list[Finding]) -> Iterator[tuple[str, os.stat_result]]:
    try:
        device = os.lstat(top).st_dev
        with os.scandir(os.path.join(top, inside)) as entries:
            listed = [(os.path.join(inside, entry.name), status) for entry in entries for status in _status(entry)]
    except OSError as error:
        problems.append(Finding(inside, "unreadable", f"can't be listed: {error.strerror}"))
        return
    for name, status in listed:
        # A file has another number than its directory on an overlay of two disks, where each layer keeps its own.
        if status.st_dev != device and stat.S_ISDIR(status.st_mode):
            problems.append(Finding(name, "other-device", "another file system is mounted here: never entered"))
            yield name, status
        else:
            yield name, status
            if stat.S_ISDIR(status.st_mode) and name.count(os.sep) >= DEEPEST:
                problems.append(Finding(name, "too-deep", "directories in directories without end: not looked into"))
            elif stat.S_ISDIR(status.st_mode):
                yield from _walk(top, name, problems)


def _status(entry: os.DirEntry[str]) -> Iterator[os.stat_result]:
    with suppress(FileNotFoundError):  # it went meanwhile, as a writer's temporary file does
        yield entry.stat(follow_symlinks=False)


def _allocated(files: LinkedFiles) -> int:
    """Bytes that deleting these files gives back: hard links once, and not while a link outside keeps the bytes."""
    inside: dict[tuple[int, int], list[int]] = {}
    for (device, inode, links), file in files:
        inside.setdefault((device, inode), [links, 0, file.allocated_bytes])[1] += 1
    return sum(size for links, names, size in inside.values() if names >= links)
