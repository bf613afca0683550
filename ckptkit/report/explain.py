"""A verdict in plain words: what it means for the person who wants to go on, and what to type."""

import shlex

from ckptkit.model import Judged

MEANINGS = {
    "intact": "All that was looked at is right.",
    "incomplete": "The save did not finish, or its end never reached the disk.",
    "corrupt": "The save finished, and since then bytes changed, or never were what they should be.",
    "in_progress": "Somebody is writing it right now: look again in a minute.",
    "unknown": "It could not be judged, so it counts as neither good nor bad, and nothing deletes it.",
}
CAUSES = {
    "unsafe-pickle": "A file in it would run a program when loaded: never torch.load it with weights_only=False.",
    "unreadable": "Run as the user who trains, or mend the file's mode; a disk that says EIO is failing (dmesg).",
    "foreign-layout": "It is of a framework that ckptkit does not know yet.",
    "zeroed-tail": "The machine went down before the data was on the disk.",
    "nan": "The training diverged before this step: go on from an earlier one, with a lower learning rate.",
    "inf": "The training diverged before this step: go on from an earlier one, with a lower learning rate.",
    "all-zeros": "The weights were never trained, or never written.",
    "unchanged-weights": "Training stood still: a learning rate of 0, frozen weights, or a loss that is NaN.",
    "stale-manifest": "bin/verify --write makes a new manifest.",
    "extra-shard": "An earlier save of another size left it; it takes room and does no harm.",
}


def explain(judged: Judged) -> list[str]:
    """Given a checkpoint and its verdict, return lines for a person: what it is, why, what can still be done."""
    checkpoint, verdict = judged
    codes = dict.fromkeys(finding.code for finding in verdict.findings)
    lines = [MEANINGS[verdict.state], *(CAUSES[code] for code in codes if code in CAUSES)]
    path, run = shlex.quote(checkpoint.path), shlex.quote(checkpoint.path.rpartition("/")[0])
    if verdict.resumable:
        lines.append(f"Training can go on from it: --resume_from_checkpoint {path}")
    elif verdict.intact:
        lines.append("It holds weights alone: use the model, or train on from them with a new optimizer.")
    elif verdict.damaged and verdict.weights_intact:
        lines.append("Its weights are intact: use the model, or train on from them with a new optimizer;")
        lines.append(f"to resume exactly, take an earlier one: bin/latest {run}")
    elif verdict.damaged:
        lines.append(f"Nothing in it can be relied on: go on from bin/latest {run}; bin/prune {run} deletes it.")
    return lines
