"""JSON of unknown origin, at a bounded cost: a 100 MB bomb of brackets must not become gigabytes of Python objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# A value in a container costs 100 to 200 bytes, and each stands behind a comma or a bracket. A safetensors header has
# about nine of them a tensor.
LARGEST_PARTS = 500_000
# As text: a byte a character, or four of each where one is beyond the basic plane. The longest text is held twice.
LARGEST_TEXT_BYTES = 40 << 20


class TooLargeError(Exception):
    """More than anybody writes, so it can't be judged; its text says how much it is."""


def loads(
    raw: bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None = None, largest_parts: int = LARGEST_PARTS
) -> Any:
    """Given JSON as bytes, return its value. hook: as json's `object_pairs_hook`.

    Raises ValueError if it is no JSON (nested too deep included), TooLargeError if its objects would be too many.
    """
    parts = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if parts > largest_parts:
        raise TooLargeError(f"{parts:,} values, more than the {largest_parts:,} that are looked at")
    if len(raw) * (1 if raw.isascii() else 4) > LARGEST_TEXT_BYTES:
        raise TooLargeError(f"{len(raw):,} bytes of text, more than are looked at")
    try:
        return json.loads(raw, object_pairs_hook=hook)
    except RecursionError:
        raise ValueError("nested too deep") from None


def is_cut(raw: bytes, error: ValueError) -> bool:
    """Given JSON that failed to load and the error, return whether it was begun as JSON and its end is missing.

    Otherwise it is whole and something else: a comment in it, a comma too many, YAML. Zeros never reached the disk.
    """
    text = raw.strip()
    if text[:1] not in (b"{", b"[") or b"\0" in text:
        return not text.strip(b"\0") or b"\0" in text
    if not isinstance(error, json.JSONDecodeError) or text[-1:] not in (b"}", b"]"):
        return True
    return error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())
