"""The files of one checkpoint, each opened once: by its format quickly, then byte by byte if the level asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from ckptkit.formats import Fault, bounded, safetensors, torch_zip, trainer_state
from ckptkit.formats.bounded import TooLargeError
from ckptkit.layouts import Layout, Weights, fits
from ckptkit.model.checkpoint import Checkpoint, File, FileDigest, Level, Manifest, TrainerState
from ckptkit.system import small_files
from ckptkit.verify.facts import LONGEST_TAG, SHARDED, TAG, CheckpointParts, FileFacts, Reading

if TYPE_CHECKING:
    from ckptkit.formats.dcp import ShardItem

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

    def look(names: Iterable[str], pieces: Pieces = NO_PIECES) -> dict[str, FileFacts]:
        present = (files[name] for name in names if name in files)
        return {f.name: _file_facts(checkpoint, f, layout, level, reading, known.get(f.name), pieces) for f in present}

    state = layout.state_files(there)
    weights, facts = _weights(layout.weights(there), look)
    facts |= _with_shards(look(name for name in state if name not in facts), look)
    needed = frozenset((*state, *facts, *(name for each in weights for name in (each.file, *each.needed))))
    if layout.modules in there:
        facts |= look([ROUTER])
    optional = [n for n in files if n not in needed and fits(layout.optional, n)]
    facts |= look(optional)
    return CheckpointParts(dict(sorted(facts.items())), weights, needed)


Pieces = Mapping[str, "tuple[ShardItem, ...]"]  # {shard: where its items lie}

NO_PIECES: Pieces = {}


class Look(Protocol):
    """Reads files of one checkpoint by their names; those that are not there are left out."""

    def __call__(self, names: Iterable[str], pieces: Pieces = ...) -> dict[str, FileFacts]:
        """Return {name: what it tells}. pieces: where the items of shards lie."""


Reader = Callable[[BinaryIO, int], FileFacts]  # of an open file and its size in bytes


def _weights(candidates: Sequence[tuple[Weights, ...]], look: Look) -> tuple[tuple[Weights, ...], dict[str, FileFacts]]:
    """The first candidate in which nothing is wrong, else the first, and what its files tell."""
    first: tuple[tuple[Weights, ...], dict[str, FileFacts]] = ((), {})
    for number, candidate in enumerate(candidates):
        weights = tuple(w for w in candidate if w is candidate[0] or not w.needed or _is_adapter(w, look(w.needed)))
        loaded = look(name for each in weights for name in (each.file, *each.needed, *each.also))
        facts = _with_shards(loaded, look)
        if not any(file_facts.damaged for file_facts in facts.values()):
            return weights, facts
        first = first if number else (weights, facts)
    return first


def _is_adapter(weights: Weights, facts: Mapping[str, FileFacts]) -> bool:
    """Whether a directory below holds what peft loads as an adapter: else it is a person's, whatever its names."""
    tables = [facts[name].table for name in weights.needed if name in facts]
    return any(isinstance(table, dict) and table.get("peft_type") for table in tables)


def _with_shards(facts: Mapping[str, FileFacts], look: Look) -> dict[str, FileFacts]:
    """What files tell, and what the shards tell that those of them promise which are an index."""
    with_shards = dict(facts)
    for name, file_facts in facts.items():
        pieces = promised_shards(name, file_facts.table)
        with_shards |= look([shard for shard in pieces if shard not in with_shards], pieces)
    return with_shards


def promised_shards(name: str, table: Any) -> dict[str, tuple[ShardItem, ...]]:
    """Given an index's name and what it tells, return {shard's name: where its items lie, () if it does not say}."""
    if name.endswith(SHARDED[0]) and table is not None:
        folder = name[: -len(SHARDED[0])]
        return {folder + shard: items if table.plain else () for shard, items in table.items.items()}
    shards = table.get("weight_map") if isinstance(table, dict) else None
    folder = name[: name.rfind("/") + 1]
    values = shards.values() if isinstance(shards, dict) else ()
    return {folder + shard: () for shard in values if isinstance(shard, str)}


