"""Checkpoint → verdict with findings. Opens files read-only, follows no symlink, blocks on no FIFO, unpickles nothing.

A checkpoint is judged by the files that its layout asks for, and by nothing else. quick reads names, sizes, headers,
directories and the state. full reads every byte of them once: CRC-32 of each record of a torch archive, the opcodes of
the pickle in it, the manifest's digests, tails of zeros. deep looks at the values too.
What can't be read is `unknown`, never damaged: nothing is deleted on the word of a failed read.
"""

from collections.abc import Iterable, Iterator

from ckptkit import layouts
from ckptkit.formats import HINTS, NAMES_TOO_MUCH, TORN, UNJUDGED
from ckptkit.layouts import Layout, fits
from ckptkit.model.checkpoint import OURS, Checkpoint, Finding, Level, Manifest, State, Verdict
from ckptkit.verify.agreement import across_findings
from ckptkit.verify.examine import examine
from ckptkit.verify.facts import WHOLE, CheckpointParts, FileFacts, Reading
from ckptkit.verify.files import name_findings, strange_findings
from ckptkit.verify.sharded import shard_findings

__all__ = ["QUIET_SECONDS", "WHOLE", "Reading", "verify", "weights_findings"]

QUIET_SECONDS = 60.0
LONGEST_MESSAGE = 500
NOT_FINITE = frozenset({"nan", "inf"})


def verify(
    checkpoint: Checkpoint,
    now: float,
    level: Level = "quick",
    quiet: float = QUIET_SECONDS,
    manifest: Manifest | None = None,
    reading: Reading = WHOLE,
    before: frozenset[str] = frozenset(),
) -> Verdict:
    """Given a checkpoint as discovered, return the verdict on it.

    now: seconds since the epoch. quiet: seconds without a write after which an unfinished save counts as torn;
    before that somebody is writing it. manifest: what its files were when it was durable. reading: how to read what
    the level asks for. before: names of files in the save before it; where a layout has no mark, it must have them too.
    Raises nothing: what fails to be read is a finding.
    """
    layout = layouts.by_name(checkpoint.layout)
    if not layout.judged:
        message = f"is {layout.title}'s: ckptkit lists and sizes it, and can't judge it"
        return Verdict("unknown", resumable=False, level=level, findings=(Finding("", "unjudged-layout", message),))
    if mark := layout.mark(frozenset(file.name for file in checkpoint.files)):
        checkpoint, manifest = _stripped(checkpoint, layout, manifest, mark)
    names = frozenset(file.name for file in checkpoint.files)
    parts = examine(checkpoint, layout, level, reading, manifest)
    facts = parts.facts
    promised = _promised(layout, names, before)
    findings, of_this_save = _findings(checkpoint, layout, parts, level, manifest, promised)
    state = _state(findings, busy=_busy(checkpoint, now, quiet))
    weights_only = any(file_facts.weights_only for file_facts in facts.values())
    holds_optimizer = layout.holds_optimizer(names) and not weights_only
    return Verdict(
        state=state,
        resumable=state == "intact" and not weights_only and not layout.resume_gaps(names),
        level=level,
        findings=findings,
        bytes_read=sum(s.bytes_read for s in facts.values()),
        trainer_state=next((s.state for s in facts.values() if s.state), None),
        optimizer_state=holds_optimizer,
        weights_intact=_weights_intact(state, findings, layout),
        digests=tuple((name, s.digest) for name, s in facts.items() if s.digest),
        files_unread=0 if level == "quick" else sum(map(_unread, facts.values())),
        nonfinite=_nonfinite(parts, of_this_save),
        written_in_order=layout.written_in_order(checkpoint.files),
    )


def _unread(facts: FileFacts) -> bool:
    """Whether a file was not read to its end: for want of time, or because the disk did not let it."""
    refused = any(code == "unreadable" for code, _ in facts.faults)
    return not facts.whole and (refused or not facts.damaged)


def _promised(layout: Layout, names: frozenset[str], before: frozenset[str]) -> list[str]:
    """What the save before it had and it has not; where a person or a strip took the optimizer, of the model alone."""
    lost = sorted(layout.promised(before) - names)
    slimmed = layout.marker in names and layout.resume_gaps(names)
    return [name for name in lost if not (slimmed and layout.only_continues(name))]


def _busy(checkpoint: Checkpoint, now: float, quiet: float) -> bool:
    """Whether somebody wrote there a moment ago. What is dated far ahead was written before the clock was set back."""
    if checkpoint.modified_at < now + quiet:
        return now - checkpoint.modified_at < quiet
    return any(abs(now - file.modified_at) < quiet for file in checkpoint.files if not file.name.startswith(OURS))


def _stripped(
    checkpoint: Checkpoint, layout: Layout, manifest: Manifest | None, mark: str
) -> tuple[Checkpoint, Manifest | None]:
    """Both without what only continues training: a strip began, so nobody asks for it any more."""
    files = tuple(file for file in checkpoint.files if not layout.only_continues(file.name))
    half_stripped = Finding(mark, "half-stripped", "a strip did not finish: the next strip or prune does")
    checkpoint = checkpoint._replace(files=files, problems=(*checkpoint.problems, half_stripped))
    if manifest:
        files_left = {name: digest for name, digest in manifest.files.items() if not layout.only_continues(name)}
        manifest = manifest._replace(files=files_left)
    return checkpoint, manifest


