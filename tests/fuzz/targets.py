"""Every parser of bytes or text of unknown origin, each as a function of bytes."""

from __future__ import annotations

import io
import json
import math
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptkit import config, layouts, scripts
from ckptkit.errors import UsageError
from ckptkit.formats import (
    bounded,
    dcp,
    lightning,
    optimizer,
    pickles,
    safetensors,
    stream,
    torch_legacy,
    torch_zip,
    trainer_state,
)
from ckptkit.formats.bounded import TooLargeError
from ckptkit.formats.torch_records import Archive, parts, placed
from ckptkit.formats.values import KINDS, Values
from ckptkit.formats.zero_tail import ZeroTail
from ckptkit.model.checkpoint import Checkpoint, File
from ckptkit.policy import rules
from ckptkit.verify import manifest
from ckptkit.verify.agreement import across_findings
from ckptkit.verify.facts import CheckpointParts, FileFacts
from tests.fuzz import planted, shapes, whole
from tests.fuzz.harness import Target

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = (*KINDS, "I64", "BOOL", "F4", "no such")
TEXTS: tuple[Callable[[str], Any], ...] = (rules.duration, rules.size, rules.parse_best, *config.PARSERS.values())
ELSEWHERE = Checkpoint("/nowhere/checkpoint-100", "checkpoint-100", 100, "hf-trainer", 0, 0, (), (), 0, 0.0)


def _fed(sink: Any, data: bytes, size: int) -> Any:
    """Hand the data to a sink in chunks of that size, then ask it for its faults."""
    view = memoryview(data)
    for at in range(0, len(data), size):
        sink.feed(view[at : at + size])
    return sink.faults()


