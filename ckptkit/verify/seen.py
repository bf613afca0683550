"""The files of one checkpoint, each opened once: by its format quickly, then byte by byte if the level asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from ckptkit.formats import Fault, bounded, safetensors, torch_zip, trainer_state
from ckptkit.formats.bounded import TooLargeError
from ckptkit.layouts import Layout, Weights, fits
from ckptkit.model.checkpoint import Checkpoint, File, FileDigest, Level, Manifest, TrainerState
from ckptkit.system import small_files as careful
from ckptkit.verify.facts import LONGEST_TAG, SHARDED, TAG, CheckpointParts, Reading, Seen

LARGEST_JSON_BYTES = 100_000_000

ROUTER = "router_config.json"  # sentence-transformers': which modules there are

PARSED = (".safetensors.index.json", ".bin.index.json", "adapter_config.json", "config.json", ROUTER)

ENDS = 64  # bytes of a JSON document's start and end that tell whether it is cut


def examine(
    checkpoint: Checkpoint, layout: Layout, level: Level, reading: Reading, manifest: Manifest | None
) -> CheckpointParts:
    """Given a checkpoint, return what each file that its layout asks for tells. Raises nothing."""
    known: Mapping[str, FileDigest] = manifest.files if manifest else {}
    files = {file.name: file for file in checkpoint.files}
    there = frozenset(files) | {problem.file for problem in checkpoint.problems}

    def look(names: Iterable[str], pieces: Pieces = NO_PIECES) -> dict[str, Seen]:
        present = (files[name] for name in names if name in files)
        return {f.name: _seen(checkpoint, f, layout, level, reading, known.get(f.name), pieces) for f in present}

    state = layout.state_files(there)
    weights, seen = _weights(layout.weights(there), look)
    seen |= _with_shards(look(name for name in state if name not in seen), look)
    needed = frozenset((*state, *seen, *(name for each in weights for name in (each.file, *each.needed))))
    if layout.modules in there:
        seen |= look([ROUTER])
    optional = [n for n in files if n not in needed and fits(layout.optional, n)]
    seen |= look(optional)
    return CheckpointParts(dict(sorted(seen.items())), weights, needed)


Pieces = Mapping[str, "Any"]  # {shard: where its items lie}

NO_PIECES: Pieces = {}

Look = Callable[..., dict[str, Seen]]


def _weights(candidates: Sequence[tuple[Weights, ...]], look: Look) -> tuple[tuple[Weights, ...], dict[str, Seen]]:
    """The first candidate in which nothing is wrong, else the first, and what its files tell."""
    first: tuple[tuple[Weights, ...], dict[str, Seen]] = ((), {})
    for number, weights in enumerate(candidates):
        weights = tuple(w for w in weights if w is weights[0] or not w.needed or _is_adapter(w, look(w.needed)))
        seen = look(name for each in weights for name in (each.file, *each.needed, *each.also))
        seen = _with_shards(seen, look)
        if not any(one.damaged for one in seen.values()):
            return weights, seen
        first = first if number else (weights, seen)
    return first


def _is_adapter(weights: Weights, seen: Mapping[str, Seen]) -> bool:
    """Whether a directory below holds what peft loads as an adapter: else it is a person's, whatever its names."""
    tables = [seen[name].table for name in weights.needed if name in seen]
    return any(isinstance(table, dict) and table.get("peft_type") for table in tables)


def _with_shards(seen: Mapping[str, Seen], look: Look) -> dict[str, Seen]:
    """What files tell, and what the shards tell that those of them promise which are an index."""
    found = dict(seen)
    for name, one in seen.items():
        pieces = promised_shards(name, one.table)
        found |= look([shard for shard in pieces if shard not in found], pieces)
    return found


def promised_shards(name: str, table: Any) -> dict[str, Any]:
    """Given an index's name and what it tells, return {shard's name: where its items lie, () if it does not say}."""
    if name.endswith(SHARDED[0]) and table is not None:
        folder = name[: -len(SHARDED[0])]
        return {folder + shard: items if table.plain else () for shard, items in table.items.items()}
    shards = table.get("weight_map") if isinstance(table, dict) else None
    folder = name[: name.rfind("/") + 1]
    values = shards.values() if isinstance(shards, dict) else ()
    return {folder + shard: () for shard in values if isinstance(shard, str)}


