"""Checkpoint → verdict with findings. Opens files read-only, follows no symlink, blocks on no FIFO, unpickles nothing.

quick reads names, sizes, headers, directories and the state. full reads every byte once: CRC-32 of each record of a
torch archive, the opcodes of the pickle in it, the manifest's digests, tails of zeros. deep looks at the values too.
What can't be read is `unknown`, never damaged: nothing is deleted on the word of a failed read.
"""

from collections.abc import Iterable, Iterator

from ckptkit import layouts
from ckptkit.formats import HINTS, TORN, UNJUDGED
from ckptkit.layouts import Layout
from ckptkit.model import Checkpoint, Finding, Level, Manifest, State, Verdict
from ckptkit.verify.across import across_findings
from ckptkit.verify.examine import WHOLE, Reading, Seen, examine
from ckptkit.verify.names import name_findings

__all__ = ["QUIET_SECONDS", "WHOLE", "Reading", "verify", "weights_findings"]

QUIET_SECONDS = 60.0
LONGEST_MESSAGE = 500


def verify(
    checkpoint: Checkpoint,
    now: float,
    level: Level = "quick",
    quiet: float = QUIET_SECONDS,
    manifest: Manifest | None = None,
    reading: Reading = WHOLE,
) -> Verdict:
    """Given a checkpoint as discovered, return the verdict on it.

    now: seconds since the epoch. quiet: seconds without a write after which an unfinished save counts as torn;
    before that somebody is writing it. manifest: what its files were when it was durable. reading: how to read what
    the level asks for. Raises nothing: what fails to be read is a finding.
    """
    layout = layouts.by_name(checkpoint.layout)
    if mark := layout.mark(frozenset(file.name for file in checkpoint.files)):
        checkpoint, manifest = _stripped(checkpoint, layout, manifest, mark)
    names = frozenset(file.name for file in checkpoint.files)
    seen = examine(checkpoint, layout, level, reading, manifest)
    findings = _findings(checkpoint, layout, names, seen, level, manifest)
    state = _state(findings, busy=now - checkpoint.modified_at < quiet)
    held = layout.holds_optimizer(names)
    return Verdict(
        state=state,
        resumable=state == "intact" and held,
        level=level,
        findings=findings,
        bytes_read=sum(s.bytes_read for s in seen.values()),
        trainer_state=next((s.state for s in seen.values() if s.state), None),
        optimizer_state=held,
        weights_intact=_weights_intact(state, findings, layout),
        digests=tuple((name, s.digest) for name, s in seen.items() if s.digest),
        files_unread=0 if level == "quick" else sum(not s.whole and not s.damaged for s in seen.values()),
    )


def _stripped(
    checkpoint: Checkpoint, layout: Layout, manifest: Manifest | None, mark: str
) -> tuple[Checkpoint, Manifest | None]:
    """Both without what only continues training: a strip began, so nobody asks for it any more."""
    files = tuple(file for file in checkpoint.files if not layout.only_continues(file.name))
    told = Finding(mark, "half-stripped", "a strip did not finish: the next strip or prune does")
    checkpoint = checkpoint._replace(files=files, problems=(*checkpoint.problems, told))
    if manifest:
        kept = {name: digest for name, digest in manifest.files.items() if not layout.only_continues(name)}
        manifest = manifest._replace(files=kept)
    return checkpoint, manifest


def weights_findings(checkpoint: Checkpoint) -> tuple[Finding, ...]:
    """Given a directory with a saved model, return what is wrong with its weights; state is not asked for."""
    layout = layouts.by_name(checkpoint.layout)
    names = frozenset(file.name for file in checkpoint.files)
    found = _findings(checkpoint, layout, names, examine(checkpoint, layout, "quick", WHOLE, None), "quick", None)
    return tuple(f for f in found if f.file != layout.marker and f.code not in HINTS)


def _findings(
    checkpoint: Checkpoint,
    layout: Layout,
    names: frozenset[str],
    seen: dict[str, Seen],
    level: Level,
    manifest: Manifest | None,
) -> tuple[Finding, ...]:
    found = [*checkpoint.problems]
    found += [Finding(name, code, _cut(message)) for name, s in seen.items() for code, message in s.faults]
    if checkpoint.files or not checkpoint.problems:
        found += name_findings(checkpoint, layout, names)
    found += across_findings(checkpoint, layout, seen)
    if manifest:
        from ckptkit.verify.against import manifest_findings  # only here: digests take their time to load

        found += manifest_findings(layout, seen, manifest, level)
    return tuple(_damage_first(found))


def _cut(message: str) -> str:
    """A name of 100 MB in a hostile header is no message of 100 MB."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ..."


def _damage_first(found: Iterable[Finding]) -> Iterator[Finding]:
    """The finding that decides is told first, wherever it was found; a hint explains nothing."""
    ordered = list(found)
    yield from (f for f in ordered if f.code not in HINTS)
    yield from (f for f in ordered if f.code in HINTS)


def _state(findings: Iterable[Finding], busy: bool) -> State:
    codes = {finding.code for finding in findings} - HINTS
    if not codes:
        return "intact"
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
