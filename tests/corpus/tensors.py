"""safetensors: bits of the header, of the data, values that no training leaves; the header as a document."""

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpus.bytes import flip, put, rewrite
from tests.corpus.damage import CHANGED, UNSEEN, Claim, Damage, hint, unjudged, wrong

ADAPTER, MODEL, SHARD = "adapter_model.safetensors", "model.safetensors", "model-00002-of-00006.safetensors"
WEIGHTS = {"lora": ADAPTER, "full": MODEL, "bf16": MODEL, "sharded": SHARD}
NAN, INF = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
VALUES = {
    ("lora", "nan"): NAN, ("full", "nan"): NAN, ("full", "inf"): INF, ("full", "minus_inf"): struct.pack("<f", -1e999),
    ("sharded", "nan"): NAN, ("bf16", "nan"): b"\xc0\x7f", ("bf16", "inf"): b"\x80\x7f",
}  # fmt: skip


def damages() -> Iterator[Damage]:
    """Every damage of a safetensors file but cuts and zeros."""
    for kind, name in WEIGHTS.items():
        yield from _headers(kind, name)
        yield Damage(f"bit/{kind}/data", kind, partial(_flip_data, name), UNSEEN, "a bit of a tensor's data flipped",
                     CHANGED)  # fmt: skip
    for (kind, what), value in VALUES.items():
        yield Damage(f"value/{kind}/{what}", kind, partial(_one_value, WEIGHTS[kind], value),
                     hint("nonfinite", "deep"), "one value of the weights NaN or Inf",
                     (*CHANGED, *wrong("nonfinite", "deep")))  # fmt: skip


def _headers(kind: str, name: str) -> Iterator[Damage]:
    for what, (needle, offset, claims) in HEADER.items():
        yield Damage(f"bit/{kind}/header_{what}", kind, partial(_flip_at, name, needle, offset), claims,
                     f"a bit of the safetensors header flipped: {what.replace('_', ' ')}")  # fmt: skip
    for what, at, bit in (("low", 0, 2), ("high", 7, 7)):
        yield Damage(f"bit/{kind}/header_length_{what}", kind, partial(_flip_length, name, at, bit),
                     wrong("bad-header"), "a bit of the safetensors header's length flipped")  # fmt: skip
    claims, more = NAMED[kind]
    yield Damage(f"bit/{kind}/header_name", kind, partial(_flip_at, name, b'.weight":', 1), claims,
                 f"a bit of a tensor's name flipped, {TOLD[kind]}", more)  # fmt: skip


HEADER: dict[str, tuple[bytes, int, tuple[Claim, ...]]] = {
    "dtype": (b'","shape"', -1, unjudged("unknown-dtype")),
    "shape": (b'"shape":[', 9, wrong("bad-shape")),
    "offset": (b'"data_offsets":[', 16, wrong("bad-offsets")),
    "structure": (b'":{"dtype"', 2, wrong("bad-header")),
}
# A full model's names are nobody's to know; a pair and an index know theirs.
NAMED = {
    "lora": (wrong("adapter-mismatch"), None),
    "sharded": (wrong("misplaced-tensor"), None),
    "full": (UNSEEN, CHANGED),
    "bf16": (UNSEEN, CHANGED),
}
TOLD = {"lora": "of an adapter", "sharded": "of a shard", "full": "of a model in one file",
        "bf16": "of a model in one file"}  # fmt: skip


def _flip_at(name: str, needle: bytes, offset: int, path: Path) -> None:
    """Flip the second bit of the byte `offset` from where the needle first stands behind the metadata."""
    file = path / name
    flip(file, file.read_bytes().index(needle, 40) + offset, 1)


def _flip_length(name: str, at: int, bit: int, path: Path) -> None:
    flip(path / name, at, bit)


def _flip_data(name: str, path: Path) -> None:
    """The lowest bit of a mantissa: no value that anybody could doubt."""
    flip(path / name, (data_at(path / name) + path.joinpath(name).stat().st_size) // 8 * 4)


def _one_value(name: str, value: bytes, path: Path) -> None:
    put(path / name, data_at(path / name) + 50 * len(value), value)


def data_at(file: Path) -> int:
    """Where the tensors' bytes begin."""
    return 8 + int.from_bytes(file.read_bytes()[:8], "little")


def header(file: Path) -> dict[str, Any]:
    """The header as a document."""
    document: dict[str, Any] = json.loads(file.read_bytes()[8 : data_at(file)])
    return document


def with_header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The same data under a changed header."""
    document, begin = header(file), data_at(file)
    change(document)
    written = json.dumps(document, separators=(",", ":")).encode()
    rewrite(file, lambda raw: len(written).to_bytes(8, "little") + written + raw[begin:])