def weights_findings(checkpoint: Checkpoint) -> tuple[Finding, ...]:
    """Given a directory with a saved model, return what is wrong with its weights; state is not asked for."""
    layout = layouts.by_name(checkpoint.layout)
    parts = examine(checkpoint, layout, "quick", WHOLE, None)
    names = {file.name for file in checkpoint.files}
    findings = [*_file_findings(checkpoint, layout, parts), *across_findings(checkpoint, layout, parts)]
    if not parts.weights:
        findings.append(Finding("", "no-weights", "holds no weights that ckptkit knows"))
    lost = [name for weights in parts.weights for name in weights.needed if name not in names]
    findings += [Finding(name, "missing", "the weights can't be loaded without it") for name in lost]
    return tuple(f for f in findings if f.code not in HINTS)


def _findings(
    checkpoint: Checkpoint,
    layout: Layout,
    parts: CheckpointParts,
    level: Level,
    manifest: Manifest | None,
    promised: Iterable[str],
) -> tuple[tuple[Finding, ...], Manifest | None]:
    """What there is to say, what decides first, and the manifest if it is one of this save."""
    findings = _file_findings(checkpoint, layout, parts)
    if checkpoint.files or not checkpoint.problems:
        findings += name_findings(checkpoint, layout, parts)
    findings += across_findings(checkpoint, layout, parts)
    findings += shard_findings(checkpoint, layout, parts)
    message = "is missing, and the save before had it: this save broke off, or the training was changed"
    if all(f.code in HINTS for f in findings):  # of a save that broke off before that, no riddle is made
        findings += [Finding(name, "fewer-files", message) for name in promised]
    findings += strange_findings(checkpoint, layout, findings)
    if manifest:
        from ckptkit.verify.manifest import manifest_findings, of_another_save  # only here: digests take time to load

        if of_another_save(checkpoint, layout, parts.facts, manifest):
            findings.append(Finding("", "stale-manifest", "was written again after its manifest, which is not used"))
            manifest = None
        else:
            changes = list(manifest_findings(checkpoint, layout, parts, manifest, level))
            if any(change.code == "missing" for change in changes):  # what is known to be gone is no riddle
                findings = [f for f in findings if f.code != "no-weights"]
            findings += changes
    return tuple(_decisive_first(findings)), manifest


def _file_findings(checkpoint: Checkpoint, layout: Layout, parts: CheckpointParts) -> list[Finding]:
    """What stat could not tell, and what is wrong with each file; of bystanders nothing but a mount."""
    finished = layout.single or any(file.name == layout.marker for file in checkpoint.files)
    findings = [p for p in checkpoint.problems if p.file in ("", *parts.needed) or p.code in HINTS]
    problems = (p for p in checkpoint.problems if p.file.startswith(OURS) or fits(layout.optional, p.file))
    findings += [p if p.code in HINTS else p._replace(code="bad-optional") for p in problems]
    for name, facts in parts.facts.items():
        for code, message in facts.faults:
            weighed = _weighed(code, name in parts.needed, finished, layout.lenient)
            findings.append(Finding(name, weighed, _cut(message)))
    return findings


def _weighed(code: str, needed: bool, finished: bool, lenient: bool) -> str:
    """What a file's fault means for the checkpoint: without what it needs no resume, without the rest a full one.

    Where the marker is missing, a cut file of the others shows where the save broke off. lenient: whether its loader
    takes any class, so that only a name that acts is refused.
    """
    if code == "unknown-global" and lenient:
        return code
    if code in NAMES_TOO_MUCH and needed:
        return "refused-pickle"
    if code in NOT_FINITE:
        return "nonfinite"
    if needed or code in HINTS or (not finished and code in TORN):
        return code
    return "bad-optional"


def _cut(message: str) -> str:
    """A name of 100 MB in a hostile header is no message of 100 MB."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ..."


def _decisive_first(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The finding that decides is told first, wherever it was found; a hint explains nothing."""
    ordered = list(dict.fromkeys(findings))
    yield from (f for f in ordered if f.code in UNJUDGED)
    yield from (f for f in ordered if f.code not in HINTS and f.code not in UNJUDGED)
    yield from (f for f in ordered if f.code in HINTS)


def _state(findings: Iterable[Finding], busy: bool) -> State:
    codes = {finding.code for finding in findings} - HINTS
    if not codes:
        return "intact"
    if busy and codes <= TORN | {"not-recognized"}:
        return "in_progress"
    if codes & UNJUDGED:
        return "unknown"
    if busy:
        return "in_progress"
    return "incomplete" if codes & TORN else "corrupt"


def _weights_intact(state: State, findings: Iterable[Finding], layout: Layout) -> bool:
    """Whether all that is wrong concerns the resuming alone, so that the weights can still be used."""
    if state not in ("incomplete", "corrupt"):
        return state == "intact"
    return all(f.code in HINTS or layout.for_resume_only(f.file) for f in findings)


def _nonfinite(parts: CheckpointParts, manifest: Manifest | None) -> tuple[str, ...] | None:
    """Names of weights with NaN or Inf: as looked at just now, else as the manifest of this save has them."""
    with_tensors: dict[str, FileFacts] = {n: s for n, s in parts.facts.items() if s.header}
    if with_tensors and all(facts.nonfinite is not None for facts in with_tensors.values()):
        return tuple(sorted(name for facts in with_tensors.values() for name in facts.nonfinite or ()))
    return manifest.nonfinite if manifest else None
