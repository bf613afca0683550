"""A checkpoint against its manifest: what was written down when it was complete and durable."""

from collections.abc import Iterator, Mapping

from ckptkit.formats import TORN
from ckptkit.formats.digests import ALGORITHMS
from ckptkit.layouts import Layout, fits
from ckptkit.model.checkpoint import Checkpoint, FileDigest, Finding, Level, Manifest
from ckptkit.verify.seen import Parts, Seen

MOST_TOLD = 20  # bystanders: a person may have put a hundred thousand there, and taken them away again


def of_another_save(checkpoint: Checkpoint, layout: Layout, seen: Mapping[str, Seen], manifest: Manifest) -> bool:
    """Whether the manifest speaks of another save than the one that lies there, and so says nothing of it.

    A Trainer that writes the same step again changes all files, its state too. Where no state tells when it was saved,
    a marker that is newer than the manifest and not the one that it knows does.
    """
    known, state = manifest.files.get(layout.marker), seen.get(layout.marker)
    if known is None:
        return True
    if not layout.state:
        marker = next((file for file in checkpoint.files if file.name == layout.marker), None)
        return bool(marker and marker.modified_at > manifest.written_at)
    if state is None or state.state is None or state.state.saved_at <= manifest.written_at:
        return False
    return bool(_changed(state, known))  # a copy is newer too, and still the same


def manifest_findings(
    checkpoint: Checkpoint, layout: Layout, parts: Parts, manifest: Manifest, level: Level
) -> Iterator[Finding]:
    """Given what the files tell and their manifest, yield what changed since it was written."""
    sizes = {file.name: file.apparent_bytes for file in checkpoint.files}
    for name, known in manifest.files.items():
        if name in parts.seen:
            if fault := _changed(parts.seen[name], known):
                code = "changed-since-manifest" if name in parts.needed else "bad-optional"
                yield Finding(name, code, fault)
        elif known.digests and name not in sizes:
            yield _gone(name, layout)
    yield from _bystanders(sizes, parts, manifest)
    if manifest.nonfinite:
        yield Finding("", "nonfinite", f"{manifest.nonfinite[0]} held NaN or Inf when it was saved")
    if level != "quick" and any(s.whole and not _comparable(s, manifest.files.get(n)) for n, s in parts.seen.items()):
        yield Finding("", "digest-unchecked", f"some files have no digest that ckptkit knows ({', '.join(ALGORITHMS)})")


def _gone(name: str, layout: Layout) -> Finding:
    told = "is in the manifest, and is gone"
    if layout.only_continues(name) or fits(layout.optional, name):
        return Finding(name, "removed-after-save", told)
    return Finding(name, "missing", told)


def _bystanders(sizes: Mapping[str, int], parts: Parts, manifest: Manifest) -> Iterator[Finding]:
    """Files that nobody asks for are told by their size alone: they are not opened."""
    others = ((n, known) for n, known in manifest.files.items() if n not in parts.seen)
    changed = [n for n, known in others if (n in sizes or not known.digests) and sizes.get(n) != known.size]
    for name in changed[:MOST_TOLD]:
        yield Finding(name, "changed-bystander", "has changed since the manifest was written")


def _changed(now: Seen, known: FileDigest) -> str:
    """How the file differs from what is known of it, or ""."""
    cut = any(code in TORN for code, _ in now.faults)  # that tells why it is shorter
    if now.size != known.size and (now.whole or not cut):
        return f"has {now.size} bytes, the manifest says {known.size}"
    for algorithm, digest in known.digests.items():
        found = now.digest.digests.get(algorithm, digest) if now.digest else digest
        if found != digest:
            return f"{algorithm} is {found}, the manifest says {digest}"
    return ""


def _comparable(now: Seen, known: FileDigest | None) -> bool:
    return known is None or bool(now.digest and set(now.digest.digests) & set(known.digests))
