"""The noun that every layout fills in."""

import re
from itertools import islice

from ckptkit.model import OURS
from ckptkit.tuples import NamedTuple

# A file that only continues training takes this name first when it is stripped, in its own directory: from that one
# rename on the checkpoint is weights-only, whatever of the others is still there.
STRIPPED = f"{OURS}stripped-"
MOST_TOLD = 20  # missing ranks: a file that claims to be of rank 999999 is no reason for a million findings


class Layout(NamedTuple):
    """How one framework names and fills a checkpoint. All names are relative to the checkpoint.

    pattern     anchored name of the directory (used with fullmatch only), its first group is the step
    stem        what begins like one without being one is told as a stray, never touched
    marker      the file that the writer writes last
    incomplete  a file that says "not finished" while it is there
    weights     alternatives, first found counts: the file that holds the weights, or the index that names its shards
    kinds       patterns of files that hold weights, one a kind: a directory holds one model of a kind. Text: seldom
                asked for, so not compiled at each start
    beside      files that a kind of weights is useless without
    resume      what continues training exactly; each entry is a set of alternatives
    extras      what only training asks for, and can do without
    settings    what tells how it was trained: it stays with the weights
    ranks       the pattern of per-rank files that stand in for the last of `resume`, group 1 is the rank
    archives    base names of files that torch.save wrote
    foreign     names of frameworks whose weights this layout can't judge: such a checkpoint is unknown, never torn
    debris      what a killed writer leaves behind
    """

    name: str
    pattern: re.Pattern[str]
    stem: str
    marker: str
    incomplete: str
    weights: tuple[str, ...]
    kinds: tuple[str, ...]
    beside: dict[str, tuple[str, ...]]
    resume: tuple[tuple[str, ...], ...]
    extras: tuple[str, ...]
    settings: tuple[str, ...]
    ranks: re.Pattern[str]
    archives: re.Pattern[str]
    foreign: re.Pattern[str]
    debris: re.Pattern[str]

    def weights_file(self, names: frozenset[str]) -> str | None:
        """Given the names present, return the weights file or shard index that a loader would take.

        An adapter of another name than "default" lies one directory down, and may be the only one
        (transformers `trainer.py::_load_from_checkpoint`).
        """
        top = next((name for name in self.weights if name in names), None)
        return top or next((name for name in sorted(names) if self._is_named_adapter(name)), None)

    def _is_named_adapter(self, name: str) -> bool:
        return name.count("/") == 1 and name.rpartition("/")[2] in self.beside

    def for_resume_only(self, name: str) -> bool:
        """Whether a file of that name continues training but is no part of the model."""
        return name == self.marker or name in self.settings or self.only_continues(name)

    def only_continues(self, name: str) -> bool:
        """Whether a file of that name continues training and tells nothing of the model: what `strip` removes."""
        resume = any(name in options for options in self.resume)
        return resume or name in self.extras or bool(self.ranks.fullmatch(name))

    def mark(self, names: frozenset[str]) -> str | None:
        """Given the names present, return the file that says: stripped, what continues training goes or is gone.

        Where the name that it had is there again, another save wrote it since, and the mark says nothing.
        """
        marks = (name for name in sorted(names) if name.startswith(STRIPPED))
        return next((mark for mark in marks if self._says_stripped(mark.removeprefix(STRIPPED), names)), None)

    def _says_stripped(self, name: str, names: frozenset[str]) -> bool:
        return self.only_continues(name) and name not in names

    def superseded(self, present: frozenset[str], written: frozenset[str]) -> list[str]:
        """Given names in a directory and those of a model to be put there, return the weights that it replaces.

        A loader takes one file before shards: an older model's weights beside the new ones would be loaded.
        """
        kinds = [kind for kind in self.kinds if any(re.fullmatch(kind, name) for name in written)]
        return sorted(name for name in present if any(re.fullmatch(kind, name) for kind in kinds))

    def missing(self, names: frozenset[str]) -> list[str]:
        """Given the names present, return what the weights found, and adapters below, need beside them and lack."""
        holders = {self.weights_file(names) or "", *filter(self._is_named_adapter, names)}
        wanted = (
            f"{folder}{slash}{needed}"
            for folder, slash, name in (holder.rpartition("/") for holder in sorted(holders))
            for needed in self.beside.get(name, ())
        )
        return [name for name in wanted if name not in names]

    def rank_files(self, names: frozenset[str]) -> dict[int, str]:
        """Given the names present, return the per-rank files by rank."""
        return {int(m.group(1)): name for name in names if (m := self.ranks.fullmatch(name))}

    def holds_optimizer(self, names: frozenset[str]) -> bool:
        """Whether any file is there that only a resumable checkpoint has."""
        return any(name in names for options in self.resume for name in options) or bool(self.rank_files(names))

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """Given the names present, return the files that exact resumption lacks; [] means resumable."""
        ranks = self.rank_files(names)
        gaps = [options[0] for options in self.resume[:-1] if not any(name in names for name in options)]
        if not any(name in names for name in self.resume[-1]):
            lost = (rank for rank in range(max(ranks, default=-1)) if rank not in ranks)
            gaps += [f"rng_state_{rank}.pth" for rank in islice(lost, MOST_TOLD)]
            gaps += [] if ranks else [self.resume[-1][0]]
        return gaps
