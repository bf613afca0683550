"""`.ckptkit-manifest.json`: what a checkpoint's files were when it was complete, and whether they still are."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ckptkit.errors import UsageError
from ckptkit.formats import TORN
from ckptkit.layouts import Layout, fits
from ckptkit.model.checkpoint import OURS, Checkpoint, FileDigest, Finding, Level, Manifest, Verdict
from ckptkit.system import small_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ckptkit.verify.facts import CheckpointParts, FileFacts

FILE = f"{OURS}manifest.json"

SCHEMA = "ckptkit.manifest/1"

MOST_OTHERS = 1_000  # bystanders that are listed

STANDING_SECONDS = 60.0  # for which nobody wrote to one: a callback may be at it while the guard reads the save back

LARGEST_BYTES = 2 << 20  # 15,000 files; as JSON objects it becomes 30 times as much


def read(checkpoint: str) -> Manifest | None:
    """Given a checkpoint's path, return its manifest, or None if there is none. Raises ValueError if it is no manifest.

    What can't be read speaks for nothing: also ValueError, with the reason.
    """
    try:
        with small_files.opened(os.path.join(checkpoint, FILE)) as file:
            return _parsed(file.read(LARGEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None


def forget(checkpoint: str, gone: Callable[[str], bool]) -> None:
    """Given a checkpoint's path, take those files out of its manifest, durably; the rest of it stays as it is.

    Where there is none, or one that speaks for nothing, nothing is to do. Raises OSError; then it still lists them.
    """
    try:
        with small_files.opened(os.path.join(checkpoint, FILE)) as file:
            raw = file.read(LARGEST_BYTES)
    except FileNotFoundError:
        return
    try:
        known = _parsed(raw).files
    except ValueError:
        return
    if any(map(gone, known)):
        table = json.loads(raw)
        files = {name: entry for name, entry in table["files"].items() if not gone(name)}
        _replace(checkpoint, json.dumps(table | {"files": files}, indent=1).encode())


def _parsed(raw: bytes) -> Manifest:
    try:
        table = json.loads(raw)
        files = {name: _entry(entry) for name, entry in table["files"].items()}
        return Manifest(float(table["written_at"]), files, dict(table.get("versions") or {}), _names(table))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"is no manifest: {error!r}") from None


def _names(table: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = table.get("nonfinite")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("nonfinite is no list of names")
    return tuple(names)


def _entry(entry: Mapping[str, Any]) -> FileDigest:
    digests = {name: value for name, value in entry.items() if name not in ("bytes", "mtime_ns")}
    if not all(isinstance(value, str) for value in digests.values()):
        raise ValueError("a digest that is no text")
    return FileDigest(int(entry["bytes"]), int(entry["mtime_ns"]), digests)


def write(checkpoint: Checkpoint, verdict: Verdict, versions: Mapping[str, str], now: float) -> None:
    """Given a checkpoint that was just read whole and the verdict on it, write down what its files are, durably.

    Bystanders to which nobody writes any more are listed by size, the first so many. now: seconds since the epoch.
    Raises OSError (a full disk: then what was there before still is), UsageError if a file changed since it was read.
    """
    files = dict(verdict.digests)
    for name, digest in files.items():
        status = os.lstat(os.path.join(checkpoint.path, name))
        if (status.st_size, status.st_mtime_ns) != (digest.size, digest.modified_ns):
            raise UsageError(f"{os.path.join(checkpoint.path, name)} changed while it was read: no manifest written")
    entries = {n: {"bytes": d.size, "mtime_ns": d.modified_ns, **d.digests} for n, d in files.items()}
    others = [f for f in checkpoint.files if f.name not in files and not f.name.startswith(OURS)]
    others = [f for f in others if now - f.modified_at >= STANDING_SECONDS]
    entries |= {f.name: {"bytes": f.apparent_bytes, "mtime_ns": int(f.modified_at * 1e9)} for f in others[:MOST_OTHERS]}
    table = {"schema": SCHEMA, "written_at": now, "versions": dict(versions), "files": entries}
    table |= {} if verdict.nonfinite is None else {"nonfinite": list(verdict.nonfinite)}
    _replace(checkpoint.path, json.dumps(table, indent=1).encode())


def _replace(directory: str, content: bytes) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        small_files.replace(fd, FILE, content)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)


MOST_TOLD = 20  # bystanders: a person may have put a hundred thousand there, and taken them away again


def of_another_save(checkpoint: Checkpoint, layout: Layout, facts: Mapping[str, FileFacts], manifest: Manifest) -> bool:
    """Whether the manifest speaks of another save than the one that lies there, and so says nothing of it.

    A Trainer that writes the same step again changes all files, its state too. Where no state tells when it was saved,
    a marker that is newer than the manifest and not the one that it knows does.
    """
    known, state = manifest.files.get(layout.marker), facts.get(layout.marker)
    if known is None:
        return True
    if not layout.state:
        marker = next((file for file in checkpoint.files if file.name == layout.marker), None)
        return bool(marker and marker.modified_at > manifest.written_at)
    if state is None or state.state is None or state.state.saved_at <= manifest.written_at:
        return False
    return bool(_changed(state, known))  # a copy is newer too, and still the same


def manifest_findings(
    checkpoint: Checkpoint, layout: Layout, parts: CheckpointParts, manifest: Manifest, level: Level
) -> Iterator[Finding]:
    """Given what the files tell and their manifest, yield what changed since it was written."""
    sizes = {file.name: file.apparent_bytes for file in checkpoint.files}
    for name, known in manifest.files.items():
        if name in parts.facts:
            if fault := _changed(parts.facts[name], known):
                code = "changed-since-manifest" if name in parts.needed else "bad-optional"
                yield Finding(name, code, fault)
        elif known.digests and name not in sizes:
            yield _gone(name, layout)
    yield from _bystanders(sizes, parts, manifest)
    if manifest.nonfinite:
        yield Finding("", "nonfinite", f"{manifest.nonfinite[0]} held NaN or Inf when it was saved")
    if level != "quick" and any(s.whole and not _comparable(s, manifest.files.get(n)) for n, s in parts.facts.items()):
        from ckptkit.formats.digests import ALGORITHMS  # with a library of C, which a quick look does without

        yield Finding("", "digest-unchecked", f"some files have no digest that ckptkit knows ({', '.join(ALGORITHMS)})")


def _gone(name: str, layout: Layout) -> Finding:
    message = "is in the manifest, and is gone"
    if layout.only_continues(name) or fits(layout.optional, name):
        return Finding(name, "removed-after-save", message)
    return Finding(name, "missing", message)


def _bystanders(sizes: Mapping[str, int], parts: CheckpointParts, manifest: Manifest) -> Iterator[Finding]:
    """Files that nobody asks for are told by their size alone: they are not opened."""
    others = ((n, known) for n, known in manifest.files.items() if n not in parts.facts)
    changed = [n for n, known in others if (n in sizes or not known.digests) and sizes.get(n) != known.size]
    for name in changed[:MOST_TOLD]:
        yield Finding(name, "changed-bystander", "has changed since the manifest was written")


def _changed(facts: FileFacts, known: FileDigest) -> str:
    """How the file differs from what is known of it, or ""."""
    cut = any(code in TORN for code, _ in facts.faults)  # that tells why it is shorter
    if facts.size != known.size and (facts.whole or not cut):
        return f"has {facts.size} bytes, the manifest says {known.size}"
    for algorithm, digest in known.digests.items():
        actual = facts.digest.digests.get(algorithm, digest) if facts.digest else digest
        if actual != digest:
            return f"{algorithm} is {actual}, the manifest says {digest}"
    return ""


def _comparable(facts: FileFacts, known: FileDigest | None) -> bool:
    return known is None or bool(facts.digest and set(facts.digest.digests) & set(known.digests))