def _same_in_any_pieces(make: Callable[[], Any], data: bytes, size: int) -> Any:
    """One answer, however the file comes. Chunks of a byte each are for short data."""
    size = max(size, len(data) // 12, 1)
    one, other = _fed(make(), data, max(len(data), 1)), _fed(make(), data, size)
    if one != other:
        raise AssertionError(f"{one!r} at once, {other!r} in pieces of {size}")
    return one


def archive(data: bytes) -> None:
    """An archive's directory, then every record and its values as the bytes pass: a wrong CRC-32 must be told."""
    file = io.BytesIO(data)
    _, _, records = torch_zip.read(file, len(data))
    told, places = placed(file, records)
    if places:
        found = _same_in_any_pieces(
            lambda: stream.SpanSink(parts(places, Archive(values=True))), data, 1 + len(data) % 4093
        )
        if not told + found and any(zlib.crc32(data[p.begin : p.end]) != p.record.crc for p in places):
            raise AssertionError("a record's CRC-32 is wrong, and nothing is told")


def legacy(data: bytes, full: bool) -> None:
    """What torch wrote before 1.6."""
    torch_legacy.faults(io.BytesIO(data), len(data), full=full)


def states(data: bytes) -> None:
    """What a pickle says of an optimizer, against as many tensors as it has parameters."""
    found = optimizer.states(pickles.scan(data).value)
    if found:
        shapes_ = [shape for state in found.states.values() for shape in state.values() if shape is not None]
        optimizer.faults(found, [(2, 2)] * min(found.parameters, 10_000))
        optimizer.faults(found, shapes_[: found.parameters])


def index(data: bytes) -> None:
    """A `.metadata`: what it promises lies within the shards that it names, below its own directory."""
    _, _, shards = dcp.read(io.BytesIO(data), len(data))
    for name, items in shards.items.items() if shards else ():
        if name.startswith("/") or ".." in name.split("/") or any(not 0 <= i.begin <= i.end for i in items):
            raise AssertionError(f"{name!r}: {items[:3]!r}")
        dcp.shard_faults(io.BytesIO(data), len(data))
        any(part.read(10) for _, part in dcp.archives(io.BytesIO(data), items[:50]))


def values(data: bytes) -> None:
    """byte 0: the dtype; byte 1: the chunks; then the tensor."""
    dtype = DTYPES[data[0] % len(DTYPES)] if data else "F32"
    _same_in_any_pieces(lambda: Values(dtype), data[2:], data[1] if len(data) > 1 else 1)


def zero_tail(data: bytes) -> None:
    """Pages, since a tail of zeros begins with one; byte 0: the chunks, byte 1: where a tensor begins."""
    at, size = (data[1] * 97, 1 + data[0] * 41) if len(data) > 1 else (0, 1)
    pages = data[2:] + bytes(4096 * (len(data) % 4))
    _same_in_any_pieces(lambda: ZeroTail([at, 2 * at]), pages, size)


def across(data: bytes) -> None:
    """{file: content} as JSON: each read as the format that its name says, then held against the others."""
    try:
        files = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(files, dict):
        facts = {name: _facts(name, content) for name, content in files.items()}
        there = ELSEWHERE._replace(files=tuple(File(name, 1, 1, 1.0) for name in facts))
        for weights in layouts.LAYOUTS[0].weights(frozenset(facts)) or [()]:
            tuple(across_findings(there, layouts.LAYOUTS[0], CheckpointParts(facts, weights, frozenset(facts))))


def _facts(name: str, content: Any) -> FileFacts:
    try:
        raw = json.dumps(content).encode()
        if name.endswith(".safetensors"):
            return FileFacts(header=safetensors._parsed(raw, 8)[1])
        return (
            FileFacts(state=trainer_state.parse(raw, 1.0)) if name == "trainer_state.json" else FileFacts(table=content)
        )
    except (ValueError, TooLargeError, RecursionError):  # the last one: json.dumps goes less deep than json.loads
        return FileFacts((("truncated", "is none"),))


def text(data: bytes) -> None:
    """byte 0: which setting; then what a person typed."""
    found = TEXTS[data[0] % len(TEXTS)](data[1:].decode("utf-8", "surrogateescape")) if data else 1
    if isinstance(found, (int, float)) and not (math.isfinite(found) and found >= 0):
        raise AssertionError(f"{found!r} is no amount of anything")


def toml(data: bytes) -> None:
    """A run's ckptkit.toml."""
    path = whole.scratch() / "ckptkit.toml"
    path.write_bytes(data)
    config.rules(str(path.parent), {}, {}, 10**12, str(path))


def script(data: bytes, name: str) -> None:
    """A training's own script, as preflight reads it."""
    scripts.places(name, data.decode("utf-8-sig", "replace"))


JSON_TOKENS = (b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"true", b'\\"', b"\\ud800", b"[[[[", b"{}", b'":"')
PICKLE: dict[str, Any] = dict(mutate=shapes.pickle_mutate, tokens=shapes.PIECES)
JSON: dict[str, Any] = dict(mutate=shapes.json_mutate, tokens=JSON_TOKENS)
WORDS = (b"9" * 9, b"..", b":min", b":max", b"=", b"%", b"GiB", b"TB", b".5", b"eval_loss", "٣".encode())
CODE = (
    b"checkpoint-*",
    b"sorted(",
    b"[:-2]",
    b"key=",
    b"lambda c:",
    b"rm -rf ",
    b"$(",
    b" | ",
    b"\n    ",
    b"for c in ",
)

TARGETS: dict[str, Target] = {
    "text": Target(text, (ValueError,), tokens=WORDS),
    "values": Target(values),
    "zero_tail": Target(zero_tail),
    "bounded": Target(bounded.loads, (ValueError, TooLargeError), **JSON),
    "trainer_state": Target(lambda data: trainer_state.parse(data, 1.0), (ValueError, TooLargeError), **JSON),
    "manifest": Target(manifest._parsed, (ValueError,), **JSON),
    "safetensors": Target(
        lambda data: safetensors.read(io.BytesIO(data), len(data)),
        mutate=shapes.safetensors_mutate, fix=shapes.safetensors_fix, tokens=JSON_TOKENS,
    ),
    "pickles": Target(pickles.scan, **PICKLE),
    "pickle_stream": Target(lambda data: pickles.scan_stream(data, 5, len(data) % 7), **PICKLE),
    "optimizer": Target(states, **PICKLE),
    "dcp": Target(index, **PICKLE),
    "lightning": Target(lambda data: lightning.content(pickles.scan(data)), **PICKLE),
    "legacy_quick": Target(partial(legacy, full=False), fix=shapes.tar_fix, **PICKLE),
    "legacy_full": Target(partial(legacy, full=True), fix=shapes.tar_fix, **PICKLE),
    "torch_zip": Target(archive, fix=shapes.zip_fix, tokens=(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7")),
    "across": Target(across, **JSON),
    "toml": Target(toml, (UsageError,), tokens=WORDS),
    "script_python": Target(partial(script, name="train.py"), (scripts.NoScriptError,), tokens=CODE),
    "script_shell": Target(partial(script, name="clean.sh"), tokens=CODE),
    "whole": Target(whole.verify, mutate=whole.mutate),
}  # fmt: skip

PLANTED = {
    "planted_error": Target(planted.error),
    "planted_slow": Target(planted.slow),
    "planted_hang": Target(planted.hang),
    "planted_memory": Target(planted.memory),
}