def _file_facts(
    checkpoint: Checkpoint,
    file: File,
    layout: Layout,
    level: Level,
    reading: Reading,
    known: FileDigest | None,
    pieces: Pieces,
) -> FileFacts:
    path = os.path.join(checkpoint.folder, file.name)
    reader = _reader(file.name, layout)
    deeper = level != "quick" and reading.wanted(path)
    if reader is None and not deeper:
        return FileFacts(size=file.apparent_bytes)
    try:
        with small_files.opened(path) as handle:
            facts = _by_format(handle, reader or _nothing, file.name, checkpoint, layout)
            facts = facts._replace(pieces=pieces.get(file.name, ()))
            if known and facts.state:  # small, and what tells whether the manifest is of this save
                facts = facts._replace(digest=_digest(handle))
            # One that is damaged already is read only to tell both digests.
            if deeper and (not facts.damaged or (known and known.size == facts.size)):
                from ckptkit.verify.contents import read_whole

                facts = read_whole(handle, file.name, facts, level, reading, known)
            elif level == "quick" and reading.pickles and _is_loaded(file.name, layout):
                from ckptkit.verify.contents import follow_pickle

                facts = follow_pickle(handle, file.name, facts, reading)
    except FileNotFoundError:
        return FileFacts((("changed", "was there a moment ago: something is writing here"),))
    except OSError as error:
        return FileFacts((("unreadable", f"can't be read: {error.strerror or error}"),))
    return facts


def _by_format(file: BinaryIO, reader: Reader, name: str, checkpoint: Checkpoint, layout: Layout) -> FileFacts:
    """What the quick look at an open file tells, held against its checkpoint's step. Raises OSError."""
    size = os.fstat(file.fileno()).st_size
    facts = _of_this_step(reader(file, size)._replace(size=size), checkpoint)
    if name == layout.marker and facts.table is not None and name.endswith(SHARDED[0]):
        return facts._replace(weights_only=not facts.table.holds_optimizer)
    return facts


def _digest(file: BinaryIO) -> FileDigest:
    from ckptkit.formats.crc import crc32

    file.seek(0)
    raw = file.read()
    return FileDigest(len(raw), os.fstat(file.fileno()).st_mtime_ns, {"crc32": f"{crc32(memoryview(raw)):08x}"})


def _reader(name: str, layout: Layout) -> Reader | None:
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


def _nothing(_file: BinaryIO, _size: int) -> FileFacts:
    return FileFacts()


def _safetensors(file: BinaryIO, size: int) -> FileFacts:
    faults, count, header = safetensors.read(file, size)
    if not faults and _ends_in_a_hole(file, size):
        faults = [
            ("sparse", "its last bytes are a hole: they were never written, or a tool that skips zeros copied it")
        ]
    return FileFacts(tuple(faults), count, header=header)


def _ends_in_a_hole(file: BinaryIO, size: int) -> bool:
    """As lseek(2) tells it: no data from the last byte on. What a file system can't tell is no hole."""
    try:
        os.lseek(file.fileno(), size - 1, os.SEEK_DATA)
    except OSError as error:
        return error.errno == 6  # ENXIO
    finally:
        file.seek(0, os.SEEK_END)  # the buffer does not know where lseek(2) went
    return False


def _archive(file: BinaryIO, size: int) -> FileFacts:
    faults, count, records = torch_zip.read(file, size)
    if not records and (not faults or faults[0][0] == "bad-header"):  # no ZIP: torch wrote other formats once
        from ckptkit.formats import torch_legacy

        file.seek(0)
        faults, count = torch_legacy.faults(file, size, full=False)
    return FileFacts(tuple(faults), count, records=records)


def _dcp(file: BinaryIO, size: int) -> FileFacts:
    from ckptkit.formats import dcp

    faults, count, shards = dcp.read(file, size)
    return FileFacts(tuple(faults), count, table=shards)


