"""The noun that every layout fills in, and what the names in a checkpoint tell by it."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice, pairwise
from typing import NamedTuple

from ckptkit.model.checkpoint import OURS, File

# A file that only continues training takes this name first when it is stripped, in its own directory: from that one
# rename on the checkpoint is weights-only, whatever of the others is still there.
STRIPPED = f"{OURS}stripped-"
NEVER = r"(?!)"  # patterns are texts, compiled when first asked for: an idle sweep asks for few of them
MOST_TOLD = 20  # missing ranks: a file that claims to be of rank 999999 is no reason for a million findings


class Model(NamedTuple):
    """One way in which a model is saved. All names are relative to the directory that it lies in.

    files    alternatives, the first one there is what a loader takes: the weights, or the index that names their shards
    beside   what a loader can't do without
    also     what a loader reads where it is there
    shards   the pattern of one shard's name: group 1 is its number, group 2 how many there are
    replaces pattern of the files that another save of this kind takes the place of
    """

    files: tuple[str, ...]
    beside: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    shards: str = NEVER
    replaces: str = NEVER


class Weights(NamedTuple):
    """A model as it lies in a checkpoint: `file` and `needed` are its names there, `also` those of `Model.also`."""

    file: str
    needed: tuple[str, ...]
    also: tuple[str, ...]


class Layout(NamedTuple):
    """How one framework names and fills a checkpoint. All names are relative to the checkpoint.

    What no field names is a bystander: a person's or another tool's file, which decides nothing. A framework whose
    files can't be told by names alone is a child of this class that answers some of the questions below itself.

    pattern     anchored name of the checkpoint (used with fullmatch only), its first group is the step
    stem        what begins like one without being one is told as a stray, never touched
    title       what a person calls the writer
    starts      what a checkpoint's name begins with, one of them; asked before the pattern, which takes longer
    ends        what it ends with, one of them
    resume_with how a person goes on from one; {path} is the checkpoint
    clear       whether its name alone tells that it is one; else a sign must lie in it, or in its neighbours
    signs       patterns of files; one that has all of a group is this layout's, whatever its name leaves open
    foreign     layouts with whose files it never shares a checkpoint: with theirs in it nobody can judge it
    holds       layouts whose files one of it may hold too, so that their signs alone tell it from none of them
    judged      whether anybody here can judge it; else it is listed, sized and `unknown`
    single      whether a checkpoint is one file
    marker      the file that the writer writes last
    is_last     whether it really is the last; of a layout without a mark, it only stands in for one
    unmarked    what its absence means, for a person
    state       the JSON file that tells the step and the log, "" if there is none
    incomplete  files that say "not finished" while they are there
    models      the ways in which weights are saved; what a loader looks for first comes first
    modules     the file beside which the weights lie in directories of their own, where none lie at the top
    resume      what continues training exactly; each entry is a set of alternatives
    extras      what only training asks for, and can do without
    continues   pattern of further files that continue training and tell nothing of the model
    optional    other names of this writer that no resume needs: damage to them is told, and no more
    settings    the one of these that tells how it was trained: a torch archive with a pickle
    ranks       the pattern of per-rank files that stand in for the last of `resume`, group 1 is the rank
    archives    names of files that torch.save wrote
    lenient     whether its loader takes any class that a pickle names, so that only what acts is refused
    first       what the writer puts there before the weights: all that a disk that is full lets it write
    witness     the pattern of a file that no other writer makes: without the marker, it shows that a save broke off
    trainers    the end of the class that `settings` names where this writer made it
    others      names of files that other writers leave: without the marker, nobody can say whose checkpoint it is
    debris      what a killed writer leaves behind
    order       names in the order in which the writer writes them: a copy's times are in another
    """

    name: str
    pattern: str
    stem: str
    title: str
    starts: tuple[str, ...] = ("",)
    ends: tuple[str, ...] = ("",)
    resume_with: str = ""
    clear: bool = True
    signs: tuple[tuple[str, ...], ...] = ()
    foreign: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    judged: bool = True
    single: bool = False
    marker: str = ""
    is_last: bool = True
    unmarked: str = "is missing; it is written last, so the save did not finish"
    state: str = ""
    incomplete: tuple[str, ...] = ()
    models: tuple[Model, ...] = ()
    modules: str = ""
    resume: tuple[tuple[str, ...], ...] = ()
    extras: tuple[str, ...] = ()
    continues: str = NEVER
    optional: str = NEVER
    settings: tuple[str, ...] = ()
    ranks: str = NEVER
    archives: str = NEVER
    lenient: bool = False
    first: frozenset[str] = frozenset()
    witness: str = NEVER
    trainers: str = ""
    others: str = NEVER
    debris: str = NEVER
    order: tuple[str, ...] = ()

    def named(self, entry: str) -> re.Match[str] | None:
        """Given the name of a directory entry, return the match of `pattern` if a checkpoint is named so."""
        return fits(self.pattern, entry) if entry.startswith(self.starts) and entry.endswith(self.ends) else None

    def going_on(self, path: str) -> str:
        """Given a checkpoint of this layout, return how a person goes on from it; "" if nothing does."""
        import shlex  # here alone: a sweep with nothing to do starts every ten minutes

        quoted = repr(path) if "(" in self.resume_with else shlex.quote(path)
        return self.resume_with.replace("{path}", quoted)

    # --- whose it is --------------------------------------------------------------------------------------------------

    def sign(self, names: Iterable[str]) -> str | None:
        """Given the names of files and directories, return the first of a group of signs that is all there, or None."""
        there = tuple(names)
        for group in self.signs:
            first_of_each = [next((name for name in there if fits(sign, name)), None) for sign in group]
            if all(first_of_each):
                return first_of_each[0]
        return None

    # --- the model ----------------------------------------------------------------------------------------------------

    def weights(self, names: frozenset[str]) -> list[tuple[Weights, ...]]:
        """Given the names present, return what a loader may take, likeliest first; what stands together is all loaded.

        A model without what it needs beside it is none where another one has all: somebody laid it down there. Adapters
        of another name than "default" lie one directory down, and a resume loads each of them that it finds there, with
        one above them or without (transformers `trainer.py::_load_from_checkpoint`).
        """
        top = [weights for model in self.models if (weights := _lying(model, "", names))]
        if not top and self.modules in names:
            return [modules] if (modules := self._in_modules(names)) else []
        below = self._named_adapters(names) if not top or top[0].file in self.models[0].files else ()
        if not top:
            return [below] if below else []
        whole = tuple(adapter for adapter in below if names.issuperset(adapter.needed))
        likely = [w for w in top if names.issuperset(w.needed)] or top[:1]
        return [(w, *whole) if w.file in self.models[0].files else (w,) for w in likely]

    def _in_modules(self, names: frozenset[str]) -> tuple[Weights, ...]:
        """The weights of a pipeline of modules, each in a directory of its own; all of them are loaded."""
        folders = sorted({name.partition("/")[0] + "/" for name in names if name.count("/") == 1})
        return tuple(
            weights for folder in folders for model in self.models if (weights := _lying(model, folder, names))
        )

    def _named_adapters(self, names: frozenset[str]) -> tuple[Weights, ...]:
        folders = sorted({name.partition("/")[0] + "/" for name in names if name.count("/") == 1})
        return tuple(weights for folder in folders if (weights := _lying(self.models[0], folder, names)))

    def state_files(self, names: frozenset[str]) -> list[str]:
        """Given the names present, return those that a resume reads beside the weights."""
        wanted = ((self.state,), (self.marker,), *self.resume)
        chosen = [next((name for name in options if name in names), "") for options in wanted]
        ranks = [] if chosen[-1] else list(self.rank_files(names).values())
        extras = (name for name in names if name in self.extras or fits(self.continues, name))
        return [*filter(None, chosen), *extras, *ranks]

    def superseded(self, present: frozenset[str], written: frozenset[str]) -> list[str]:
        """Given names in a directory and those of a model to be put there, return the weights that it replaces.

        A loader takes one file before shards: an older model's weights beside the new ones would be loaded.
        """
        kinds = [m.replaces for m in self.models if any(fits(m.replaces, name) for name in written)]
        return sorted(name for name in present if any(fits(kind, name) for kind in kinds))

    def shards_promised(self, names: Iterable[str]) -> list[str]:
        """Given the names present, return the shards that the names of others promise and that are not there."""
        there: dict[tuple[str, int], set[int]] = {}
        for name in names:
            for match in filter(None, (fits(model.shards, name) for model in self.models)):
                begin, end = name[: match.start(1)], name[match.end(2) :]
                there.setdefault((f"{begin}{{:0{len(match[1])}}}-of-{match[2]}{end}", int(match[2])), set()).add(
                    int(match[1])
                )
        lost = (form.format(n) for (form, of), numbers in there.items() for n in range(1, of + 1) if n not in numbers)
        return list(islice(lost, MOST_TOLD))

    # --- what continues training --------------------------------------------------------------------------------------

    def for_resume_only(self, name: str) -> bool:
        """Whether a file of that name continues training but is no part of the model."""
        if any(name in model.files for model in self.models):
            return False
        return name in {self.marker, self.state, *self.settings} or self.only_continues(name)

    def only_continues(self, name: str) -> bool:
        """Whether a file of that name continues training and tells nothing of the model: what `strip` removes.

        The marker stays, whatever it is for: without it nobody knows that the save had finished.
        """
        if name == self.marker:
            return False
        resume = any(name in options for options in self.resume)
        return resume or name in self.extras or bool(fits(self.ranks, name) or fits(self.continues, name))

    def rank_files(self, names: Iterable[str]) -> dict[int, str]:
        """Given the names present, return the per-rank files by rank."""
        return {int(m.group(1)): name for name in names if (m := fits(self.ranks, name))}

    def holds_optimizer(self, names: frozenset[str]) -> bool:
        """Whether any file is there that only a resumable checkpoint has."""
        return any(name in names for options in self.resume for name in options) or bool(self.rank_files(names))

    def resume_gaps(self, names: frozenset[str]) -> list[str]:
        """Given the names present, return the files that exact resumption lacks, ranks apart; [] means resumable."""
        last = self.resume[-1:] if not self.rank_files(names) else ()
        return [options[0] for options in (*self.resume[:-1], *last) if not any(name in names for name in options)]

    def ranks_lost(self, names: frozenset[str], world: int, each_node: bool) -> list[str]:
        """Given the names present, return the per-rank files that others of them promise and that are not there.

        One rank alone writes a file without a number: a number promises a second rank. world: how many the settings
        say, 0 if nobody knows. each_node: whether each node has its own ranks' files alone (`save_on_each_node`).
        """
        ranks = self.rank_files(names)
        if not ranks or any(name in names for name in self.resume[-1]):
            return []
        begin, end = (min(ranks), max(ranks) + 1) if each_node else (0, max(*ranks, world - 1, 1) + 1)
        return [f"rng_state_{rank}.pth" for rank in islice((r for r in range(begin, end) if r not in ranks), MOST_TOLD)]

    def promised(self, earlier: frozenset[str]) -> frozenset[str]:
        """Given the names in the save before, return those that this one must have too; none where a mark tells."""
        return frozenset()

    # --- strip --------------------------------------------------------------------------------------------------------

    def mark(self, names: frozenset[str]) -> str | None:
        """Given the names present, return the file that says: stripped, what continues training goes or is gone.

        Where the name that it had is there again, another save wrote it since, and the mark says nothing.
        """
        marks = (name for name in sorted(names) if name.startswith(STRIPPED))
        return next((mark for mark in marks if self._says_stripped(mark.removeprefix(STRIPPED), names)), None)

    def _says_stripped(self, name: str, names: frozenset[str]) -> bool:
        return self.only_continues(name) and name not in names

    # --- what its files show ------------------------------------------------------------------------------------------

    def witnesses(self, names: Iterable[str]) -> frozenset[str]:
        """Given the names present, return those that show, without the marker, that this layout's writer was there."""
        return frozenset(name for name in names if fits(self.witness, name) or name in self.settings)

    def written_in_order(self, files: Iterable[File]) -> bool:
        """Whether the files' times are those of a save: in its order, and the marker later than what came first."""
        times = {file.name: file.modified_at for file in files}
        ordered = [times[name] for name in self.order if name in times]
        in_order = all(earlier <= later for earlier, later in pairwise(ordered))
        return in_order and self.marker in times and len(ordered) > 1 and ordered[0] < ordered[-1]


def fits(pattern: str, name: str) -> re.Match[str] | None:
    """Given a pattern of a layout and a whole name, return the match; a name may hold any byte, a line's end too."""
    return _compiled(pattern).fullmatch(name)


@cache  # re's own memory costs more than the match: a checkpoint with 100,000 bystanders asks a million times
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.DOTALL)


def _lying(model: Model, folder: str, names: frozenset[str]) -> Weights | None:
    file = next((folder + file for file in model.files if folder + file in names), None)
    if file is None:
        return None
    return Weights(file, tuple(folder + n for n in model.beside), tuple(_there(model.also, folder, names)))


def _there(wanted: Iterable[str], folder: str, names: frozenset[str]) -> Iterator[str]:
    return (folder + name for name in wanted if folder + name in names)
