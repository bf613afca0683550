"""The files of one checkpoint, each opened once: by its format quickly, then byte by byte if the level asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from ckptkit import careful
from ckptkit.formats import HINTS, Fault, bounded, safetensors, torch_zip, trainer_state
from ckptkit.formats.bounded import TooLargeError
from ckptkit.layouts import Layout, Weights
from ckptkit.model import Checkpoint, File, FileDigest, Level, Manifest, TrainerState
from ckptkit.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

LARGEST_JSON_BYTES = 100_000_000
PARSED = (".safetensors.index.json", ".bin.index.json", "adapter_config.json", "config.json")
ENDS = 64  # bytes of a JSON document's start and end that tell whether it is cut


class Reading(NamedTuple):
    """How to read whole files: `wanted` says of a path whether to, `digests` which to take of those that are.

    pickles: at `quick` too, follow the pickles of what a resume loads. values: at `full` too, look for NaN and Inf in
    the weights. trust: patterns of names (`pkg.*`) that pickles may name besides what the framework allows.
    """

    wanted: Callable[[str], bool] = lambda path: True
    digests: tuple[str, ...] = ("crc32",)
    pace: Any = None  # formats.stream.Pace; that room loads only where whole files are read
    pickles: bool = False
    values: bool = False
    trust: tuple[str, ...] = ()


WHOLE = Reading()


class Seen(NamedTuple):
    """What one file tells: its faults, and whatever its format has to say to the others.

    whole: it was read to its end. nonfinite: names of its tensors with NaN or Inf; None: nobody looked.
    """

    faults: tuple[Fault, ...] = ()
    bytes_read: int = 0
    size: int = 0
    whole: bool = False
    digest: FileDigest | None = None
    state: TrainerState | None = None
    header: safetensors.Header | None = None
    records: torch_zip.Directory = torch_zip.NOTHING
    table: Any = None
    pickled: Any = None
    nonfinite: tuple[str, ...] | None = None

    @property
    def damaged(self) -> bool:
        """Whether something is wrong with it, or could not be told."""
        return any(code not in HINTS for code, _ in self.faults)


class Parts(NamedTuple):
    """The files that a layout asks a checkpoint for, each with what it tells; others are bystanders, and not opened.

    weights: the models that a resume loads, () if there is none. needed: names without which it can't be resumed from
    or loaded; what is wrong with the others is told, and no more.
    """

    seen: dict[str, Seen]
    weights: tuple[Weights, ...]
    needed: frozenset[str]


def examine(checkpoint: Checkpoint, layout: Layout, level: Level, reading: Reading, manifest: Manifest | None) -> Parts:
    """Given a checkpoint, return what each file that its layout asks for tells. Raises nothing."""
    known: Mapping[str, FileDigest] = manifest.files if manifest else {}
    files = {file.name: file for file in checkpoint.files}
    there = frozenset(files) | {problem.file for problem in checkpoint.problems}

    def look(names: Iterable[str]) -> dict[str, Seen]:
        present = (files[name] for name in names if name in files)
        return {f.name: _seen(checkpoint, f, layout, level, reading, known.get(f.name)) for f in present}

    state = layout.state_files(there)
    weights, seen = _weights(layout.weights(there), look)
    needed = frozenset((*state, *seen, *(name for each in weights for name in (each.file, *each.needed))))
    optional = [n for n in files if n not in needed and layout.optional.fullmatch(n)]
    seen |= look((*state, *optional))
    return Parts(dict(sorted(seen.items())), weights, needed)


Look = Callable[["Iterable[str]"], dict[str, Seen]]


def _weights(candidates: Sequence[tuple[Weights, ...]], look: Look) -> tuple[tuple[Weights, ...], dict[str, Seen]]:
    """The first candidate in which nothing is wrong, else the first, and what its files tell."""
    first: tuple[tuple[Weights, ...], dict[str, Seen]] = ((), {})
    for number, weights in enumerate(candidates):
        weights = tuple(each for each in weights if each is weights[0] or _is_adapter(each, look(each.needed)))
        seen = look(name for each in weights for name in (each.file, *each.needed, *each.also))
        for each in weights:
            seen |= look(_shards(seen[each.file].table) if each.file in seen else ())
        if not any(one.damaged for one in seen.values()):
            return weights, seen
        first = first if number else (weights, seen)
    return first


def _is_adapter(weights: Weights, seen: Mapping[str, Seen]) -> bool:
    """Whether a directory below holds what peft loads as an adapter: else it is a person's, whatever its names."""
    tables = [seen[name].table for name in weights.needed if name in seen]
    return any(isinstance(table, dict) and table.get("peft_type") for table in tables)


def _shards(index: Any) -> set[str]:
    """The names in an index of shards; none in what is no index."""
    shards = index.get("weight_map") if isinstance(index, dict) else None
    return {shard for shard in shards.values() if isinstance(shard, str)} if isinstance(shards, dict) else set()