def _seen(
    checkpoint: Checkpoint,
    file: File,
    layout: Layout,
    level: Level,
    reading: Reading,
    known: FileDigest | None,
    pieces: Pieces,
) -> Seen:
    path = os.path.join(checkpoint.folder, file.name)
    reader = _reader(file.name, layout)
    deeper = level != "quick" and reading.wanted(path)
    if reader is None and not deeper:
        return Seen(size=file.apparent_bytes)
    try:
        with careful.opened(path) as opened:
            status = os.fstat(opened.fileno())
            seen = (reader or _nothing)(opened, status.st_size)
            seen = seen._replace(size=status.st_size, pieces=pieces.get(file.name, ()))
            seen = _of_this_step(seen, checkpoint)
            if file.name == layout.marker and seen.table is not None and file.name.endswith(SHARDED[0]):
                seen = seen._replace(weights_only=not seen.table.holds_optimizer)
            if known and seen.state:  # small, and what tells whether the manifest is of this save
                seen = seen._replace(digest=_digest(opened))
            # One that is damaged already is read only to tell both digests.
            if deeper and (not seen.damaged or (known and known.size == status.st_size)):
                from ckptkit.verify.contents import read_whole

                seen = read_whole(opened, file.name, seen, level, reading, known)
            elif level == "quick" and reading.pickles and _is_loaded(file.name, layout):
                from ckptkit.verify.contents import follow_pickle

                seen = follow_pickle(opened, file.name, seen, reading)
    except FileNotFoundError:
        return Seen((("changed", "was there a moment ago: something is writing here"),))
    except OSError as error:
        return Seen((("unreadable", f"can't be read: {error.strerror or error}"),))
    return seen


def _digest(file: BinaryIO) -> FileDigest:
    from ckptkit.formats.crc import crc32

    file.seek(0)
    raw = file.read()
    return FileDigest(len(raw), os.fstat(file.fileno()).st_mtime_ns, {"crc32": f"{crc32(memoryview(raw)):08x}"})


def _reader(name: str, layout: Layout) -> Callable[[BinaryIO, int], Seen] | None:
    """What reads a file of that name; None if nothing quick can be said of it."""
    if name == layout.state:
        return _state
    if name.endswith(SHARDED):
        return _dcp if name.endswith(".metadata") else _shard
    if name == TAG:
        return _tag
    if layout.single:
        return _lightning
    if name.endswith(".safetensors"):
        return _safetensors
    if fits(layout.archives, name):
        return _archive
    if name.endswith(PARSED) and not fits(layout.optional, name):
        return _table
    return _other_json if name.endswith(".json") else None


def _is_loaded(name: str, layout: Layout) -> bool:
    """Whether a resume has torch load that file."""
    return bool(fits(layout.archives, name)) and not fits(layout.optional, name)


def _nothing(file: BinaryIO, size: int) -> Seen:
    return Seen()


def _safetensors(file: BinaryIO, size: int) -> Seen:
    faults, count, header = safetensors.read(file, size)
    if not faults and _ends_in_a_hole(file, size):
        faults = [
            ("sparse", "its last bytes are a hole: they were never written, or a tool that skips zeros copied it")
        ]
    return Seen(tuple(faults), count, header=header)


def _ends_in_a_hole(file: BinaryIO, size: int) -> bool:
    """As lseek(2) tells it: no data from the last byte on. What a file system can't tell is no hole."""
    try:
        os.lseek(file.fileno(), size - 1, os.SEEK_DATA)
    except OSError as error:
        return error.errno == 6  # ENXIO
    finally:
        file.seek(0, os.SEEK_END)  # the buffer does not know where lseek(2) went
    return False


def _archive(file: BinaryIO, size: int) -> Seen:
    faults, count, records = torch_zip.read(file, size)
    if not records and (not faults or faults[0][0] == "bad-header"):  # no ZIP: torch wrote other formats once
        from ckptkit.formats import torch_legacy

        file.seek(0)
        faults, count = torch_legacy.faults(file, size, full=False)
    return Seen(tuple(faults), count, records=records)


