"""A whole checkpoint, what a killed sweep left of one, or single files of a directory."""

import errno
import os
from collections.abc import Collection, Iterable
from contextlib import suppress

from ckptkit.delete.identity import mounted_inside, not_the_same, too_deep
from ckptkit.delete.removal import Removal
from ckptkit.delete.words import first_of, in_words
from ckptkit.model.checkpoint import ASIDE, Checkpoint, Leftover
from ckptkit.model.plan import Failure

NO_ROOM = frozenset({errno.EDQUOT, errno.ENOSPC})


def remove_checkpoint(
    run_fd: int, checkpoint: Checkpoint, pauses: list[float], marker: str = "", witnesses: Collection[str] = ()
) -> list[Failure]:
    """Given the locked run's descriptor and a checkpoint of it, remove it; [] means it is gone.

    marker: the file without which it is no whole checkpoint, "" if that is not known. witnesses: those that show, where
    it can't be removed wholly, that it was one.
    pauses: seconds to wait before each new try at what is refused; used up, they are gone for the whole sweep.
    Refuses, and changes nothing, if the name now stands for anything but the directory that was judged.
    """
    reason = not_the_same(run_fd, checkpoint.name, checkpoint) or mounted_inside(run_fd, checkpoint)
    if reason := reason or too_deep(checkpoint):
        return [Failure(checkpoint.path, reason)]
    removal = Removal(pauses)
    try:
        aside = _free_aside_name(run_fd, checkpoint.name)
        removal.insist(lambda: os.rename(checkpoint.name, aside, src_dir_fd=run_fd, dst_dir_fd=run_fd))
    except OSError as error:
        if checkpoint.single and error.errno in NO_ROOM:
            return removal.file(run_fd, checkpoint.name, checkpoint.path)
        if marker and error.errno in NO_ROOM:
            return first_of(removal.in_place(run_fd, checkpoint, marker, witnesses))
        return [Failure(checkpoint.path, in_words(error, checkpoint.path))]
    if reason := not_the_same(run_fd, aside, checkpoint):  # swapped between the look and the rename
        return _give_name_back(run_fd, aside, checkpoint, [Failure(checkpoint.path, reason)])
    remove = removal.file if checkpoint.single else removal.tree
    failures = remove(run_fd, aside, os.path.join(os.path.dirname(checkpoint.path), aside))
    if failures and not removal.removed:
        return _give_name_back(run_fd, aside, checkpoint, first_of(failures))
    return first_of(failures)


def remove_leftover(run_fd: int, leftover: Leftover, pauses: list[float]) -> list[Failure]:
    """Given the locked run's descriptor and what a killed sweep set aside, finish removing it."""
    removal = Removal(pauses)
    remove = removal.file if leftover.single else removal.tree
    return first_of(remove(run_fd, leftover.name, leftover.path))


def remove_files(directory: str, names: Iterable[str]) -> None:
    """Remove plain files of a directory by name; one that is gone already is no error. Raises OSError."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


def _free_aside_name(run_fd: int, name: str) -> str:
    """An aside name that is not taken: what an immutable file kept from an earlier removal may still hold one."""
    taken, candidate, number = set(os.listdir(run_fd)), ASIDE + name, 1
    while candidate in taken:
        candidate, number = f"{ASIDE}{name}.{number}", number + 1
    return candidate


def _give_name_back(run_fd: int, aside: str, checkpoint: Checkpoint, failures: list[Failure]) -> list[Failure]:
    """Nothing of it could be removed, so it is as whole as before: it counts again, and can be resumed from."""
    try:
        os.rename(aside, checkpoint.name, src_dir_fd=run_fd, dst_dir_fd=run_fd)
    except OSError as error:
        return [*failures, Failure(os.path.join(os.path.dirname(checkpoint.path), aside), in_words(error))]
    old, new = aside, checkpoint.name
    return [Failure(f.path.replace(old, new, 1), f.error.replace(old, new, 1), f.held_by) for f in failures]