def _shard(file: BinaryIO, size: int) -> FileFacts:
    from ckptkit.formats import dcp

    return FileFacts(tuple(dcp.shard_faults(file, size)), min(size, 2 * dcp.END_BYTES))


def _tag(file: BinaryIO, _size: int) -> FileFacts:
    raw = file.read(LONGEST_TAG)
    if not raw.strip(b"\0 \n"):
        return FileFacts((("empty", "names no directory"),), len(raw))
    return FileFacts((), len(raw), table=raw.decode("utf-8", "replace").strip())


def _lightning(file: BinaryIO, size: int) -> FileFacts:
    facts = _archive(file, size)
    if facts.damaged:
        stranger = ("not-recognized", "is not an archive as Lightning writes it")  # many a program writes a .ckpt
        return facts._replace(faults=tuple(stranger if code == "bad-header" else (code, m) for code, m in facts.faults))
    from ckptkit.formats import lightning

    faults, content = lightning.read(file, facts.records)
    if content is None:
        return facts._replace(faults=(*facts.faults, *faults))
    *others, best = (*content.best,) or (None,)
    state = TrainerState(content.step, os.fstat(file.fileno()).st_mtime, best_checkpoint=best, also_best=tuple(others))
    return facts._replace(faults=(*facts.faults, *faults), state=state, weights_only=content.weights_only)


def _state(file: BinaryIO, size: int) -> FileFacts:
    facts = _json(file, size, "state", lambda raw: trainer_state.parse(raw, os.fstat(file.fileno()).st_mtime))
    return facts._replace(state=facts.table, table=None)


def _of_this_step(facts: FileFacts, checkpoint: Checkpoint) -> FileFacts:
    if facts.state is None or checkpoint.single or facts.state.step == checkpoint.step:
        return facts
    message = f"is of step {facts.state.step}, its directory's name says {checkpoint.step}"
    return facts._replace(faults=(("step-mismatch", message),), state=None)


def _table(file: BinaryIO, size: int) -> FileFacts:
    return _json(file, size, "document", bounded.loads)


def _json(file: BinaryIO, size: int, noun: Literal["state", "document"], parse: Callable[[bytes], Any]) -> FileFacts:
    if size == 0:
        return FileFacts((("empty", "0 bytes"),))
    if size > LARGEST_JSON_BYTES:
        return FileFacts((("too-large", f"{size:,} bytes of JSON: too large to check"),))
    raw = file.read()
    try:
        return FileFacts((), len(raw), table=parse(raw))
    except TooLargeError as error:
        return FileFacts((("too-large", str(error)),), len(raw))
    except trainer_state.BeyondStepError as error:
        return FileFacts((("log-beyond-step", str(error)),), len(raw))
    except trainer_state.NotAStateError as error:
        return FileFacts((("not-recognized", f"is JSON, but not as the Trainer writes it ({error})"),), len(raw))
    except ValueError as error:
        code = "truncated" if bounded.is_cut(raw, error) else "bad-json"
        return FileFacts(((code, f"is not complete JSON ({noun}): {error}"),), len(raw))


def _other_json(file: BinaryIO, size: int) -> FileFacts:
    """A tokenizer's millions of entries are not parsed: whether both of its ends are there tells enough."""
    if size == 0:
        return FileFacts((("empty", "0 bytes"),))
    start = file.read(ENDS)
    file.seek(max(0, size - ENDS))
    begin, end = start.lstrip()[:1], file.read(ENDS).rstrip()[-1:]
    if start == b"\0" * len(start):
        faults: tuple[Fault, ...] = (("zeroed-header", "starts with zeros: its beginning never reached the disk"),)
    elif begin in (b"{", b"[") and end not in (b"}", b"]"):
        faults = (("truncated", "is cut off (its end is missing)"),)
    else:
        faults = () if begin in (b"{", b"[") else (("bad-json", "is not the JSON that belongs here"),)
    return FileFacts(faults, min(size, 2 * ENDS))
