"""A verdict in plain words: what it means for the person who wants to go on, and what to type."""

from collections.abc import Iterator

from ckptkit.calling import command
from ckptkit.model.checkpoint import Judged, State

MEANINGS: dict[State, str] = {
    "intact": "Nothing wrong was found in what was read.",
    "incomplete": "The save did not finish, or its end never reached the disk.",
    "corrupt": "The save finished, but some of its bytes are wrong.",
    "in_progress": "It is not finished, and was written to a moment ago: look again in a minute.",
    "unknown": "It can't be judged. It does not count as intact, and it is never deleted for that.",
}
WHOLE = "The files that a resume needs are intact. Also found:"
CAUSES = {
    "unsafe-pickle": "A file in it would run a program when loaded: never torch.load it with weights_only=False.",
    "unreadable": "Run as the user who trains, or mend the file's mode; a disk that says EIO is failing (dmesg).",
    "foreign-layout": "Files of two frameworks lie in it: load it with the one that wrote it last.",
    "unjudged-layout": "ckptkit can't judge what its framework writes (docs/layouts.md): resume with that framework.",
    "of-another-save": "A file of it is of another save than the index that names it.",
    "perhaps-mixed": "A save over an older one may have broken off here; torch loads such a mix without an error. "
    "If you copied it or touched its files, it is fine: touch the index (.metadata, meta.pt) last.",
    "fewer-files": "If you train on fewer ranks now, or without a scaler: the next save shows it, and this one counts.",
    "bad-tag": "DeepSpeed reads that file to find the states, and would look in the wrong place.",
    "not-recognized": "No framework that ckptkit knows writes such files: load it with the program that wrote it.",
    "no-weights": "It holds no weights that ckptkit knows, and nothing shows that a save was cut off.",
    "refused-pickle": (
        "A resume would load a pickle that names code of neither torch nor the Trainer, and such code can do anything. "
        "Find out who wrote it. If you trust that package, add --trust 'PACKAGE.*'."
    ),
    "nonfinite": (
        "Weights in it are NaN or infinite. If they were finite in a save before, training diverged in between, and a "
        "resume skips this one: go on from the save before, with a lower learning rate, or add --allow-nonfinite."
    ),
    "removed-after-save": "The save had finished. Files that only a resume needs were removed later: weights are left.",
    "bad-optional": "The damaged file is not needed to resume.",
    "changed-bystander": "A file that is not part of the checkpoint changed after the manifest. It does not matter.",
    "unfinished": "Its writer marks an unfinished save, and that mark is still there.",
    "zeroed-tail": "The machine went down before the data reached the disk.",
    "nan": "The training diverged before this step: go on from an earlier one, with a lower learning rate.",
    "inf": "The training diverged before this step: go on from an earlier one, with a lower learning rate.",
    "all-zeros": "The weights were never trained, or never written.",
    "unchanged-weights": "Training stood still: a learning rate of 0, frozen weights, or a loss that is NaN.",
    "stale-manifest": "`verify --write` makes a new manifest.",
    "extra-shard": "It is left from an earlier save of another size. It takes room and does no harm.",
}


def explain(judged: Judged, going_on: str) -> list[str]:
    """Given a checkpoint and its verdict, return lines for a person: what it is, why, what can still be done.

    going_on: what resumes from it, in its framework's words.
    """
    verdict = judged.verdict
    codes = dict.fromkeys(finding.code for finding in verdict.findings)
    meaning = WHOLE if verdict.intact and codes else MEANINGS[verdict.state]
    skipped = verdict.intact and (verdict.refused or "nonfinite" in codes)
    return [meaning, *(CAUSES[code] for code in codes if code in CAUSES), *_what_to_do(judged, skipped, going_on)]


def _what_to_do(judged: Judged, skipped: bool, going_on: str) -> Iterator[str]:
    """What can still be done with it, and what to type. skipped: a resume does not take it, although it is intact."""
    checkpoint, verdict = judged
    run = checkpoint.path.rpartition("/")[0]
    latest = command("latest", run)
    if skipped:
        yield f"Which one a resume takes: {latest}"
    elif verdict.resumable:
        yield f"Training can go on from it: {going_on}"
    elif verdict.intact:
        yield "It holds weights alone: use the model, or train on from them with a new optimizer."
    elif verdict.damaged and verdict.weights_intact:
        yield "Its weights are intact: use the model, or train on from them with a new optimizer;"
        yield f"to resume exactly, take an earlier one, if one is intact: {latest}"
    elif verdict.damaged:
        yield f"Nothing in it can be relied on. The one to go on from, if one is intact: {latest}"
        yield f"To delete it: {command('prune', run)}"
    elif verdict.state == "unknown":
        aside = command("recover", run, "--set-aside")
        yield f"If it is the newest, go on from an older one and keep it: {aside}"
        yield f"Only if you are sure that nobody needs it, delete it: {command('discard', checkpoint.path)}"