def _seen(
    checkpoint: Checkpoint, file: File, layout: Layout, level: Level, reading: Reading, known: FileDigest | None
) -> Seen:
    path = os.path.join(checkpoint.path, file.name)
    reader = _reader(file.name, layout)
    deeper = level != "quick" and reading.wanted(path)
    if reader is None and not deeper:
        return Seen(size=file.apparent_bytes)
    try:
        with careful.opened(path) as opened:
            status = os.fstat(opened.fileno())
            seen = (reader or _nothing)(opened, status.st_size)._replace(size=status.st_size)
            seen = _of_this_step(seen, checkpoint)
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
        return Seen((("changed", "was there a moment ago: somebody is at work here"),))
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
    if name == layout.marker:
        return _state
    if name.endswith(".safetensors"):
        return _safetensors
    if layout.archives.fullmatch(name):
        return _archive
    if name.endswith(PARSED) and not layout.optional.fullmatch(name):
        return _table
    return _other_json if name.endswith(".json") else None


def _is_loaded(name: str, layout: Layout) -> bool:
    """Whether a resume has torch load that file."""
    return bool(layout.archives.fullmatch(name)) and not layout.optional.fullmatch(name)


def _nothing(file: BinaryIO, size: int) -> Seen:
    return Seen()


def _safetensors(file: BinaryIO, size: int) -> Seen:
    faults, count, header = safetensors.read(file, size)
    if not faults and _ends_in_a_hole(file, size):
        faults = [("sparse", "its last bytes are a hole: never written, or copied by a tool that leaves out zeros")]
    return Seen(tuple(faults), count, header=header)


def _ends_in_a_hole(file: BinaryIO, size: int) -> bool:
    """As lseek(2) tells it: no data from the last byte on. What a file system can't tell is no hole."""
    try:
        os.lseek(file.fileno(), size - 1, os.SEEK_DATA)
    except OSError as error:
        return error.errno == 6  # ENXIO
    return False


def _archive(file: BinaryIO, size: int) -> Seen:
    faults, count, records = torch_zip.read(file, size)
    if not records and (not faults or faults[0][0] == "bad-header"):  # no ZIP: torch wrote other formats once
        from ckptkit.formats import torch_legacy

        file.seek(0)
        faults, count = torch_legacy.faults(file, size, full=False)
    return Seen(tuple(faults), count, records=records)


def _state(file: BinaryIO, size: int) -> Seen:
    seen = _json(file, size, "state", lambda raw: trainer_state.parse(raw, os.fstat(file.fileno()).st_mtime))
    return seen._replace(state=seen.table, table=None)


def _of_this_step(seen: Seen, checkpoint: Checkpoint) -> Seen:
    if seen.state is None or seen.state.step == checkpoint.step:
        return seen
    told = f"is of step {seen.state.step}, the directory says {checkpoint.step}"
    return seen._replace(faults=(("step-mismatch", told),), state=None)


def _table(file: BinaryIO, size: int) -> Seen:
    return _json(file, size, "document", bounded.loads)


def _json(file: BinaryIO, size: int, noun: str, parse: Callable[[bytes], Any]) -> Seen:
    if size == 0:
        return Seen((("empty", "0 bytes"),))
    if size > LARGEST_JSON_BYTES:
        return Seen((("too-large", f"{size:,} bytes of JSON, more than are looked at"),))
    raw = file.read()
    try:
        return Seen((), len(raw), table=parse(raw))
    except TooLargeError as error:
        return Seen((("too-large", str(error)),), len(raw))
    except trainer_state.BeyondStepError as error:
        return Seen((("log-beyond-step", str(error)),), len(raw))
    except trainer_state.NotAStateError as error:
        return Seen((("not-recognized", f"is JSON, and not as the Trainer writes it ({error})"),), len(raw))
    except ValueError as error:
        code = "truncated" if bounded.is_cut(raw, error) else "bad-json"
        return Seen(((code, f"is no whole JSON {noun}: {error}"),), len(raw))


def _other_json(file: BinaryIO, size: int) -> Seen:
    """A tokenizer's millions of entries are not parsed: whether both of its ends are there tells enough."""
    if size == 0:
        return Seen((("empty", "0 bytes"),))
    start = file.read(ENDS)
    file.seek(max(0, size - ENDS))
    begin, end = start.lstrip()[:1], file.read(ENDS).rstrip()[-1:]
    if start == b"\0" * len(start):
        faults: tuple[Fault, ...] = (("zeroed-header", "starts with zeros: its first block never reached the disk"),)
    elif begin in (b"{", b"[") and end not in (b"}", b"]"):
        faults = (("truncated", "is cut off (its end is missing)"),)
    else:
        faults = () if begin in (b"{", b"[") else (("bad-json", "is not the JSON that belongs here"),)
    return Seen(faults, min(size, 2 * ENDS))