def _dcp(file: BinaryIO, size: int) -> Seen:
    from ckptkit.formats import dcp

    faults, count, shards = dcp.read(file, size)
    return Seen(tuple(faults), count, table=shards)


def _shard(file: BinaryIO, size: int) -> Seen:
    from ckptkit.formats import dcp

    return Seen(tuple(dcp.shard_faults(file, size)), min(size, 2 * dcp.END_BYTES))


def _tag(file: BinaryIO, size: int) -> Seen:
    raw = file.read(LONGEST_TAG)
    if not raw.strip(b"\0 \n"):
        return Seen((("empty", "names no directory"),), len(raw))
    return Seen((), len(raw), table=raw.decode("utf-8", "replace").strip())


def _lightning(file: BinaryIO, size: int) -> Seen:
    seen = _archive(file, size)
    if seen.damaged:
        stranger = ("not-recognized", "is not an archive as Lightning writes it")  # many a program writes a .ckpt
        return seen._replace(faults=tuple(stranger if code == "bad-header" else (code, m) for code, m in seen.faults))
    from ckptkit.formats import lightning

    faults, found = lightning.read(file, seen.records)
    if found is None:
        return seen._replace(faults=(*seen.faults, *faults))
    *others, best = (*found.best,) or (None,)
    state = TrainerState(found.step, os.fstat(file.fileno()).st_mtime, best_checkpoint=best, also_best=tuple(others))
    return seen._replace(faults=(*seen.faults, *faults), state=state, weights_only=found.weights_only)


def _state(file: BinaryIO, size: int) -> Seen:
    seen = _json(file, size, "state", lambda raw: trainer_state.parse(raw, os.fstat(file.fileno()).st_mtime))
    return seen._replace(state=seen.table, table=None)


def _of_this_step(seen: Seen, checkpoint: Checkpoint) -> Seen:
    if seen.state is None or checkpoint.single or seen.state.step == checkpoint.step:
        return seen
    told = f"is of step {seen.state.step}, its directory's name says {checkpoint.step}"
    return seen._replace(faults=(("step-mismatch", told),), state=None)


def _table(file: BinaryIO, size: int) -> Seen:
    return _json(file, size, "document", bounded.loads)


def _json(file: BinaryIO, size: int, noun: str, parse: Callable[[bytes], Any]) -> Seen:
    if size == 0:
        return Seen((("empty", "0 bytes"),))
    if size > LARGEST_JSON_BYTES:
        return Seen((("too-large", f"{size:,} bytes of JSON: too large to check"),))
    raw = file.read()
    try:
        return Seen((), len(raw), table=parse(raw))
    except TooLargeError as error:
        return Seen((("too-large", str(error)),), len(raw))
    except trainer_state.BeyondStepError as error:
        return Seen((("log-beyond-step", str(error)),), len(raw))
    except trainer_state.NotAStateError as error:
        return Seen((("not-recognized", f"is JSON, but not as the Trainer writes it ({error})"),), len(raw))
    except ValueError as error:
        code = "truncated" if bounded.is_cut(raw, error) else "bad-json"
        return Seen(((code, f"is not complete JSON ({noun}): {error}"),), len(raw))


def _other_json(file: BinaryIO, size: int) -> Seen:
    """A tokenizer's millions of entries are not parsed: whether both of its ends are there tells enough."""
    if size == 0:
        return Seen((("empty", "0 bytes"),))
    start = file.read(ENDS)
    file.seek(max(0, size - ENDS))
    begin, end = start.lstrip()[:1], file.read(ENDS).rstrip()[-1:]
    if start == b"\0" * len(start):
        faults: tuple[Fault, ...] = (("zeroed-header", "starts with zeros: its beginning never reached the disk"),)
    elif begin in (b"{", b"[") and end not in (b"}", b"]"):
        faults = (("truncated", "is cut off (its end is missing)"),)
    else:
        faults = () if begin in (b"{", b"[") else (("bad-json", "is not the JSON that belongs here"),)
    return Seen(faults, min(size, 2 * ENDS))
