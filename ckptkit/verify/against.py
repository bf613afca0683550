"""A checkpoint against its manifest: what was written down when it was complete and durable."""

from collections.abc import Iterator

from ckptkit.formats.digests import ALGORITHMS
from ckptkit.layouts import Layout
from ckptkit.model import FileDigest, Finding, Level, Manifest
from ckptkit.verify.examine import Seen


def manifest_findings(layout: Layout, seen: dict[str, Seen], manifest: Manifest, level: Level) -> Iterator[Finding]:
    """Given what the files tell and the manifest, yield what changed since it was written.

    A Trainer that writes the same step again changes all files, its state too: then the manifest speaks of another
    save, and says nothing of this one.
    """
    if _of_another_save(layout, seen, manifest):
        yield Finding("", "stale-manifest", "was written again after its manifest, which is passed over")
        return
    for name, known in manifest.files.items():
        if name not in seen:
            yield Finding(name, "missing", "is in the manifest, and not there any more")
        elif fault := _changed(seen[name], known):
            yield Finding(name, "changed-since-manifest", fault)
    if level != "quick" and any(s.whole and not _comparable(s, manifest.files.get(n)) for n, s in seen.items()):
        yield Finding("", "digest-unchecked", f"some files have no digest that is known here ({', '.join(ALGORITHMS)})")


def _of_another_save(layout: Layout, seen: dict[str, Seen], manifest: Manifest) -> bool:
    known, state = manifest.files.get(layout.marker), seen.get(layout.marker)
    if known is None:
        return True
    if state is None or state.state is None or state.state.saved_at <= manifest.written_at:
        return False
    return bool(_changed(state, known))  # a copy is newer too, and still the same


def _changed(now: Seen, known: FileDigest) -> str:
    """How the file differs from what is known of it, or ""."""
    if now.size != known.size and (now.whole or not now.faults):
        return f"has {now.size} bytes, the manifest says {known.size}"
    for algorithm, digest in known.digests.items():
        found = now.digest.digests.get(algorithm, digest) if now.digest else digest
        if found != digest:
            return f"{algorithm} is {found}, the manifest says {digest}"
    return ""


def _comparable(now: Seen, known: FileDigest | None) -> bool:
    return known is None or bool(now.digest and set(now.digest.digests) & set(known.digests))
